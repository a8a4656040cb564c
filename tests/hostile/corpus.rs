//! Where inputs come from, and where those that must be files lie.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A file of the tests' fixtures.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files in a folder of the repository, in the order of their names.
pub fn files_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// A folder in memory, where there is such a thing.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// `text` so often that it would fill a stack that is used for each.
pub fn deep(text: &str) -> Vec<u8> {
    text.repeat(50_000).into_bytes()
}

/// Inputs that a target once failed on: `tests/fixtures/hostile/TARGET/*`.
pub fn found(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("tests/fixtures/hostile/{target}");
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).exists() {
        return Vec::new();
    }
    files_in(&folder).into_iter().map(|path| fs::read(path).unwrap()).collect()
}
