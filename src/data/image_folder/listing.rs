//! One folder: its images, its folders, and what it holds besides.
//!
//! The type that the directory itself states for each entry (`d_type`) decides; only links are followed with a call for
//! each, so that a million files are listed in about a second.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::names::Names;
use super::skipped::{Reason, Skipped};
use crate::data::packing::Packing;
use crate::data::{DataError, parallel};

const EXTENSIONS: [&str; 3] = ["jpeg", "jpg", "png"];

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Files that are images by their names, in order.
    pub images: Names,
    /// Folders and links to folders, in order; without hidden ones.
    pub folders: Vec<String>,
    /// Everything else.
    pub skipped: Skipped,
}

/// Whether a file of this name is taken for an image.
pub(in crate::data) fn is_image_name(name: &[u8]) -> bool {
    let extension = Path::new(OsStr::from_bytes(name)).extension().unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Why a file or folder of this name is left out before it is looked at.
pub(in crate::data) fn hidden_reason(name: &[u8]) -> Option<Reason> {
    match name {
        b".DS_Store" | b"__MACOSX" => Some(Reason::MacOs),
        _ if name.starts_with(b"._") => Some(Reason::MacOs),
        _ if name.starts_with(b".") => Some(Reason::Hidden),
        _ => None,
    }
}

/// Lists `dir`.
///
/// # Errors
/// When it cannot be read, or has a link that leads back to a folder it is in.
pub(super) fn list(dir: &Path) -> Result<Listing, DataError> {
    let failed = |error: io::Error| DataError::images(dir, format!("cannot be read ({error})"));
    let mut images = Names::default();
    let mut listing = Listing::default();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if let Some(reason) = hidden_reason(name.as_bytes()) {
            listing.skipped.add(reason, 1, &text);
            continue;
        }
        let mut kind = entry.file_type().map_err(failed)?;
        if kind.is_symlink() {
            match fs::metadata(entry.path()) {
                Ok(target) => kind = target.file_type(),
                Err(_) => {
                    listing.skipped.add(Reason::Dangling, 1, &text);
                    continue;
                }
            }
            if kind.is_dir() {
                refuse_loop(dir, &entry.path())?;
            }
        }
        if kind.is_dir() {
            listing.folders.push(text.into_owned());
        } else if kind.is_file() && is_image_name(name.as_bytes()) {
            if !images.push(name.as_bytes()) {
                return Err(DataError::images(dir, "has more files than can be listed".into()));
            }
        } else if kind.is_file() && Packing::is_compressed_name(name.as_bytes()) {
            listing.skipped.add(Reason::Packed, 1, &text);
        } else {
            listing.skipped.add(Reason::OtherFormat, 1, &text);
        }
    }
    listing.images = images.sorted();
    listing.folders.sort_unstable();
    Ok(listing)
}

/// Lists the folders `names` of `dir`, several at a time.
///
/// # Errors
/// Those of [`list`], of the first folder that has one.
pub(super) fn list_all(dir: &Path, names: &[String]) -> Result<Vec<Listing>, DataError> {
    parallel::map(names.len(), parallel::readers(), |index| list(&dir.join(&names[index])))?.into_iter().collect()
}

/// Images in the folders of `dir`, without those deeper still, and the first of them.
pub(super) fn deeper_images(dir: &Path, folders: &[String]) -> Result<(u64, String), DataError> {
    let listings = list_all(dir, folders)?;
    let count = listings.iter().map(|listing| listing.images.len() as u64).sum();
    let first = folders.iter().zip(&listings).find(|(_, listing)| listing.images.len() > 0);
    let example = first.map_or_else(String::new, |(folder, listing)| {
        format!("{folder}/{}", String::from_utf8_lossy(listing.images.get(0)))
    });
    Ok((count, example))
}

/// Takes the sizes of the images in `listings`, one for each of `folders`, and moves files without a byte to what they
/// left out; the sizes of the others, in order.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn measure(folders: &[PathBuf], listings: &mut [Listing]) -> Result<Vec<u64>, DataError> {
    let threads: NonZeroUsize = parallel::readers();
    let sizes: Vec<Vec<u64>> = parallel::map(listings.len(), threads, |number| {
        // One that cannot be looked at is named when it is read.
        let size =
            |name| fs::metadata(folders[number].join(OsStr::from_bytes(name))).map_or(u64::MAX, |data| data.len());
        listings[number].images.iter().map(size).collect()
    })?;
    for (listing, sizes) in listings.iter_mut().zip(&sizes).filter(|(_, sizes)| sizes.contains(&0)) {
        let mut kept = Names::default();
        for (name, size) in listing.images.iter().zip(sizes) {
            if *size == 0 {
                listing.skipped.add(Reason::Empty, 1, &String::from_utf8_lossy(name));
            } else {
                kept.push(name);
            }
        }
        listing.images = kept;
    }
    Ok(sizes.into_iter().flatten().filter(|size| *size > 0).collect())
}

/// A link to the folder itself or one above it: following it would never end.
fn refuse_loop(dir: &Path, link: &Path) -> Result<(), DataError> {
    let (Ok(dir), Ok(target)) = (fs::canonicalize(dir), fs::canonicalize(link)) else { return Ok(()) };
    if dir.starts_with(&target) {
        let problem = format!("is a link to {}, which it is itself in: remove the link", target.display());
        return Err(DataError::images(link, problem));
    }
    Ok(())
}
