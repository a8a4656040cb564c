//! For tests: a file system of 64 KiB that is soon full.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A mounted tmpfs, unmounted on drop.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, with a line that says so, where this process may not mount.
    pub fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(directory.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr);
                println!("SKIPPED: a full disk needs the right to mount a tmpfs: {}", reason.trim());
                None
            }
            Err(error) => {
                println!("SKIPPED: a full disk needs `mount`: {error}");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
