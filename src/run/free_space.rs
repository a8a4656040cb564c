//! Room on the disk for a run that is to be.

use std::path::Path;

use super::RunError;

/// Bytes that a user may still write in the folder `path`.
///
/// # Errors
/// [`RunError::Read`].
pub fn free_bytes(path: &Path) -> Result<u64, RunError> {
    let found = rustix::fs::statvfs(path).map_err(|error| RunError::read(path)(error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::small_disk::SmallDisk;

    #[test]
    fn room_is_that_of_the_file_system() {
        assert!(free_bytes(Path::new("/")).is_ok());
        assert!(free_bytes(Path::new("/none")).is_err());
        let Some(disk) = SmallDisk::mount() else { return };
        assert_eq!(free_bytes(disk.path()).unwrap(), 64 << 10);
        std::fs::write(disk.path().join("x"), vec![0; 16 << 10]).unwrap();
        assert_eq!(free_bytes(disk.path()).unwrap(), 48 << 10);
    }
}
