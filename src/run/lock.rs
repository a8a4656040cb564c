//! Only one process writes a run: the lock that says which.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;

use libc::{ENOLCK, ENOSYS, EOPNOTSUPP};
use tracing::warn;

use super::RunError;
use crate::world::hostname;

/// Its file in a run.
pub(super) const LOCK: &str = ".lock";
/// Several runs of one call are on one file system.
static LOCK_WARNING: Once = Once::new();

/// Held while it lives; a killed process leaves none behind.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    /// The file that this process has made and removes again, unless it is kept.
    made: Option<PathBuf>,
}

impl RunLock {
    /// Leaves its file where it is.
    pub fn keep(&mut self) {
        self.made = None;
    }
}

impl Drop for RunLock {
    /// By a call of its own: a process that another thread is just beginning has the open file, too.
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // While nobody else can have the lock. What stays behind does no harm.
            let _ = fs::remove_file(path);
        }
        // Where there are no locks there is none to leave.
        let _ = self.file.unlock();
    }
}

/// Takes the lock of `root` and notes in it who holds it. Its file, where there was none, goes with it unless it is
/// [kept](RunLock::keep).
///
/// # Errors
/// [`RunError::InUse`] or [`RunError::Write`].
pub fn lock(root: &Path) -> Result<RunLock, RunError> {
    let path = root.join(LOCK);
    let unwritable = RunError::write(&path);
    let (mut lock, made) = open(&path).map_err(&unwritable)?;
    match lock.file.try_lock() {
        // Another process has removed the file meanwhile.
        Ok(()) if lock.file.metadata().map_err(&unwritable)?.nlink() == 0 => return self::lock(root),
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let note = fs::read_to_string(&path).map_err(RunError::read(&path))?;
            let holder = if note.is_empty() { "another process" } else { note.trim() };
            return Err(RunError::InUse { root: root.to_owned(), holder: holder.to_owned() });
        }
        // Some cluster file systems are mounted without locks, or have no service for them.
        Err(TryLockError::Error(cause)) if matches!(cause.raw_os_error(), Some(ENOLCK | ENOSYS | EOPNOTSUPP)) => {
            LOCK_WARNING.call_once(|| {
                warn!("cannot lock {}: {cause}; make sure that no other process writes this run", root.display())
            });
        }
        Err(TryLockError::Error(cause)) => return Err(unwritable(cause)),
    }
    lock.made = made.then(|| path.clone());
    lock.file.set_len(0).and_then(|()| writeln!(lock.file, "{}", own_note())).map_err(&unwritable)?;
    Ok(lock)
}

/// The file `path` before it is locked, and whether it was made here.
fn open(path: &Path) -> io::Result<(RunLock, bool)> {
    let of = |file| RunLock { file, made: None };
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => Ok((of(file), true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Made all the same where it has just gone.
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            Ok((of(file), false))
        }
        Err(error) => Err(error),
    }
}

/// The other process that writes the run in `root` now, as in `process 12 on node3`.
pub fn writer_of(root: &Path) -> Option<String> {
    let path = root.join(LOCK);
    match File::open(&path).ok()?.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        _ => return None,
    }
    let note = fs::read_to_string(&path).ok()?;
    (note.trim() != own_note()).then(|| note.trim().to_owned())
}

fn own_note() -> String {
    format!("process {} on {}", process::id(), hostname())
}
