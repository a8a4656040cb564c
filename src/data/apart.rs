//! Whether a folder that a run is to make would lie among the images that it reads, also through links.

use std::fs;
use std::path::{Path, PathBuf};

use super::image_folder::Tree;
use super::{DataError, Images, Split};

/// Refuses the folder `target`, which need not be there yet, where the images in `dir` would no longer be read as they are:
/// within the folder of one of the parts, and where there are none at the top of `dir`, anywhere in it.
///
/// # Errors
/// In which folder it lies.
pub fn refuse_among_images(dir: &Path, target: &Path) -> Result<(), DataError> {
    // Shards are read by their index, whatever lies beside them.
    if [Split::Train, Split::Test].iter().all(|&split| !Images::are_folders(dir, split)) {
        return Ok(());
    }
    // Of what cannot be read, opening it says so.
    let Ok(tree) = Tree::find(dir) else { return Ok(()) };
    let parts: Vec<&PathBuf> = [&tree.train, &tree.validation].into_iter().flatten().collect();
    let has_parts_at_the_top = !parts.is_empty() && tree.base == dir;
    let mut folders: Vec<&Path> = parts.into_iter().map(PathBuf::as_path).collect();
    folders.extend((!has_parts_at_the_top).then_some(dir));
    let place = resolved(target);
    match folders.into_iter().find(|folder| fs::canonicalize(folder).is_ok_and(|folder| place.starts_with(folder))) {
        None => Ok(()),
        Some(folder) => {
            let folder = folder.display();
            let problem = format!(
                "lies in {folder}, where the images would no longer be read as they are: choose an --out elsewhere"
            );
            Err(DataError::images(target, problem))
        }
    }
}

/// `path` without links and `..`, though its last folders need not be there yet.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut known = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (mut missing, mut ups) = (Vec::new(), 0);
    let mut place = loop {
        if let Ok(place) = fs::canonicalize(&known) {
            break place;
        }
        match known.file_name().map(ToOwned::to_owned) {
            None => ups += 1,
            Some(_) if ups > 0 => ups -= 1,
            Some(name) => missing.push(name),
        }
        if !known.pop() {
            break known;
        }
    };
    for _ in 0..ups {
        place.pop();
    }
    missing.into_iter().rev().for_each(|name| place.push(name));
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_may_lie_beside_the_images_and_not_among_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let refused = |images: &str, run: &str| {
            let outcome = refuse_among_images(&at(images), &at(run));
            outcome.inspect_err(|error| assert!(error.to_string().contains(" lies in "), "{error}")).is_err()
        };
        for folder in ["tree/train/a", "tree/val/a", "flat/a", "flat/b", "outer/only/train/a", "outer/only/val/a"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink("tree/train", at("link")).unwrap();
        for (images, run) in [
            ("tree", "tree/train/run"),
            ("tree", "tree/val/a/run"),
            ("tree", "link/run"),
            ("tree", "tree/runs/../train/run"),
            ("flat", "flat/runs/first"),
            ("flat", "flat"),
            // With it the images are no longer in the only folder.
            ("outer", "outer/run"),
        ] {
            assert!(refused(images, run), "{images} {run}");
        }
        for (images, run) in [("tree", "tree/runs/first"), ("tree", "runs"), ("flat", "flatter"), ("none", "none/run")]
        {
            assert!(!refused(images, run), "{images} {run}");
        }
    }

    #[test]
    fn folders_that_are_not_there_yet_resolve_as_they_will() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a/b", root.join("link")).unwrap();
        for (path, expected) in [
            ("a/b", "a/b"),
            ("link/c/d", "a/b/c/d"),
            ("link/..", "a"),
            ("link/../c", "a/c"),
            ("a/new/../c", "a/c"),
            ("a/new/newer/../../../c", "c"),
            ("link/new/../../c/./d", "a/c/d"),
        ] {
            assert_eq!(resolved(&root.join(path)), root.join(expected), "{path}");
        }
    }
}
