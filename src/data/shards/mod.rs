//! Images in tar files, read at random: shards that `pdarts data pack` makes, those of others, ImageNet's archives.
//!
//! - `index`: where each image is; `scan`: how that is found out where there is no index
//! - `files`: the open tar files; `foreign`: shards of others; `originals`: `ILSVRC2012_img_*.tar`
//! - `pack`: makes shards; `manifest`: what `manifest.json` says of them; `check`: reads all of them
//!
//! A shard is a tar file of pairs `KEY.jpg`, `KEY.cls` (the label in decimal digits), as WebDataset has it, so other
//! programs read it from start to end. `train.index` and `val.index` beside the shards let this one read any image with
//! one call, by several threads at once.

pub mod check;
mod files;
mod foreign;
mod index;
mod manifest;
mod originals;
pub mod pack;
mod scan;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use self::files::OpenFiles;
use self::index::{BLOCK, Entry, Index};
use super::{Colours, DataError, Source, Split, StoredImage, class_counts};

pub use self::manifest::Manifest;
pub(super) use self::originals::{Originals, are_unpacked};

/// What helps where shards of `pdarts data pack` are not as they were made.
const REPAIR: &str = "copy it again, or call pdarts data pack as before, which makes again what is broken";

/// One part of a data set in tar files.
#[derive(Debug)]
pub struct Shards {
    dir: PathBuf,
    index: Index,
    files: OpenFiles,
    notes: Vec<String>,
}

/// Name of a part in the names of shards and their index.
pub(super) fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "val",
    }
}

fn index_path(dir: &Path, split: Split) -> PathBuf {
    dir.join(format!("{}.index", split_name(split)))
}

impl Shards {
    /// Whether `dir` has shards of `split`, with an index or without.
    pub fn are_in(dir: &Path, split: Split) -> bool {
        index_path(dir, split).is_file() || foreign::shard_names(dir, split).is_ok_and(|names| !names.is_empty())
    }

    /// Opens the shards of one part in `dir`. Those of others are read once to index them; the index is left beside
    /// them, where that is allowed.
    ///
    /// # Errors
    /// When there are none, the index is damaged or does not match the shards, or a shard is cut short.
    pub fn open(dir: &Path, split: Split) -> Result<Self, DataError> {
        let path = index_path(dir, split);
        if !path.is_file() {
            return match Manifest::read(dir)?.is_some_and(|manifest| manifest.part(split).is_some()) {
                true => {
                    Err(DataError::images(&path, format!("is not there, but manifest.json has its images: {REPAIR}")))
                }
                false => foreign::open(dir, split),
            };
        }
        let index = Index::read(&path)?;
        match (mismatch(dir, &index), index.is_scanned) {
            (None, true) if foreign::has_changed(dir, split, &index) => foreign::open(dir, split),
            (None, _) => Ok(Self::new(dir, split, index, Vec::new())),
            (Some(_), true) => foreign::open(dir, split),
            (Some(problem), false) => Err(DataError::images(&path, format!("does not match its shards: {problem}"))),
        }
    }

    /// Opens shards that may not be as their index says, to find out how. Of those of others the index is no authority.
    pub(super) fn open_to_check(dir: &Path, split: Split) -> Result<Self, DataError> {
        let path = index_path(dir, split);
        if path.is_file() {
            let index = Index::read(&path)?;
            if !index.is_scanned {
                return Ok(Self::new(dir, split, index, Vec::new()));
            }
        }
        Self::open(dir, split)
    }

    fn new(dir: &Path, split: Split, index: Index, mut notes: Vec<String>) -> Self {
        if index.is_scanned {
            let names: Vec<&str> = index.shards.iter().map(|shard| shard.name.as_str()).collect();
            notes.extend(foreign::note_compressed(dir, split, &names));
            if split == Split::Train {
                notes.extend(class_counts::note_single(dir, &index.classes));
            }
        }
        let place = format!("{} ({})", dir.display(), split_name(split));
        notes.extend(class_counts::note(&place, &index.classes, index.iter().map(|entry| entry.label)));
        Self { dir: dir.into(), index, files: OpenFiles::default(), notes }
    }

    /// Bytes of image `index`, or `None` past the last one.
    pub(super) fn size(&self, index: u32) -> Option<u64> {
        self.index.entry(index as usize).map(|entry| entry.bytes.into())
    }

    /// Name of image `index` in its shard: what the block before it holds.
    pub(super) fn name(&self, index: u32) -> Option<String> {
        const NAME_BYTES: usize = 100;
        let (shard, entry) = self.find(index)?;
        let mut name = [0; NAME_BYTES];
        let file = self.files.get(shard, &self.shard_path(shard)).ok()?;
        file.read_exact_at(&mut name, entry.offset.checked_sub(BLOCK)?).ok()?;
        let name = name.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    fn shard_path(&self, shard: usize) -> PathBuf {
        self.dir.join(&self.index.shards[shard].name)
    }

    /// The shard of an image, and its entry.
    fn find(&self, index: u32) -> Option<(usize, Entry)> {
        let entry = self.index.entry(index as usize)?;
        Some((entry.shard as usize, entry))
    }
}

impl Source for Shards {
    fn len(&self) -> usize {
        self.index.len()
    }

    fn class_names(&self) -> &[String] {
        &self.index.classes
    }

    fn label(&self, index: u32) -> Option<u32> {
        self.index.entry(index as usize).map(|entry| entry.label)
    }

    fn read<'a>(&'a self, index: u32, buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError> {
        let (shard, entry) = self.find(index).ok_or(DataError::SampleOutOfRange { index, len: self.len() })?;
        let refused = |reason: String| DataError::image(self.location(index), reason);
        buffer.resize(entry.bytes as usize, 0);
        let file = self.files.get(shard, &self.shard_path(shard)).map_err(|error| refused(error.to_string()))?;
        file.read_exact_at(buffer, entry.offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => refused("the shard is cut short".to_owned()),
            _ => refused(error.to_string()),
        })?;
        if self.index.has_checksums && crc32c::crc32c(buffer) != entry.crc {
            return Err(refused("its checksum is not that of the index".to_owned()));
        }
        Ok(StoredImage::Encoded(buffer))
    }

    fn location(&self, index: u32) -> String {
        let Some((shard, entry)) = self.find(index) else { return format!("image {index}") };
        let path = self.shard_path(shard);
        let name = self.name(index).map_or_else(String::new, |name| format!(" ({name})"));
        format!("{}, byte {}{name}", path.display(), entry.offset)
    }

    fn fingerprint(&self) -> String {
        self.index.digest()
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn colours(&self) -> Colours {
        Colours::IMAGENET
    }
}

/// The first shard that is not as `index` has it, and how.
fn mismatch(dir: &Path, index: &Index) -> Option<String> {
    index.shards.iter().find_map(|shard| match dir.join(&shard.name).metadata() {
        Ok(found) if found.len() == shard.bytes => None,
        Ok(found) => {
            let (name, bytes) = (&shard.name, shard.bytes);
            Some(format!("{name} has {} bytes, expected {bytes}; {REPAIR}", found.len()))
        }
        Err(error) => Some(format!("{} cannot be read ({error}); {REPAIR}", shard.name)),
    })
}
