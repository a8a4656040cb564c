//! The GPU kernels as a library for the CPU, compiled once for all test programs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

const SOURCES: &str = "src/torch";
const EMULATION: &str = "tests/emulation/cuda.h";
include!("../../src/torch/cuda/folders.rs");

/// Compiles it, unless that was done of the same sources.
///
/// # Panics
/// When it cannot be compiled.
pub fn library() -> PathBuf {
    env::set_current_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut hasher = DefaultHasher::new();
    hash_files(Path::new(SOURCES), &mut hasher);
    hash_files(Path::new(EMULATION), &mut hasher);
    // How they are compiled.
    hash_files(Path::new("tests/tensors/emulation.rs"), &mut hasher);
    env::var_os("CXX").hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join(format!("libgpu-emulation-{:x}.so", hasher.finish()));
    if library.exists() {
        return library;
    }
    let work = folder.join(format!("gpu-emulation-{}", process::id()));
    fs::create_dir_all(&work).unwrap();
    let object = |kernel: &str| work.join(format!("{kernel}.o"));
    let compile = |kernel: &str| {
        let source = format!("{SOURCES}/{kernel}/cuda.cu");
        must_succeed(compiler().args(["-x", "c++", "-c", &source]).arg("-o").arg(object(kernel)));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| compile(GPU_KERNELS[0]));
        GPU_KERNELS[1..].iter().for_each(|kernel| compile(kernel));
    });
    let linked = work.join("emulation.so");
    let tables = format!("{SOURCES}/cuda/tables.cpp");
    must_succeed(compiler().args(["-shared", &tables]).args(GPU_KERNELS.map(object)).arg("-o").arg(&linked));
    fs::rename(linked, &library).unwrap();
    fs::remove_dir_all(work).unwrap();
    library
}

fn compiler() -> Command {
    let stated = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut words = stated.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("c++"));
    command.args(words).args(["-std=c++20", "-O2", "-fPIC", "-include", EMULATION]);
    command
}

fn must_succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Names and contents of a file, or of all files below a folder.
fn hash_files(path: &Path, hasher: &mut DefaultHasher) {
    path.hash(hasher);
    if !path.is_dir() {
        return fs::read(path).unwrap().hash(hasher);
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.iter().for_each(|entry| hash_files(entry, hasher));
}
