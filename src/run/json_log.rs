//! Append-only files of one JSON object per line: `metrics.jsonl` and `environment.jsonl`.
//!
//! A checkpoint records how long the metrics were when it was written; a resumed run cuts them back
//! to that length, so that the steps it repeats are not logged twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::RunError;

/// An open log, positioned at its end, which is always the end of a line.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl JsonLog {
    /// Opens the log at `path` for appending, and creates it where there is none.
    ///
    /// A last line without its end, which a killed process may leave, is cut off.
    ///
    /// # Errors
    /// [`RunError::Read`] or [`RunError::Write`].
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let mut log = Self::open_as_found(path)?;
        let whole_lines = log.end_of_last_line().map_err(RunError::read(path))?;
        log.cut(whole_lines)?;
        Ok(log)
    }

    /// Opens the log as it was when [`position`](Self::position) returned `position`: cuts off all that came later.
    ///
    /// # Errors
    /// [`RunError::LogMissing`], [`RunError::LogTooShort`] or [`RunError::LogChanged`] when the file is not a continuation of what
    /// it was then; [`RunError::Read`] or [`RunError::Write`].
    pub fn open_at(path: &Path, position: u64) -> Result<Self, RunError> {
        if position > 0 && !path.exists() {
            return Err(RunError::LogMissing { path: path.to_owned(), expected_bytes: position });
        }
        let mut log = Self::open_as_found(path)?;
        if log.bytes < position {
            return Err(RunError::LogTooShort {
                path: path.to_owned(),
                expected_bytes: position,
                found_bytes: log.bytes,
            });
        }
        if !log.line_ends_at(position).map_err(RunError::read(path))? {
            return Err(RunError::LogChanged { path: path.to_owned(), position });
        }
        log.cut(position)?;
        Ok(log)
    }

    /// Appends `entry` as one line, which other processes see at once.
    ///
    /// A number that is not finite becomes `null`, as JSON has no other word for it.
    ///
    /// # Errors
    /// [`RunError::Write`]; the log then ends with the last line that was written whole.
    pub fn append(&mut self, entry: &impl Serialize) -> Result<(), RunError> {
        let line = line(entry).map_err(RunError::write(&self.path))?;
        if let Err(cause) = self.file.write_all(&line) {
            // Best effort: `open` repairs what stays.
            let _ = self.file.set_len(self.bytes);
            return Err(RunError::Write { path: self.path.clone(), cause });
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// The length in bytes, for a checkpoint to record; all lines up to it are durable.
    ///
    /// # Errors
    /// [`RunError::Write`] when they cannot be made so.
    pub fn position(&self) -> Result<u64, RunError> {
        self.file.sync_data().map_err(RunError::write(&self.path))?;
        Ok(self.bytes)
    }

    fn open_as_found(path: &Path) -> Result<Self, RunError> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(RunError::write(path))?;
        let bytes = file.metadata().map_err(RunError::read(path))?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    fn cut(&mut self, bytes: u64) -> Result<(), RunError> {
        if bytes < self.bytes {
            self.file.set_len(bytes).map_err(RunError::write(&self.path))?;
            self.bytes = bytes;
        }
        Ok(())
    }

    fn end_of_last_line(&mut self) -> io::Result<u64> {
        let mut content = Vec::new();
        self.file.rewind()?;
        Read::by_ref(&mut self.file).take(self.bytes).read_to_end(&mut content)?;
        let last_newline = content.iter().rposition(|&byte| byte == b'\n');
        Ok(last_newline.map_or(0, |index| index as u64 + 1))
    }

    fn line_ends_at(&mut self, position: u64) -> io::Result<bool> {
        let Some(last) = position.checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        self.file.seek(SeekFrom::Start(last))?;
        self.file.read_exact(&mut byte)?;
        Ok(byte == *b"\n")
    }
}

fn line(entry: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::small_disk::SmallDisk;
    use super::*;

    #[test]
    fn entries_are_visible_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut log = JsonLog::open(&path).unwrap();
        log.append(&json!({"step": 1, "loss": 2.25})).unwrap();
        log.append(&json!({"step": 2, "loss": f64::NAN})).unwrap();
        let expected = "{\"step\":1,\"loss\":2.25}\n{\"step\":2,\"loss\":null}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(log.position().unwrap(), expected.len() as u64);
    }

    #[test]
    fn opening_cuts_a_torn_last_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        for (found, kept) in [("{\"a\":1}\n{\"a\":", "{\"a\":1}\n"), ("{\"a\"", ""), ("{}\n", "{}\n")] {
            fs::write(&path, found).unwrap();
            JsonLog::open(&path).unwrap().append(&json!({"b": 2})).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{kept}{{\"b\":2}}\n"));
        }
    }

    #[test]
    fn resumed_log_repeats_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut log = JsonLog::open(&path).unwrap();
        log.append(&json!({"step": 1})).unwrap();
        let position = log.position().unwrap();
        log.append(&json!({"step": 2})).unwrap();
        let uninterrupted = fs::read(&path).unwrap();

        let mut resumed = JsonLog::open_at(&path, position).unwrap();
        assert_eq!(resumed.position().unwrap(), position);
        resumed.append(&json!({"step": 2})).unwrap();
        assert_eq!(fs::read(&path).unwrap(), uninterrupted);

        JsonLog::open_at(&path, 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn resuming_refuses_a_log_that_was_shortened_or_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        fs::write(&path, "{\"a\":1}\n").unwrap();
        let short = JsonLog::open_at(&path, 100).unwrap_err();
        assert!(matches!(short, RunError::LogTooShort { expected_bytes: 100, found_bytes: 8, .. }), "{short}");
        let changed = JsonLog::open_at(&path, 5).unwrap_err();
        assert!(matches!(changed, RunError::LogChanged { position: 5, .. }), "{changed}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n");
    }

    #[test]
    fn full_device_is_one_clear_line() {
        let mut log = JsonLog::open(Path::new("/dev/full")).unwrap();
        let message = log.append(&json!({"step": 1})).unwrap_err().to_string();
        assert!(message.contains("/dev/full") && message.contains("No space left"), "{message}");
        assert!(message.contains("free some space") && message.lines().count() == 1, "{message}");
    }

    #[test]
    fn full_disk_leaves_whole_lines_and_takes_more_once_there_is_space() {
        let Some(disk) = SmallDisk::mount() else { return };
        let path = disk.path().join("metrics.jsonl");
        let filler = disk.path().join("filler");
        fs::write(&filler, vec![0; 32 << 10]).unwrap();
        let mut log = JsonLog::open(&path).unwrap();
        let entry = json!({"text": "x".repeat(1000)});
        let error = loop {
            if let Err(error) = log.append(&entry) {
                break error;
            }
        };
        assert!(error.to_string().contains("No space left"), "{error}");
        fs::remove_file(&filler).unwrap();
        log.append(&entry).unwrap();
        let content = fs::read_to_string(&path).unwrap();
        assert!(content.lines().count() > 10);
        for line in content.lines() {
            assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), entry);
        }
    }
}
