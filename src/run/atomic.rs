//! Files of a run that are either the old version or the new one, whatever happens in between.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::RunError;
use crate::files::replace;

/// [`replace`], with an error that says what to do.
///
/// # Errors
/// [`RunError::Write`] with the path and the cause.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), RunError> {
    replace(path, write).map_err(RunError::write(path))
}

/// [`write_atomic`] of `value` as indented JSON.
///
/// # Errors
/// [`RunError::Write`] with the path and the cause.
pub fn write_json_atomic(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    write_atomic(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::small_disk::SmallDisk;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn write_replaces_the_old_file_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary.json");
        write_atomic(&path, |writer| writer.write_all(b"old")).unwrap();
        write_json_atomic(&path, &serde_json::json!({"status": "done"})).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"status\": \"done\"\n}\n");
        assert_eq!(names(directory.path()), ["summary.json"]);
    }

    #[test]
    fn links_are_followed_and_devices_stay_devices() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("results.md"), directory.path().join("link.md"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("results.md", &link).unwrap();
        write_atomic(&link, |writer| writer.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");

        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write_atomic(&pipe, |writer| writer.write_all(b"through")).unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
    }

    #[test]
    fn failed_write_keeps_the_old_file_and_names_path_and_cause() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("genotype.json");
        fs::write(&path, "old").unwrap();
        let write = || {
            write_atomic(&path, |writer| {
                writer.write_all(b"half of the new")?;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            })
        };
        let outside = write().unwrap_err().to_string();
        assert!(outside.ends_with("free some space and call again"), "{outside}");
        fs::write(directory.path().join("config.toml"), "").unwrap();
        let message = write().unwrap_err().to_string();
        assert!(message.contains("genotype.json") && message.contains("no storage space"), "{message}");
        assert!(message.contains("free some space") && message.contains("--resume"), "{message}");
        assert_eq!(message.lines().count(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["config.toml", "genotype.json"]);
    }

    #[test]
    fn full_disk_keeps_the_old_file() {
        let Some(disk) = SmallDisk::mount() else { return };
        let path = disk.path().join("latest.safetensors");
        write_atomic(&path, |writer| writer.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |writer| writer.write_all(&vec![1; 1 << 20])).unwrap_err();
        assert!(
            matches!(&error, RunError::Write { cause, .. } if cause.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(disk.path()), ["latest.safetensors"]);
    }

    #[test]
    fn new_file_is_as_readable_as_any_other() {
        let directory = tempfile::tempdir().unwrap();
        let (atomic, plain) = (directory.path().join("atomic"), directory.path().join("plain"));
        write_atomic(&atomic, |writer| writer.write_all(b"x")).unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(atomic), mode(plain));
    }

    #[test]
    fn missing_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/summary.json");
        let message = write_atomic(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("none/summary.json"), "{message}");
    }
}
