//! Reads all images of a data set and says which are bad, and whether shards are what their index and manifest say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::manifest::{Manifest, PartManifest, hexadecimal};
use super::{Shards, index_path, scan, split_name};
use crate::data::{DataError, Images, Source, Split, StoredImage, encoded, parallel};

/// Images that a thread checks at a time.
const BATCH: usize = 64;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A file, a shard with a place in it, or a folder.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

/// What was found of one part of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartReport {
    /// `train` or `val`.
    pub name: &'static str,
    /// `folder` or `shards`.
    pub kind: &'static str,
    /// Number of images, bad ones included.
    pub images: usize,
    /// Number of classes.
    pub classes: usize,
    /// The fewest and the most images of a class.
    pub images_per_class: [u64; 2],
    /// Bad images, and what else is wrong.
    pub bad: Vec<Problem>,
}

/// Decodes all images of a part; of shards, also compares them with their index and with the manifest of `dir`.
///
/// # Errors
/// If the system refuses a thread, or the manifest cannot be read.
pub fn check(
    dir: &Path,
    split: Split,
    images: &std::sync::Arc<Images>,
    num_threads: NonZeroUsize,
    progress: &mut dyn FnMut(usize),
) -> Result<PartReport, DataError> {
    let mut counts = vec![0u64; images.class_names().len()];
    for index in 0..images.len() as u32 {
        if let Some(count) = images.label(index).and_then(|label| counts.get_mut(label as usize)) {
            *count += 1;
        }
    }
    let mut bad = Vec::new();
    let kind = match images.as_ref() {
        Images::Folder(_) => "folder",
        Images::Shards(shards) => {
            let manifest = Manifest::read(dir)?;
            if let Some(part) = manifest.as_ref().and_then(|manifest| manifest.part(split)) {
                bad.extend(compare_manifest(dir, split, shards, part, &counts));
            }
            bad.extend(check_files(shards, num_threads)?);
            "shards"
        }
    };
    let batches: Vec<_> =
        (0..images.len()).step_by(BATCH).map(|first| first..(first + BATCH).min(images.len())).collect();
    let read = std::sync::Arc::clone(images);
    let results = parallel::stream(batches, num_threads, move |batch: std::ops::Range<usize>| {
        let mut buffer = Vec::new();
        let length = batch.len();
        let problems = batch.filter_map(|index| problem_of(&read, index as u32, &mut buffer));
        Ok((length, problems.collect::<Vec<_>>()))
    })?;
    for result in results {
        let (length, problems) = result?;
        bad.extend(problems);
        progress(length);
    }
    let (fewest, most) = (counts.iter().min(), counts.iter().max());
    Ok(PartReport {
        name: split_name(split),
        kind,
        images: images.len(),
        classes: counts.len(),
        images_per_class: [fewest, most].map(|count| count.copied().unwrap_or(0)),
        bad,
    })
}

/// What the manifest of `dir` has beside the parts of `found`, and shards that it has not.
///
/// # Errors
/// When the manifest cannot be read.
pub fn check_folder(dir: &Path, found: &[Split]) -> Result<Vec<Problem>, DataError> {
    let Some(manifest) = Manifest::read(dir)? else { return Ok(Vec::new()) };
    let mut problems = Vec::new();
    for split in [Split::Train, Split::Test].into_iter().filter(|split| !found.contains(split)) {
        if let Some(part) = manifest.part(split) {
            let place = index_path(dir, split).display().to_string();
            problems.push(Problem { place, reason: format!("is not there: the manifest has {} images", part.images) });
        }
    }
    let is_known = |name: &String| manifest.parts.iter().flat_map(|part| &part.shards).any(|shard| shard.name == *name);
    let unknown = super::foreign::tar_names(dir, "")?.into_iter().filter(|name| !is_known(name));
    problems.extend(unknown.map(|name| {
        let reason = "is none of the manifest's: other programs would read it too".to_owned();
        Problem { place: dir.join(name).display().to_string(), reason }
    }));
    Ok(problems)
}

/// What is wrong with one image.
fn problem_of(images: &Images, index: u32, buffer: &mut Vec<u8>) -> Option<Problem> {
    let reason = match images.read(index, buffer) {
        Ok(StoredImage::Encoded(bytes)) => encoded::decode(bytes).err()?,
        Ok(StoredImage::Pixels { .. }) => return None,
        Err(DataError::Image { reason, .. }) => reason,
        Err(error) => error.to_string(),
    };
    Some(Problem { place: images.location(index), reason })
}

/// Differences between a manifest and the index of the shards.
fn compare_manifest(dir: &Path, split: Split, shards: &Shards, part: &PartManifest, counts: &[u64]) -> Vec<Problem> {
    let path = index_path(dir, split).display().to_string();
    let mut problems = Vec::new();
    let mut tell = |reason: String| problems.push(Problem { place: path.clone(), reason });
    if part.images != shards.len() {
        tell(format!("has {} images, the manifest {}", shards.len(), part.images));
    }
    if part.images_per_class != counts {
        tell("has other numbers of images in its classes than the manifest".to_owned());
    }
    if part.index_sha256 != shards.fingerprint() {
        tell("is not the index that the manifest names (SHA-256)".to_owned());
    }
    problems
}

/// Compares each shard with the index: its digest, where one is known, and the names, places and labels in it.
fn check_files(shards: &Shards, num_threads: NonZeroUsize) -> Result<Vec<Problem>, DataError> {
    let mut expected: Vec<BTreeMap<u64, (u32, u32)>> = vec![BTreeMap::new(); shards.index.shards.len()];
    for entry in (0..shards.len()).map_while(|index| shards.index.entry(index)) {
        expected[entry.shard as usize].insert(entry.offset, (entry.bytes, entry.label));
    }
    let problems = parallel::map(expected.len(), num_threads, |number| {
        let path = shards.shard_path(number);
        let reason = check_file(shards, number, &path, &expected[number]).err()?;
        Some(Problem { place: path.display().to_string(), reason })
    })?;
    Ok(problems.into_iter().flatten().collect())
}

fn check_file(shards: &Shards, number: usize, path: &Path, expected: &BTreeMap<u64, (u32, u32)>) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("cannot be read ({error})"))?;
    let length = file.metadata().map_err(|error| format!("cannot be read ({error})"))?.len();
    let samples = scan::samples(&file, length)?.samples;
    let classes = &shards.index.classes;
    let mut left = expected.clone();
    for sample in &samples {
        let (name, offset) = (&sample.image.name, sample.image.offset);
        let Some((bytes, label)) = left.remove(&offset) else {
            return Err(format!("has an image {name} at byte {offset} that the index has not"));
        };
        if u64::from(bytes) != sample.image.bytes {
            return Err(format!("has {} bytes of {name}, the index {bytes}", sample.image.bytes));
        }
        let is_label = sample.label.parse() == Ok(label) || classes.get(label as usize) == Some(&sample.label);
        if !is_label {
            return Err(format!("gives {name} the label {}, the index {label}", sample.label));
        }
    }
    if let Some((offset, _)) = left.first_key_value() {
        return Err(format!("has no image at byte {offset}, where the index has one"));
    }
    let digest = shards.index.shards[number].sha256;
    if digest != [0; 32] {
        let found = sha256(file).map_err(|error| format!("cannot be read ({error})"))?;
        if found != digest {
            return Err(format!("has the SHA-256 {}, the index {}", hexadecimal(&found), hexadecimal(&digest)));
        }
    }
    Ok(())
}

fn sha256(file: File) -> io::Result<[u8; 32]> {
    use std::io::Seek;
    let mut file = file;
    file.rewind()?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
