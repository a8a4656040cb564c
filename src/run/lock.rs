//! Only one process writes a run: the lock that says which.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
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
pub struct RunLock(File);

impl Drop for RunLock {
    /// By a call of its own: a process that another thread is just beginning has the open file, too.
    fn drop(&mut self) {
        // Where there are no locks there is none to leave.
        let _ = self.0.unlock();
    }
}

/// Takes the lock of `root` and notes in it who holds it.
///
/// # Errors
/// [`RunError::InUse`] or [`RunError::Write`].
pub fn lock(root: &Path) -> Result<RunLock, RunError> {
    let path = root.join(LOCK);
    let unwritable = RunError::write(&path);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let mut lock = options.open(&path).map_err(&unwritable)?;
    match lock.try_lock() {
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
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", own_note())).map_err(&unwritable)?;
    Ok(RunLock(lock))
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
