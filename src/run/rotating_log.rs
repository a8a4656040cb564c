//! A log that cannot fill the disk, however long a run takes and however much it has to say.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that lines are appended to. Once it is full it becomes `NAME.1`, in the place of an earlier one, and a new one is
/// begun: the newest lines are kept, and both together take twice `most_bytes` at most.
#[derive(Debug)]
pub struct RotatingLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    most_bytes: u64,
}

impl RotatingLog {
    /// A run's log says a few hundred bytes an epoch; as much as this is years of it, or warnings without end.
    pub const MOST_BYTES: u64 = 32 << 20;

    /// Goes on with the file at `path`, or begins it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, most_bytes: u64) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, most_bytes })
    }

    /// Where a full file goes.
    fn earlier(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }
}

impl Write for RotatingLog {
    /// Writes a whole line, to one file.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.most_bytes {
            fs::rename(&self.path, self.earlier())?;
            *self = Self::open(&self.path, self.most_bytes)?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_the_size_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        for start in 0..2 {
            let mut log = RotatingLog::open(&path, 100).unwrap();
            for number in 0..50 {
                log.write_all(format!("{start} {number:02} 456789\n").as_bytes()).unwrap();
            }
        }
        let [earlier, newest] =
            ["log.jsonl.1", "log.jsonl"].map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
        assert!(earlier.len() <= 100 && newest.len() <= 100);
        let lines: Vec<&str> = earlier.lines().chain(newest.lines()).collect();
        let expected: Vec<String> = (50 - lines.len()..50).map(|number| format!("1 {number:02} 456789")).collect();
        assert!(lines.len() > 8 && lines == expected, "{lines:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_line_that_is_longer_than_a_file_may_be_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = RotatingLog::open(&path, 10).unwrap();
        log.write_all(&[b'a'; 30]).unwrap();
        log.write_all(&[b'b'; 30]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [b'b'; 30]);
        assert_eq!(fs::read(log.earlier()).unwrap(), [b'a'; 30]);
    }
}
