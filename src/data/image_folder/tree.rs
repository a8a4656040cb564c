//! Where in a user's folder the training and the validation images are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::listing::{self, Listing};
use super::skipped::Reason;
use crate::data::packing::Packing;
use crate::data::{DataError, Split};

/// Names of the folder with training images, most usual first.
const TRAIN: [&str; 2] = ["train", "training"];
/// Names of the folder with validation images; `test` counts where there is no other.
const VALIDATION: [&str; 4] = ["val", "validation", "valid", "test"];
/// Where Kaggle's and other published trees have these folders.
const INNER: [&str; 4] = ["", "CLS-LOC", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC"];

/// How images are to be arranged, for messages.
pub(super) const ARRANGEMENT: &str = "images are expected in a folder for each class, as in train/n01440764/x.JPEG and \
                                      val/n01440764/y.JPEG (docs/images.md lists the other ways)";

/// A user's folder and the two parts of a data set in it.
#[derive(Clone, Debug)]
pub(in crate::data) struct Tree {
    /// As the user gave it.
    pub dir: PathBuf,
    /// What holds the folders of the parts.
    pub base: PathBuf,
    /// Training images.
    pub train: Option<PathBuf>,
    /// Validation images.
    pub validation: Option<PathBuf>,
}

impl Tree {
    /// Looks for the parts in `dir`, in the places that Kaggle's tree has, and in its only folder.
    ///
    /// # Errors
    /// When `dir` is no folder that can be read.
    pub fn find(dir: &Path) -> Result<Self, DataError> {
        let listing = listing::list(dir)?;
        let only_folder = match listing.folders.as_slice() {
            [only] => INNER.iter().map(|inner| dir.join(only).join(inner)).collect(),
            _ => Vec::new(),
        };
        let places = INNER.iter().map(|inner| dir.join(inner)).chain(only_folder);
        for base in places {
            let (train, validation) = (folder_of(&base, Split::Train), folder_of(&base, Split::Test));
            if train.is_some() || validation.is_some() {
                return Ok(Self { dir: dir.into(), base, train, validation });
            }
        }
        Ok(Self { dir: dir.into(), base: dir.into(), train: None, validation: None })
    }

    /// The folder of `split`; of validation images also the tree's own, should it have no parts.
    pub fn part(&self, split: Split) -> Option<&Path> {
        match (split, &self.train, &self.validation) {
            (Split::Train, Some(train), _) => Some(train),
            (Split::Test, _, Some(validation)) => Some(validation),
            (Split::Test, None, None) => Some(&self.base),
            _ => None,
        }
    }

    /// An error that says what was found in place of `wanted`.
    pub fn nothing_usable(&self, wanted: &str) -> DataError {
        let listing = listing::list(&self.base).unwrap_or_default();
        let (found, advice) = (description(&listing), advice(&self.base, &listing));
        DataError::images(&self.base, format!("has no {wanted}; it holds {found}; {advice}"))
    }
}

/// The folder of `split` in `base`, by one of its names in upper or lower case.
fn folder_of(base: &Path, split: Split) -> Option<PathBuf> {
    let names: &[&str] = if split == Split::Train { &TRAIN } else { &VALIDATION };
    let entries: BTreeSet<String> =
        fs::read_dir(base).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let known = names.iter().flat_map(|name| entries.iter().filter(|entry| entry.eq_ignore_ascii_case(name)));
    known.map(|entry| base.join(entry)).find(|path| path.is_dir())
}

/// What a folder holds, in words.
pub(super) fn description(listing: &Listing) -> String {
    let mut parts = Vec::new();
    match listing.folders.len() {
        0 => {}
        1 => parts.push(format!("1 folder ({})", listing.folders[0])),
        number => parts.push(format!("{number} folders ({})", some_of(&listing.folders))),
    }
    if listing.images.len() > 0 {
        let first = String::from_utf8_lossy(listing.images.get(0));
        parts.push(match listing.images.len() {
            1 => format!("1 image ({first})"),
            number => format!("{number} images (as {first})"),
        });
    }
    if !listing.skipped.is_empty() {
        parts.push(listing.skipped.to_string());
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// The first names of a list.
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What to do where the folder `dir` holds nothing that can be used.
fn advice(dir: &Path, listing: &Listing) -> String {
    let packed = listing.skipped.example(Reason::Packed).map(|name| dir.join(name));
    if let Some((path, packing)) = packed.and_then(|path| Packing::of(&path).map(|packing| (path, packing))) {
        return format!("{} {}", path.display(), packing.advice());
    }
    ARRANGEMENT.to_owned()
}

/// The refusal of a folder `part` without folders of classes.
pub(super) fn not_in_folders(part: &Path, root: &Listing) -> DataError {
    let archives =
        if has_tar_files(part) { "; pdarts data pack --from makes shards of ImageNet's tar files" } else { "" };
    let problem = match root.images.len() {
        0 => "has no folders with images",
        _ => "has images that are not in a folder for each class",
    };
    let (found, advice) = (description(root), advice(part, root));
    DataError::images(part, format!("{problem}; it holds {found}; {advice}{archives}"))
}

fn has_tar_files(dir: &Path) -> bool {
    let is_tar =
        |entry: fs::DirEntry| Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == "tar");
    fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(is_tar))
}

/// The refusal of a class without images.
pub(super) fn class_without_images(part: &Path, class: &str, listing: &Listing) -> DataError {
    let is_packed = listing.skipped.example(Reason::Packed).is_some();
    let has_other_formats = listing.folders.is_empty() && listing.skipped.example(Reason::OtherFormat).is_some();
    let advice = match has_other_formats && !is_packed {
        true => "JPEG and PNG files are read: convert those of other formats".to_owned(),
        false => advice(&part.join(class), listing),
    };
    let found = description(listing);
    DataError::images(part, format!("has no images in its folder {class}, which holds {found}; {advice}"))
}

/// The refusal of a file where a folder with images is expected.
pub(super) fn not_a_folder(file: &Path) -> DataError {
    let problem = match Packing::of(file) {
        None => "is a file, not a folder: name the folder with the images".to_owned(),
        Some(Packing::Tar) => {
            "is a tar file: name the folder it is in if it is a shard or one of ImageNet's archives, \
                               else unpack it with tar -xf and name the folder that comes of it"
                .to_owned()
        }
        Some(packing) => format!("{}; then name the folder", packing.advice()),
    };
    DataError::images(file, problem)
}
