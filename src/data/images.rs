//! Labelled images on disk, whatever holds them: files in folders, shards, ImageNet's archives.

use std::path::Path;

use super::image_folder::Tree;
use super::shards::{Originals, are_unpacked};
use super::{Colours, DataError, ImageFolder, Shards, Source, Split, StoredImage};

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
        require_there(dir, "name the folder that the images are in with --data")?;
        match Self::are_folders(dir, split) {
            true => ImageFolder::open(dir, split).map(Self::Folder),
            false => Shards::open(dir, split).map(Self::Shards),
        }
    }

    /// Whether the images of `split` are read from folders, not from shards.
    pub(super) fn are_folders(dir: &Path, split: Split) -> bool {
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
        require_there(dir, "name the folder that the images are in")?;
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
        if let [(_, train), (_, validation)] = &parts[..] {
            require_same_classes(dir, train, validation)?;
        }
        Ok(parts)
    }

    /// Name of the file of image `index`, without folders.
    pub(super) fn file_name(&self, index: u32) -> String {
        let name = match self {
            Self::Folder(folder) => {
                folder.path(index).and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            }
            Self::Shards(shards) => shards.name(index),
        };
        let name = name.unwrap_or_default();
        name.rsplit('/').next().unwrap_or_default().to_owned()
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

    fn source(&self) -> &dyn Source {
        match self {
            Self::Folder(folder) => folder,
            Self::Shards(shards) => shards,
        }
    }
}

impl Source for Images {
    fn len(&self) -> usize {
        self.source().len()
    }

    fn class_names(&self) -> &[String] {
        self.source().class_names()
    }

    fn label(&self, index: u32) -> Option<u32> {
        self.source().label(index)
    }

    fn read<'a>(&'a self, index: u32, buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError> {
        self.source().read(index, buffer)
    }

    fn location(&self, index: u32) -> String {
        self.source().location(index)
    }

    fn fingerprint(&self) -> String {
        self.source().fingerprint()
    }

    fn sizes(&self) -> Option<String> {
        self.source().sizes()
    }

    fn notes(&self) -> &[String] {
        self.source().notes()
    }

    fn colours(&self) -> Colours {
        self.source().colours()
    }
}

/// Refuses a folder `dir` that is not there or may not be looked at, with what to do.
fn require_there(dir: &Path, advice: &str) -> Result<(), DataError> {
    std::fs::metadata(dir).map(drop).map_err(|error| {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        DataError::images(&dir, format!("cannot be read ({error}): {advice}"))
    })
}

/// Refuses parts of the data set in `dir` that have different classes.
///
/// # Errors
/// The first class that differs.
pub fn require_same_classes(dir: &Path, train: &dyn Source, validation: &dyn Source) -> Result<(), DataError> {
    let (first, second) = (train.class_names(), validation.class_names());
    if first == second {
        return Ok(());
    }
    let differing = first.iter().zip(second).position(|(a, b)| a != b).unwrap_or(first.len().min(second.len()));
    let name = |classes: &[String]| classes.get(differing).map_or("none", String::as_str).to_owned();
    let problem = format!(
        "has {} classes of training images and {} of validation images; class {differing} is {} and {}",
        first.len(),
        second.len(),
        name(first),
        name(second)
    );
    Err(DataError::images(dir, problem))
}

/// Whether the images of `split` are in folders, with tar files perhaps beside them.
fn has_folders(dir: &Path, split: Split) -> bool {
    let part = Tree::find(dir).ok().and_then(|tree| match split {
        Split::Train => tree.train,
        Split::Test => tree.validation,
    });
    part.is_some_and(|part| {
        let has_shards = Shards::are_in(&part, split) && !has_unpacked_archives_alone(&part);
        !has_shards
            && std::fs::read_dir(part)
                .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|e| e.path().is_dir())))
    })
}

/// Whether every tar file in `dir` has been unpacked there.
fn has_unpacked_archives_alone(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    are_unpacked(entries.filter(|path| path.extension().is_some_and(|extension| extension == "tar")))
}
