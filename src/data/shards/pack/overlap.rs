//! Whether the folder for shards and the folders of the images lie within one another, also through links.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::apart::resolved;
use crate::data::image_folder::Tree;
use crate::data::{DataError, Images};

const ELSEWHERE: &str = "name a folder with --to that lies elsewhere, for readers would take the one for the other";

/// Refuses `to` where it is `from` or the folder of one of its parts, lies in one, or has one in it.
///
/// # Errors
/// Which one.
pub(super) fn refuse(from: &Path, to: &Path) -> Result<(), DataError> {
    let target = resolved(to);
    let tree = Tree::find(from).ok();
    let parts = tree.iter().flat_map(|tree| [&tree.train, &tree.validation]).flatten();
    for images in std::iter::once(from).chain(parts.map(PathBuf::as_path)) {
        let Ok(place) = fs::canonicalize(images) else { continue };
        let relation = match (target.starts_with(&place), place.starts_with(&target)) {
            (true, true) => "is where the images are".to_owned(),
            (true, false) => format!("lies in {}, where the images are", images.display()),
            (false, true) => format!("has {} in it, where the images are", images.display()),
            (false, false) => continue,
        };
        return Err(DataError::images(to, format!("{relation}: {ELSEWHERE}")));
    }
    Ok(())
}

/// Refuses `to` within a folder of a class, which may be a link to anywhere.
///
/// # Errors
/// Which one.
pub(super) fn refuse_classes(images: &Images, to: &Path) -> Result<(), DataError> {
    let Images::Folder(folder) = images else { return Ok(()) };
    let target = resolved(to);
    match folder.folders().find(|class| fs::canonicalize(class).is_ok_and(|place| target.starts_with(place))) {
        Some(class) => {
            let problem = format!("lies in {}, where the images are: {ELSEWHERE}", class.display());
            Err(DataError::images(to, problem))
        }
        None => Ok(()),
    }
}
