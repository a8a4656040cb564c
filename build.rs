//! Compiles the C++ shim against libtorch's headers, gives the binary an rpath to libtorch and records the commit.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/torch/shim.cpp");
    println!("cargo:rerun-if-changed=src/torch/shim.h");
    let Some(library_dir) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo:warning=torch-sys did not report where libtorch is: run `make setup` or set LIBTORCH");
        std::process::exit(1);
    };
    // `make setup` gives libtorch's folder through a link; the rpath names the real one.
    let library_dir = library_dir.canonicalize().unwrap_or(library_dir);
    compile_shim(&library_dir);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library_dir.display());
    record_commit();
}

fn compile_shim(library_dir: &Path) {
    let include = library_dir.join("../include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(3)
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/torch/shim.cpp")
        .compile("pdarts_shim");
}

/// Sets `PDARTS_COMMIT` for the crate: the commit's short hash, with `-dirty` when tracked files differ.
fn record_commit() {
    for path in [".git/HEAD", ".git/index"] {
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    if let Ok(output) = described
        && output.status.success()
    {
        println!("cargo:rustc-env=PDARTS_COMMIT={}", String::from_utf8_lossy(&output.stdout).trim());
    }
}
