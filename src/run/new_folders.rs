//! What a start makes before it begins, and which goes again if it does not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that this process has made, and files in them; dropped, it removes the files, then the folders that are empty, unless
/// they are kept.
#[derive(Debug, Default)]
#[must_use = "what was made is removed at once"]
pub struct NewFolders {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl NewFolders {
    /// Makes the folder `path`, where there is none, and those above it.
    pub(super) fn make(&mut self, path: &Path) -> io::Result<()> {
        let missing = path.ancestors().take_while(|folder| *folder != Path::new("") && !folder.exists());
        let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        // Before they are there, since some may be when another cannot be made.
        self.folders.extend(missing.into_iter().rev());
        fs::create_dir_all(path)
    }

    /// Removes `file`, too, which was not there and is written now.
    pub fn add_file(&mut self, file: PathBuf) {
        self.files.push(file);
    }

    /// Leaves them where they are.
    pub fn keep(&mut self) {
        self.folders.clear();
        self.files.clear();
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        for file in &self.files {
            // What could not be written is not there.
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.iter().rev() {
            // One that is not empty is somebody's.
            let _ = fs::remove_dir(folder);
        }
    }
}
