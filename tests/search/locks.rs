//! A run directory on a file system without locks: `flock` fails as it does on NFS without its lock service.

use std::path::PathBuf;
use std::process::Command;

use crate::program::{Folder, json, texts};

const NO_LOCKS: &str = r#"
#include <errno.h>
#include <stdlib.h>
int flock(int descriptor, int operation) { errno = atoi(getenv("FLOCK_ERROR")); return -1; }
"#;

/// Compiled in `folder`, for LD_PRELOAD.
fn library(folder: &Folder) -> PathBuf {
    let [source, library] = ["locks.c", "locks.so"].map(|name| folder.path(name));
    std::fs::write(&source, NO_LOCKS).unwrap();
    let output = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    library
}

#[test]
fn run_without_locks_is_warned_of_once_and_goes_on() {
    for code in [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP] {
        let folder = Folder::new();
        let mut search =
            folder.command(&["search", "--config", "search.toml", "--out", "run", "--set", "search.epochs=1"]);
        search.env("LD_PRELOAD", library(&folder)).env("FLOCK_ERROR", code.to_string()).env("RUST_LOG", "warn");
        let output = search.output().unwrap();
        let (_, stderr) = texts(&output);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("cannot lock run") && stderr.contains("no other process"), "{stderr}");
        assert_eq!(json(&folder.path("run/summary.json"))["status"], "complete");
    }
}

#[test]
fn lock_that_fails_otherwise_is_an_error() {
    let folder = Folder::new();
    let mut search = folder.command(&["search", "--config", "search.toml", "--out", "run"]);
    search.env("LD_PRELOAD", library(&folder)).env("FLOCK_ERROR", libc::EIO.to_string()).env("RUST_LOG", "warn");
    let output = search.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(folder.error_line(&texts(&output).1).contains("run/.lock"));
}
