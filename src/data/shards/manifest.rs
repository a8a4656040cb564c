//! `manifest.json`: what a folder of shards holds, for readers; written last, so that its presence means completeness.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::split_name;
use crate::data::{DataError, Split};

/// Name of the file.
const NAME: &str = "manifest.json";
/// Version of the format.
pub(super) const VERSION: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub version: u32,
    /// Longest side that was left, in pixels; none: all images as they were.
    pub max_side: Option<u32>,
    /// Quality of JPEG of those that were made smaller.
    pub quality: u8,
    /// Names of classes, in the order of labels.
    pub class_names: Vec<String>,
    /// Training and validation images, as far as there are any.
    pub parts: Vec<PartManifest>,
}

/// One part of the data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartManifest {
    /// `train` or `val`.
    pub name: String,
    /// Number of images.
    pub images: usize,
    /// Of each class.
    pub images_per_class: Vec<u64>,
    /// SHA-256 of what the shards were made from and how.
    pub plan: String,
    /// SHA-256 of the index file.
    pub index_sha256: String,
    /// The tar files.
    pub shards: Vec<ShardManifest>,
    /// Unreadable images that were left out.
    pub left_out: Vec<LeftOut>,
}

/// One tar file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardManifest {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Number of images.
    pub images: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// SHA-256 of what it was made from and how; empty if an earlier version made it.
    #[serde(default)]
    pub plan: String,
}

/// An image that is not in the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Where it was.
    pub image: String,
    /// Why it was left out.
    pub reason: String,
}

impl Manifest {
    /// What it says of the images of `split`; nothing if there are none.
    pub fn part(&self, split: Split) -> Option<&PartManifest> {
        self.parts.iter().find(|part| part.name == split_name(split))
    }

    /// Where it is in a folder of shards.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// That of `dir`; none if there is none.
    ///
    /// # Errors
    /// When it cannot be read or is of another version.
    pub fn read(dir: &Path) -> Result<Option<Self>, DataError> {
        let path = Self::path(dir);
        let refused =
            |problem: String| DataError::images(&path, format!("{problem}: copy it again, or remove it and pack anew"));
        let text = match fs::read_to_string(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            text => text.map_err(|error| refused(format!("cannot be read ({error})")))?,
        };
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| refused(format!("is no manifest of shards ({error})")))?;
        match manifest.version {
            VERSION => Ok(Some(manifest)),
            other => Err(refused(format!("has version {other} of the format, this program reads {VERSION}"))),
        }
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
