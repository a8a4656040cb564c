//! Which library is taken, and which is refused.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use pdarts::config::CommunicatorChoice;
use pdarts::world::{CommunicatorOptions, NcclCommunicator, NcclLibrary, nccl_library};
use tch::Device;
use tempfile::TempDir;

use crate::double::{as_rank, before_all, library_path, meet_with};
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

/// A folder in which NVIDIA's library is found, if the set-up has installed it or the complete PyTorch that benchmarks
/// compare with.
fn real_library() -> Option<TempDir> {
    let libtorch = Path::new(env!("LIBTORCH")).canonicalize().unwrap();
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-peer/libtorch").canonicalize();
    let libraries = [Some(libtorch), peer.ok()].into_iter().flatten();
    let library = libraries.map(|torch| torch.with_file_name("nvidia/nccl/lib/libnccl.so.2")).find(|it| it.exists());
    let Some(library) = library else {
        println!("SKIPPED: no nvidia-nccl-cu13 here; `make setup GPU=1` installs it");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    symlink(library, folder.path().join("libnccl.so")).unwrap();
    Some(folder)
}

#[test]
fn real_library_is_loaded_and_makes_ids_without_a_gpu() {
    let Some(folder) = real_library() else { return };
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

/// Claims a GPU where there is none.
#[test]
fn rank_of_a_missing_gpu() {
    as_rank("library::rank_of_a_missing_gpu", |ranks| {
        let options = CommunicatorOptions::from(CommunicatorChoice::Nccl);
        NcclCommunicator::join(&ranks, Device::Cuda(0), &options)?;
        Ok(())
    });
}

#[test]
fn ranks_on_gpus_refuse_the_double_and_a_missing_driver() {
    if Path::new("/proc/driver/nvidia/version").exists() {
        println!("SKIPPED: this machine has an NVIDIA driver");
        return;
    }
    let told = |path: &str| {
        let meeting = meet_with(path, "library::rank_of_a_missing_gpu", 2, None);
        meeting.assert_success();
        let told = meeting.told();
        assert_eq!((told.len(), &told[0]), (2, &told[1]));
        told[0].clone()
    };
    let refused = |reason: &str| format!("parallel.communicator = \"nccl\" cannot be used: {reason}");
    let double = "libnccl.so is the tests' double, which works on host memory: remove it from LD_LIBRARY_PATH";
    assert_eq!(told(&library_path()), refused(double));
    let Some(folder) = real_library() else { return };
    assert_eq!(told(&before_all(folder.path())), refused("the NVIDIA driver's libcuda.so is not found"));
}
