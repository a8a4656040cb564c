//! Writes checkpoints while the run goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use super::checkpoints::{self, Moment};
use super::{RunError, write_atomic};
use crate::files;

/// A checkpoint to be written.
pub struct CheckpointFile {
    /// Folder of the run's checkpoints.
    pub(super) folder: PathBuf,
    pub(super) moment: Moment,
    /// Checkpoints that are kept, this one among them.
    pub keep: usize,
    /// Whether it is the best so far, and kept under that name too.
    pub is_best: bool,
}

impl CheckpointFile {
    /// Its name, once it is written.
    pub fn path(&self) -> PathBuf {
        self.folder.join(self.moment.file_name())
    }

    /// Writes `bytes` durably, then removes the oldest.
    fn write(&self, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.path();
        write_atomic(&path, |writer| writer.write_all(bytes))?;
        if self.is_best {
            let best = self.folder.join(checkpoints::BEST);
            files::link(&path, &best).map_err(RunError::write(&best))?;
        }
        checkpoints::prune(&self.folder, self.keep)
    }
}

/// Writes one checkpoint after the other on a thread of its own, so that the steps of all ranks go on meanwhile.
#[derive(Default)]
pub struct CheckpointWriter {
    under_way: Option<JoinHandle<Result<(), RunError>>>,
}

impl CheckpointWriter {
    /// Begins to write `file`, whose bytes `content` gives there. The one before must have been waited for.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn begin(
        &mut self,
        file: CheckpointFile,
        content: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<(), RunError> {
        let path = file.path();
        let write = move || {
            let bytes = content().map_err(RunError::write(&file.path()))?;
            file.write(&bytes)
        };
        let thread = thread::Builder::new().name("checkpoint".to_owned()).spawn(write);
        self.under_way = Some(thread.map_err(RunError::write(&path))?);
        Ok(())
    }

    /// Waits for the checkpoint under way; `None` when there is none.
    pub fn finish(&mut self) -> Option<Result<(), RunError>> {
        let thread = self.under_way.take()?;
        let panicked = || RunError::write(Path::new("checkpoints"))(io::Error::other("its thread panicked"));
        Some(thread.join().unwrap_or_else(|_| Err(panicked())))
    }
}

impl Drop for CheckpointWriter {
    /// What was begun is written, also when the run ends by an error.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.finish() {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(folder: &Path, step: u64, is_best: bool) -> CheckpointFile {
        CheckpointFile { folder: folder.to_owned(), moment: Moment { stage: 1, epoch: 1, step }, keep: 1, is_best }
    }

    #[test]
    fn the_newest_is_kept_and_the_best_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = CheckpointWriter::default();
        for (step, is_best) in [(1, true), (2, false), (3, true), (4, false)] {
            writer.begin(file(folder.path(), step, is_best), move || Ok(vec![step as u8])).unwrap();
            writer.finish().unwrap().unwrap();
        }
        assert!(writer.finish().is_none());
        assert_eq!(fs::read(folder.path().join(checkpoints::BEST)).unwrap(), [3]);
        let left = checkpoints::list(folder.path()).unwrap();
        assert_eq!(left, [file(folder.path(), 4, false).path()]);
    }

    #[test]
    fn what_cannot_be_written_is_told_and_harms_nothing_older() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = CheckpointWriter::default();
        writer.begin(file(folder.path(), 1, false), || Ok(vec![1])).unwrap();
        writer.finish().unwrap().unwrap();
        writer.begin(file(folder.path(), 2, false), || Err(io::Error::other("no bytes"))).unwrap();
        let error = writer.finish().unwrap().unwrap_err().to_string();
        assert!(error.contains("step00000002") && error.contains("no bytes"), "{error}");
        let gone = folder.path().join("gone");
        writer.begin(file(&gone, 3, false), || Ok(vec![3])).unwrap();
        assert!(writer.finish().unwrap().is_err());
        assert_eq!(checkpoints::list(folder.path()).unwrap(), [file(folder.path(), 1, false).path()]);
    }
}
