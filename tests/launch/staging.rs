//! `launch/slurm/stage.sh`, which copies shards to a disk of a node.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[test]
fn shards_are_copied_once_links_to_them_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let stage = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/launch/slurm/stage.sh");
        let output = Command::new(script).args([path("from"), path("to")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let write = |file: &Path, text: &str| fs::write(file, text).unwrap();
    fs::create_dir_all(path("from")).unwrap();
    fs::create_dir_all(path("elsewhere")).unwrap();
    write(&path("from/a.tar"), "one");
    write(&path("elsewhere/b.tar"), "two");
    symlink(path("elsewhere/b.tar"), path("from/b.tar")).unwrap();
    assert!(stage().contains("copying 2 files"));
    assert!(!path("to/b.tar").is_symlink());
    assert_eq!(fs::read_to_string(path("to/b.tar")).unwrap(), "two");
    assert_eq!(stage(), "");

    write(&path("elsewhere/b.tar"), "three");
    assert!(stage().contains("copying 1 files"));
    assert_eq!(fs::read_to_string(path("to/b.tar")).unwrap(), "three");
}
