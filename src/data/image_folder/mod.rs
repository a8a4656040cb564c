//! Images in files: a folder for each class, or ImageNet's flat validation folder with a file of labels.
//!
//! - `tree`: where the training and the validation images are
//! - `listing`, `names`: what a folder holds, in little memory; `skipped`: what is left out, for one line
//! - `ground_truth`, `label_file`, `devkit`: labels of images that are not in folders of classes
//!
//! Classes are numbered in the order of their names as text, as torchvision does.

mod devkit;
mod ground_truth;
mod label_file;
mod listing;
mod names;
mod skipped;
mod tree;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::listing::Listing;
use super::{Colours, DataError, Source, Split, StoredImage, class_counts};

pub(super) use self::ground_truth::label;
pub(super) use self::listing::{hidden_reason, is_image_name};
pub(super) use self::names::Names;
pub(super) use self::skipped::{Reason, Skipped};
pub(super) use self::tree::Tree;

/// Files of sets up to this size are looked at one by one, for empty ones and their sizes. In larger sets that takes many
/// times as long as to list them; empty ones show when they are read.
const LOOKED_AT: usize = 100_000;

/// The files of one part of a data set and their classes.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    folders: Vec<Folder>,
    /// Names of files, folder by folder, in order within each.
    names: Names,
    labels: Vec<u32>,
    /// Of files, in bytes, where they were looked at.
    sizes: Option<Vec<u64>>,
    notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Folder {
    path: PathBuf,
    /// Number of its first image.
    first: usize,
}

impl ImageFolder {
    /// Lists one part of the images of `dir`: of a data set with `train/` and `val/`, of Kaggle's tree, or, as
    /// validation images, of a folder that has a folder for each class itself.
    ///
    /// # Errors
    /// When there are no such images, a class has none, classes of training and validation differ, or an image has no
    /// label.
    pub fn open(dir: &Path, split: Split) -> Result<Self, DataError> {
        if dir.is_file() {
            return Err(tree::not_a_folder(dir));
        }
        Self::open_part(&Tree::find(dir)?, split)
    }

    /// Lists one part of `tree`.
    ///
    /// # Errors
    /// Those of [`ImageFolder::open`].
    pub(super) fn open_part(tree: &Tree, split: Split) -> Result<Self, DataError> {
        let wanted = if split == Split::Train { "training images (train/)" } else { "validation images (val/)" };
        let part = tree.part(split).ok_or_else(|| tree.nothing_usable(wanted))?;
        let root = listing::list(part)?;
        let is_flat = ground_truth::is_flat(part, &root);
        match split {
            Split::Train if is_flat => Err(tree::not_in_folders(part, &root)),
            Split::Test if is_flat => ground_truth::open(tree, part, root),
            _ if root.folders.is_empty() => Err(tree::not_in_folders(part, &root)),
            _ => {
                if let (Split::Test, Some(train)) = (split, &tree.train) {
                    refuse_differing(train, part, &root.folders)?;
                }
                let mut folder = Self::of_classes(part, root)?;
                // Validation images have the folders of the training images, of which it was told.
                if split == Split::Train || tree.train.is_none() {
                    folder.note_numbers();
                }
                if split == Split::Train {
                    folder.notes.extend(class_counts::note_single(part, &folder.classes));
                }
                Ok(folder)
            }
        }
    }

    /// A folder for each class in `part`.
    fn of_classes(part: &Path, root: Listing) -> Result<Self, DataError> {
        let is_not_text = |name: &&String| name.contains(char::REPLACEMENT_CHARACTER) && !part.join(name).is_dir();
        if let Some(name) = root.folders.iter().find(is_not_text) {
            let problem = format!("has a folder {name} whose name is not UTF-8: rename it, for it names a class");
            return Err(DataError::images(part, problem));
        }
        let mut listings = listing::list_all(part, &root.folders)?;
        let mut paths: Vec<PathBuf> = root.folders.iter().map(|name| part.join(name)).collect();
        let mut skipped = root.skipped;
        if root.images.len() > 0 {
            let first = String::from_utf8_lossy(root.images.get(0)).into_owned();
            skipped.add(Reason::Beside, root.images.len() as u64, &first);
        }
        for (path, listing) in paths.iter_mut().zip(&mut listings) {
            // Tiny ImageNet has the images of a class in `images` below its folder.
            if listing.images.len() == 0 && listing.folders == ["images"] {
                path.push("images");
                let inner = listing::list(path)?;
                skipped.extend("", &std::mem::replace(listing, inner).skipped);
            }
            if !listing.folders.is_empty() {
                let (number, example) = listing::deeper_images(path, &listing.folders)?;
                listing.skipped.add(Reason::Deeper, number, &example);
            }
        }
        let number: usize = listings.iter().map(|listing| listing.images.len()).sum();
        let sizes = (number <= LOOKED_AT).then(|| listing::measure(&paths, &mut listings)).transpose()?;
        let mut folder = Self { sizes, ..Self::empty(root.folders) };
        for (label, (path, listing)) in (0u32..).zip(paths.into_iter().zip(listings)) {
            let class = &folder.classes[label as usize];
            if listing.images.len() == 0 {
                return Err(tree::class_without_images(part, class, &listing));
            }
            skipped.extend(class, &listing.skipped);
            folder.push(path, &listing.images, |_| label)?;
        }
        folder.note_skipped(part, &skipped);
        Ok(folder)
    }

    fn empty(classes: Vec<String>) -> Self {
        Self {
            classes,
            folders: Vec::new(),
            names: Names::default(),
            labels: Vec::new(),
            sizes: None,
            notes: Vec::new(),
        }
    }

    /// Appends the images of one folder on disk.
    fn push(&mut self, path: PathBuf, images: &Names, label: impl Fn(usize) -> u32) -> Result<(), DataError> {
        let first = self.labels.len();
        for (index, name) in images.iter().enumerate() {
            if self.labels.len() == u32::MAX as usize || !self.names.push(name) {
                return Err(DataError::images(&path, "is beyond what one data set can hold".into()));
            }
            self.labels.push(label(index));
        }
        self.folders.push(Folder { path, first });
        Ok(())
    }

    fn note_skipped(&mut self, part: &Path, skipped: &Skipped) {
        if !skipped.is_empty() {
            self.notes.push(format!("{}: left out {skipped}", part.display()));
        }
    }

    /// Folders that are numbers, in the order of text: `10` comes before `2`.
    fn note_numbers(&mut self) {
        let numbers: Option<Vec<u64>> = self.classes.iter().map(|class| class.parse().ok()).collect();
        let Some(numbers) = numbers else { return };
        let Some(label) = (1..numbers.len()).find(|&label| numbers[label - 1] > numbers[label]) else { return };
        let [before, class] = [label - 1, label].map(|label| &self.classes[label]);
        self.notes.push(format!(
            "class folders that are numbers are ordered as text, as in torchvision: class {before} has the label {}, \
             class {class} the label {label}; name them with leading zeros to order them as numbers",
            label - 1
        ));
    }

    /// The folders that hold the images.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(|folder| folder.path.as_path())
    }

    /// The file of image `index`, or `None` past the last one.
    pub fn path(&self, index: u32) -> Option<PathBuf> {
        let index = index as usize;
        let position = self.folders.partition_point(|folder| folder.first <= index);
        let folder = self.folders.get(position.checked_sub(1)?).filter(|_| index < self.len())?;
        Some(folder.path.join(OsStr::from_bytes(self.names.get(index))))
    }
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: u32) -> Option<u32> {
        self.labels.get(index as usize).copied()
    }

    fn read<'a>(&'a self, index: u32, buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError> {
        let path = self.path(index).ok_or(DataError::SampleOutOfRange { index, len: self.len() })?;
        buffer.clear();
        let reason = match File::open(&path).and_then(|mut file| file.read_to_end(buffer)) {
            Ok(0) => "it is empty".to_owned(),
            Ok(_) => return Ok(StoredImage::Encoded(buffer)),
            Err(error) => error.to_string(),
        };
        Err(DataError::image(path.display().to_string(), reason))
    }

    fn location(&self, index: u32) -> String {
        self.path(index).map_or_else(|| format!("image {index}"), |path| path.display().to_string())
    }

    fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for class in &self.classes {
            hasher.update(class);
            hasher.update([0]);
        }
        for (name, label) in self.names.iter().zip(&self.labels) {
            hasher.update(name);
            hasher.update([0]);
            hasher.update(label.to_le_bytes());
        }
        format!("{:x}", hasher.finalize())
    }

    fn sizes(&self) -> Option<String> {
        let mut hasher = Sha256::new();
        self.sizes.as_ref()?.iter().for_each(|size| hasher.update(size.to_le_bytes()));
        Some(format!("{:x}", hasher.finalize()))
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn colours(&self) -> Colours {
        Colours::IMAGENET
    }
}

/// Compares the classes of validation images with the folders of training images.
fn refuse_differing(train: &Path, validation: &Path, classes: &[String]) -> Result<(), DataError> {
    let expected = listing::list(train)?.folders;
    let missing: Vec<String> = expected.iter().filter(|class| !classes.contains(class)).cloned().collect();
    let unknown: Vec<String> = classes.iter().filter(|class| !expected.contains(class)).cloned().collect();
    if missing.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    let mut problem = format!("has other classes than {}:", train.display());
    if !missing.is_empty() {
        problem += &format!(" it lacks {} ({})", missing.len(), tree::some_of(&missing));
    }
    if !unknown.is_empty() {
        let and = if missing.is_empty() { "" } else { " and" };
        problem += &format!("{and} has {} more ({})", unknown.len(), tree::some_of(&unknown));
    }
    Err(DataError::images(validation, problem + "; both need the same folders"))
}

#[cfg(test)]
mod tests;
