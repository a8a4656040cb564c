//! Where a CIFAR data set lies: in a folder, in one below it, or in an archive, whatever their names.
//!
//! What was unpacked is taken if it is whole, else an archive beside it.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf, absolute};

use super::archive::{self, is_archive};
use super::{Cifar, Files, Format, Release};
use crate::data::{DataError, IMAGE_BYTES, Split};

/// The path of each file, for messages, and its content.
pub(super) type NamedBytes = Vec<(PathBuf, Vec<u8>)>;

/// Folders below the one that was named, at most.
const MAX_DEPTH: usize = 3;
/// Folders that are looked into: somebody may name a whole disk.
const MAX_FOLDERS: usize = 200;

/// The files of one split, with the packing that they are of.
pub(super) fn find<'a>(cifar: &'a Cifar, dir: &Path, split: Split) -> Result<(&'a Release, NamedBytes), DataError> {
    if dir.is_file() {
        let is_one_of = |release: &Release| {
            let names = release.train.names.iter().chain(release.test.names);
            names.into_iter().any(|name| dir.ends_with(name))
        };
        if cifar.releases.iter().any(is_one_of) && !is_archive(dir) {
            return Err(DataError::OneFile { path: dir.to_owned(), dataset: cifar.name });
        }
        return archive::read(cifar, dir, split);
    }
    let folders = folders_below(dir);
    let mut partial = None;
    for release in &cifar.releases {
        let files = release.files(split);
        for folder in folders.iter().filter(|folder| files.names.iter().any(|name| folder.join(name).is_file())) {
            match first_missing(folder, files, release.format) {
                None => return Ok((release, read_folder(folder, files.names)?)),
                Some(problem) => drop(partial.get_or_insert((release, folder, problem))),
            }
        }
    }
    let mut refusal = None;
    for archive in archives(cifar, &folders) {
        match archive::read(cifar, &archive, split) {
            Ok(found) => {
                if let Some((_, _, problem)) = &partial {
                    tracing::warn!("{problem}: using {} instead", archive.display());
                }
                return Ok(found);
            }
            Err(error) => drop(refusal.get_or_insert(error)),
        }
    }
    match (partial, refusal) {
        (_, Some(refusal)) => Err(refusal),
        // Reading it finds what is wrong.
        (Some((release, folder, _)), None) => Ok((release, read_folder(folder, release.files(split).names)?)),
        (None, None) => Err(missing(cifar, dir)),
    }
}

/// `dir` and the folders below it that can be looked into, the nearer first.
fn folders_below(dir: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut waiting = VecDeque::from([(dir.to_owned(), 0)]);
    while let Some((folder, depth)) = waiting.pop_front() {
        if depth < MAX_DEPTH && folders.len() < MAX_FOLDERS {
            let mut below: Vec<PathBuf> = entries(&folder).filter(|entry| entry.is_dir()).take(MAX_FOLDERS).collect();
            below.sort();
            waiting.extend(below.into_iter().map(|folder| (folder, depth + 1)));
        }
        folders.push(folder);
    }
    folders
}

/// What a folder holds, without what is hidden.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).map(|entry| entry.path())
}

/// The archives that may hold the set: under their published names first, then under others that tell of CIFAR.
fn archives(cifar: &Cifar, folders: &[PathBuf]) -> Vec<PathBuf> {
    let published = folders.iter().flat_map(|folder| cifar.releases.iter().map(|release| folder.join(release.archive)));
    let mut found: Vec<PathBuf> = published.filter(|archive| archive.is_file()).collect();
    let is_named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.contains("cifar") && cifar.is_meant_by(&name)
    };
    let others = folders.iter().flat_map(|folder| entries(folder)).filter(is_named);
    for other in others.filter(|path| is_archive(path)) {
        if !found.contains(&other) {
            found.push(other);
        }
    }
    found
}

/// What keeps a folder from being whole.
fn first_missing(folder: &Path, files: Files, format: Format) -> Option<String> {
    files.names.iter().find_map(|name| {
        let path = folder.join(name);
        let Ok(found) = fs::metadata(&path).map(|file| file.len()) else {
            return Some(format!("{} is not there", path.display()));
        };
        // The Python files have a little beside the images.
        let expected = files.num_records as u64
            * match format {
                Format::Binary { label_bytes } => (label_bytes + IMAGE_BYTES) as u64,
                Format::Python => IMAGE_BYTES as u64,
            };
        (found < expected).then(|| format!("{} has {found} of {expected} bytes", path.display()))
    })
}

fn read_folder(folder: &Path, names: &[&str]) -> Result<NamedBytes, DataError> {
    let read = |name: &&str| {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok((path, bytes)),
            Err(source) => Err(DataError::Read { path, source }),
        }
    };
    names.iter().map(read).collect()
}

/// Says what is there instead.
fn missing(cifar: &Cifar, dir: &Path) -> DataError {
    const SHOWN: usize = 5;
    let found = match fs::read_dir(dir) {
        Err(error) => error.to_string(),
        Ok(_) => {
            let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut names: Vec<String> = entries(dir).map(name).collect();
            names.sort();
            let more = if names.len() > SHOWN { ", ..." } else { "" };
            match names.is_empty() {
                true => "it is empty".to_owned(),
                false => format!("it holds {}{more}", names[..names.len().min(SHOWN)].join(", ")),
            }
        }
    };
    let archives = cifar.releases.map(|release| release.archive).join(" or ");
    let dir = absolute(dir).unwrap_or_else(|_| dir.to_owned());
    DataError::Missing { dataset: cifar.name, dir, found, archives }
}
