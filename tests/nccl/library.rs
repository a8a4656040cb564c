//! Which library is taken, and which is refused.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use pdarts::world::{NcclLibrary, nccl_library};

use crate::double::{before_all, library_path};
use crate::program::texts;

const TASK: &str = "PDARTS_TEST_NCCL_LIBRARY";

/// What the next tests run in a process of its own: a process loads one library.
#[test]
fn process_that_loads_the_library() {
    if env::var_os(TASK).is_none() {
        return;
    }
    match NcclLibrary::load() {
        Ok(library) => {
            let id = library.new_id().unwrap();
            let (version, file) = nccl_library().unwrap();
            assert_eq!(version, library.version.to_string());
            println!("\nloaded {version} {} {}", library.is_test_double, id.iter().any(|&byte| byte != 0));
            println!("from {}", file.display());
        }
        Err(error) => println!("\nrefused {error}"),
    }
}

/// What a process says that finds its libraries in `path`.
fn load(path: &str, version: Option<&str>) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "library::process_that_loads_the_library", "--nocapture"]);
    command.env(TASK, "1").env("LD_LIBRARY_PATH", path).env_remove("NCCL_DOUBLE_VERSION");
    if let Some(version) = version {
        command.env("NCCL_DOUBLE_VERSION", version);
    }
    let (stdout, stderr) = texts(&command.output().unwrap());
    let line = stdout.lines().find(|line| line.starts_with("loaded ") || line.starts_with("refused "));
    line.unwrap_or_else(|| panic!("{stdout}\n{stderr}")).to_owned()
}

#[test]
fn double_is_told_from_the_real_library() {
    assert_eq!(load(&library_path(), None), "loaded 2.29.7 true true");
}

#[test]
fn old_or_foreign_version_is_refused() {
    for (code, version) in [("21602", "2.16.2"), ("30000", "3.0.0"), ("2708", "2.7.8")] {
        let line = load(&library_path(), Some(code));
        assert!(
            line.starts_with(&format!("refused libnccl.so is NCCL {version}; 2.18.0 or newer is needed")),
            "{line}"
        );
    }
}

/// NVIDIA's library, where the set-up or libtorch's wheel has put it.
fn real_library() -> Option<PathBuf> {
    let libtorch = Path::new(env!("LIBTORCH")).canonicalize().ok()?;
    let library = libtorch.parent()?.join("nvidia/nccl/lib/libnccl.so.2");
    library.exists().then_some(library)
}

#[test]
fn real_library_is_loaded_and_makes_ids_without_a_gpu() {
    let Some(library) = real_library() else {
        println!("SKIPPED: no nvidia-nccl-cu13 beside libtorch; `make setup GPU=1` installs it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    symlink(library, folder.path().join("libnccl.so")).unwrap();
    let line = load(&before_all(folder.path()), None);
    assert!(line.starts_with("loaded 2.") && line.ends_with(" false true"), "{line}");
}

#[test]
fn missing_library_is_an_error_that_says_what_to_do() {
    // The loader goes no further than to a file of this name.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("libnccl.so"), "not a library").unwrap();
    let line = load(&folder.path().display().to_string(), None);
    assert!(line.starts_with("refused libnccl.so is not found; `make setup GPU=1`"), "{line}");
}
