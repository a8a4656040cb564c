//! The open files of a set of shards, read by any number of threads at once.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Files kept open; systems often allow a process 1,024, and there are sets of more shards.
const MOST_OPEN: usize = 256;

/// Opens a file when it is first read from, and closes all when they are too many.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(RwLock<HashMap<usize, Arc<File>>>);

impl OpenFiles {
    /// File `number`, which is `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn get(&self, number: usize, path: &Path) -> io::Result<Arc<File>> {
        if let Some(file) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path)?);
        let mut files = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= MOST_OPEN {
            // Those in use stay open until they are read.
            files.clear();
        }
        Ok(Arc::clone(files.entry(number).or_insert(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_files_than_may_be_open_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = OpenFiles::default();
        for number in 0..3 * MOST_OPEN {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, number.to_string()).unwrap();
            let text = io::read_to_string(&*files.get(number, &path).unwrap()).unwrap();
            assert_eq!(text, number.to_string());
            assert!(files.0.read().unwrap().len() <= MOST_OPEN);
        }
    }
}
