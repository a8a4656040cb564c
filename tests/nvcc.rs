//! CUDA's compiler takes the GPU kernels' sources, and the C++ compiler what calls them: a program that is built on a machine
//! without a GPU leaves both out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

include!("../src/torch/cuda/folders.rs");

/// The folder of CUDA that `make test-setup` installs.
fn cuda() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nvcc/lib");
    let folders =
        std::fs::read_dir(&lib).unwrap_or_else(|error| panic!("{}: {error}: run make test-setup", lib.display()));
    let homes = folders.map(|python| python.unwrap().path().join("site-packages/nvidia/cu13"));
    homes.into_iter().find(|home| home.join("bin/nvcc").exists()).expect("nvcc under .tools/nvcc: run make test-setup")
}

fn must_succeed(command: &mut Command) {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nvcc_compiles_every_kernel() {
    let (nvcc, folder) = (cuda().join("bin/nvcc"), tempfile::tempdir().unwrap());
    let compile = |name: &str| {
        // As much as takes no optimiser: the code itself is tried in the emulation.
        must_succeed(
            Command::new(&nvcc)
                .args(["-std=c++20", "-Xcicc", "-O0", "-Xptxas", "-O0", "-gencode=arch=compute_90,code=sm_90", "-c"])
                .arg(format!("src/torch/{name}/cuda.cu"))
                .arg("-o")
                .arg(folder.path().join(format!("{name}.o"))),
        );
    };
    std::thread::scope(|scope| {
        let (first, others) = GPU_KERNELS.split_first().unwrap();
        scope.spawn(|| compile(first));
        others.iter().for_each(|name| compile(name));
    });
}

#[test]
fn what_calls_them_compiles_with_cuda_headers() {
    let libtorch = std::env::var_os("LIBTORCH").map_or_else(|| PathBuf::from(".venv/libtorch"), PathBuf::from);
    let include = libtorch.join("include");
    let of = |folder: &Path| [OsStr::new("-I").to_owned(), folder.as_os_str().to_owned()];
    must_succeed(
        Command::new("c++")
            .args(["-std=c++20", "-fsyntax-only", "-DPDARTS_HAS_CUDA_KERNELS"])
            .args(of(&include))
            .args(of(&include.join("torch/csrc/api/include")))
            .args(of(&cuda().join("include")))
            .arg("src/torch/unit.cpp"),
    );
}
