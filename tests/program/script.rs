//! Programs that a test writes.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a program that can be run at once.
///
/// A process that another thread is just beginning has what is open here until it becomes its own program, and a file that
/// somebody may write to cannot be run ("text file busy"). Both have one lock, which goes when both have closed the file.
pub fn write_script(path: &Path, text: &str) {
    let mut file = File::create(path).unwrap();
    file.lock().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(Permissions::from_mode(0o755)).unwrap();
    drop(file);
    File::open(path).unwrap().lock().unwrap();
}
