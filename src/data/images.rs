//! Labelled images on disk, whatever holds them: files in folders, shards, ImageNet's archives.

use std::path::Path;

use super::image_folder::Tree;
use super::shards::Originals;
use super::{DataError, ImageFolder, Shards, Split};

/// One part of a data set of images.
#[derive(Debug)]
pub enum Images {
    /// Files in folders.
    Folder(ImageFolder),
    /// Tar files.
    Shards(Shards),
}

impl Images {
    /// Opens one part of the data set in `dir`: shards, else a tree of folders.
    ///
    /// # Errors
    /// When there are no such images, or they cannot be used as they are.
    pub fn open(dir: &Path, split: Split) -> Result<Self, DataError> {
        match Self::are_folders(dir, split) {
            true => ImageFolder::open(dir, split).map(Self::Folder),
            false => Shards::open(dir, split).map(Self::Shards),
        }
    }

    fn are_folders(dir: &Path, split: Split) -> bool {
        !dir.is_dir() || has_folders(dir, split) || !Shards::are_in(dir, split)
    }

    /// [`Images::open`] of each part that `dir` has, also from the archives that ImageNet is published as.
    ///
    /// # Errors
    /// When there is nothing, a part cannot be used as it is, or the parts have different classes.
    pub fn open_all(dir: &Path) -> Result<Vec<(Split, Self)>, DataError> {
        Self::open_parts(dir, Self::open)
    }

    /// [`Images::open_all`] of images that are to be checked: shards need not be as their index says.
    ///
    /// # Errors
    /// Those of [`Images::open_all`].
    pub fn open_all_to_check(dir: &Path) -> Result<Vec<(Split, Self)>, DataError> {
        Self::open_parts(dir, |dir, split| match Self::are_folders(dir, split) {
            true => Self::open(dir, split),
            false => Shards::open_to_check(dir, split).map(Self::Shards),
        })
    }

    fn open_parts(
        dir: &Path,
        open: impl Fn(&Path, Split) -> Result<Self, DataError>,
    ) -> Result<Vec<(Split, Self)>, DataError> {
        let originals = Originals::find(dir);
        let tree = dir.is_dir().then(|| Tree::find(dir)).transpose()?;
        let mut parts = Vec::new();
        for split in [Split::Train, Split::Test] {
            let has_tree = tree.as_ref().is_some_and(|tree| match split {
                Split::Train => tree.train.is_some(),
                Split::Test => tree.validation.is_some(),
            });
            match &originals {
                Some(originals) if originals.has(split) => parts.push((split, Self::Shards(originals.open(split)?))),
                _ if has_tree || dir.is_dir() && Shards::are_in(dir, split) => parts.push((split, open(dir, split)?)),
                _ => {}
            }
        }
        if parts.is_empty() {
            // A folder of one part; else the reason why there is nothing.
            parts.push((Split::Test, open(dir, Split::Test)?));
        }
        if let [(_, train), (_, validation)] = &parts[..]
            && train.class_names() != validation.class_names()
        {
            let (first, second) = (train.class_names(), validation.class_names());
            let differing = first.iter().zip(second).position(|(a, b)| a != b).unwrap_or(first.len().min(second.len()));
            let name = |classes: &[String]| classes.get(differing).map_or("none", String::as_str).to_owned();
            let problem = format!(
                "has {} classes of training images and {} of validation images; class {differing} is {} and {}",
                first.len(),
                second.len(),
                name(first),
                name(second)
            );
            return Err(DataError::images(dir, problem));
        }
        Ok(parts)
    }

    /// What to tell the user once: what was left out, and what may not be meant.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Folder(folder) => folder.notes(),
            Self::Shards(shards) => shards.notes(),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Folder(folder) => folder.len(),
            Self::Shards(shards) => shards.len(),
        }
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In the order of labels.
    pub fn class_names(&self) -> &[String] {
        match self {
            Self::Folder(folder) => folder.class_names(),
            Self::Shards(shards) => shards.class_names(),
        }
    }

    /// The class of image `index`, or `None` past the last one.
    pub fn label(&self, index: u32) -> Option<u32> {
        match self {
            Self::Folder(folder) => folder.label(index),
            Self::Shards(shards) => shards.label(index),
        }
    }

    /// Fills `buffer` with the file of image `index`.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be read.
    pub fn read_file(&self, index: u32, buffer: &mut Vec<u8>) -> Result<(), DataError> {
        match self {
            Self::Folder(folder) => folder.read_file(index, buffer),
            Self::Shards(shards) => shards.read_file(index, buffer),
        }
    }

    /// Where image `index` is, for messages.
    pub fn location(&self, index: u32) -> String {
        match self {
            Self::Folder(folder) => match folder.path(index) {
                Some(path) => path.display().to_string(),
                None => format!("image {index}"),
            },
            Self::Shards(shards) => shards.location(index),
        }
    }

    /// SHA-256, in hexadecimal, of what tells this set from another: names, classes and labels, not the images.
    pub fn digest(&self) -> String {
        match self {
            Self::Folder(folder) => folder.digest(),
            Self::Shards(shards) => shards.digest(),
        }
    }

    /// Name of the file of image `index`, without folders.
    pub(super) fn file_name(&self, index: u32) -> String {
        let name = match self {
            Self::Folder(folder) => {
                folder.path(index).and_then(|path| Some(path.file_name()?.to_string_lossy().into()))
            }
            Self::Shards(shards) => shards.name(index),
        };
        name.map_or_else(String::new, |name: String| name.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// Bytes of the file of image `index`; 0 if that cannot be told.
    pub(super) fn file_bytes(&self, index: u32) -> u64 {
        match self {
            Self::Folder(folder) => {
                folder.path(index).and_then(|path| path.metadata().ok()).map_or(0, |data| data.len())
            }
            Self::Shards(shards) => shards.size(index).unwrap_or(0),
        }
    }
}

/// Whether the images of `split` are in folders, with tar files perhaps beside them.
fn has_folders(dir: &Path, split: Split) -> bool {
    let part = Tree::find(dir).ok().and_then(|tree| match split {
        Split::Train => tree.train,
        Split::Test => tree.validation,
    });
    part.is_some_and(|part| {
        !Shards::are_in(&part, split)
            && std::fs::read_dir(part)
                .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|e| e.path().is_dir())))
    })
}
