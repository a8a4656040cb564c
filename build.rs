//! Compiles the C++ shim against libtorch's headers, gives the binary an rpath to libtorch and records the commit.

use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM: &str = "src/torch";

/// The CPU kernels, each compiled once for each instruction set; which one runs is decided at run time.
const KERNELS: [&str; 2] = ["depthwise", "mix"];
const INSTRUCTION_SETS: [(&str, &[&str]); 3] = [
    ("baseline", &[]),
    ("avx2", &["-mavx2", "-mfma"]),
    ("avx512", &["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]),
];

fn main() {
    println!("cargo:rerun-if-changed={SHIM}");
    let Some(library_dir) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo:warning=torch-sys did not report where libtorch is: run `make setup` or set LIBTORCH");
        std::process::exit(1);
    };
    // `make setup` gives libtorch's folder through a link; the rpath names the real one.
    let library_dir = library_dir.canonicalize().unwrap_or(library_dir);
    compile_shim(&library_dir);
    compile_kernels();
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library_dir.display());
    record_commit();
}

fn compile_shim(library_dir: &Path) {
    let include = library_dir.join("../include");
    compiler()
        // `at::parallel_for` runs serially without it.
        .flag("-fopenmp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file(format!("{SHIM}/shim.cpp"))
        .files(KERNELS.map(|kernel| format!("{SHIM}/{kernel}/operation.cpp")))
        .compile("pdarts_shim");
    // libtorch's own OpenMP runtime where it ships one: two would mean two pools of threads.
    let shipped = library_dir.join("libgomp.so.1");
    let openmp = if shipped.exists() { shipped.display().to_string() } else { "-lgomp".into() };
    println!("cargo:rustc-link-arg={openmp}");
}

fn compile_kernels() {
    let is_x86_64 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|architecture| architecture == "x86_64");
    for (name, flags) in INSTRUCTION_SETS.iter().filter(|(name, _)| is_x86_64 || *name == "baseline") {
        let mut compiler = compiler();
        for flag in *flags {
            compiler.flag(flag);
        }
        compiler
            .flag("-ffp-contract=fast")
            .files(KERNELS.map(|kernel| format!("{SHIM}/{kernel}/{name}.cpp")))
            .compile(&format!("pdarts_kernels_{name}"));
    }
}

fn compiler() -> cc::Build {
    let mut compiler = cc::Build::new();
    compiler.cpp(true).std("c++20").opt_level(3).warnings(false);
    compiler
}

/// Sets `PDARTS_COMMIT` for the crate: the commit's short hash, with `-dirty` when tracked files differ.
fn record_commit() {
    for path in [".git/HEAD", ".git/logs/HEAD"] {
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
