//! Compiles the GPU kernels, where there is CUDA's compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Compilation, SHIM, compiler, sanitizer};

include!("../src/torch/cuda/folders.rs");

/// Compute capabilities that they are compiled for; the last one's code is also kept as PTX, for later GPUs.
const ARCHITECTURES: [&str; 4] = ["80", "90", "100", "120"];
/// The oldest nvcc that knows all of them.
const OLDEST_NVCC: (u32, u32) = (12, 8);

/// CUDA's compiler with the parts of CUDA that go with it.
#[derive(Hash)]
pub struct Nvcc {
    program: PathBuf,
    version: (u32, u32),
    pub include: PathBuf,
    /// The runtime library, which is linked.
    runtime: PathBuf,
    architectures: Vec<String>,
}

impl Nvcc {
    /// The one that `PDARTS_NVCC` names ("none": none), the one beside libtorch, or the machine's own if it is not too old.
    /// Without one the program has no GPU kernels, and libtorch's operations take their place.
    pub fn find(library_dir: &Path) -> Option<Self> {
        let stated = std::env::var_os("PDARTS_NVCC").map(PathBuf::from);
        if stated.as_deref() == Some(Path::new("none")) || sanitizer().is_some() {
            return None;
        }
        let beside_libtorch = library_dir.join("../../nvidia/cu13");
        let cuda_home = std::env::var_os("CUDA_HOME").map_or_else(|| PathBuf::from("/usr/local/cuda"), PathBuf::from);
        let homes = [beside_libtorch, cuda_home];
        let program = stated.or_else(|| homes.iter().map(|home| home.join("bin/nvcc")).find(|path| path.exists()))?;
        match Self::of_program(&program, library_dir) {
            Ok(found) => Some(found),
            Err(reason) => {
                println!("cargo:warning={} {reason}: the GPU kernels are left out", program.display());
                None
            }
        }
    }

    fn of_program(program: &Path, library_dir: &Path) -> Result<Self, &'static str> {
        let program = program.canonicalize().map_err(|_| "is not there")?;
        let output = Command::new(&program).arg("--version").output().map_err(|_| "does not start")?;
        let version = nvcc_version(&String::from_utf8_lossy(&output.stdout)).ok_or("does not tell its version")?;
        if version < OLDEST_NVCC {
            return Err("is too old");
        }
        let home = program.parent().and_then(Path::parent).ok_or("has no folder of CUDA around it")?.to_path_buf();
        let libraries = [home.join("lib"), home.join("lib64"), library_dir.join("../../nvidia/cu13/lib")];
        let runtimes = ["libcudart.so.13", "libcudart.so.12"];
        let runtime = runtimes.iter().flat_map(|name| libraries.iter().map(move |library| library.join(name)));
        let architectures = std::env::var("PDARTS_CUDA_ARCHITECTURES");
        let architectures = architectures.map_or_else(
            |_| ARCHITECTURES.map(str::to_owned).to_vec(),
            |stated| stated.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
        );
        let include = home.join("include");
        let runtime =
            runtime.into_iter().find(|path| path.exists()).ok_or("has no libcudart.so.13 or .12 beside it")?;
        Ok(Self { program, version, include, runtime, architectures })
    }

    pub fn compile_kernels(&self, compilation: &Compilation) -> Result<(), cc::Error> {
        let place = |name: &&str| {
            (PathBuf::from(format!("{SHIM}/{name}/cuda.cu")), compilation.out().join(format!("{name}.o")))
        };
        let places: Vec<_> = GPU_KERNELS.iter().map(place).collect();
        let compile = |places: &[(PathBuf, PathBuf)]| {
            for (source, object) in places {
                let mut command = Command::new(&self.program);
                // The architectures beside each other, on all cores.
                command
                    .args(["-std=c++20", "-O3", "--threads", "0", "-Xcompiler", "-fPIC", "-c"])
                    .args(self.code_options());
                require_success(command.arg(source).arg("-o").arg(object));
            }
        };
        if !compilation.is_current {
            let (longest, others) = places.split_at(1);
            std::thread::scope(|scope| {
                scope.spawn(|| compile(longest));
                compile(others);
            });
        }
        let mut library = compiler();
        library.file(format!("{SHIM}/cuda/tables.cpp")).objects(places.into_iter().map(|(_, object)| object));
        compilation.compile(&mut library, "pdarts_gpu_kernels")?;
        println!("cargo:rustc-link-arg={}", self.runtime.display());
        let folder = self.runtime.parent().unwrap_or(Path::new("/"));
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
        Ok(())
    }

    fn code_options(&self) -> Vec<String> {
        let binary = |name: &String| format!("-gencode=arch=compute_{name},code=sm_{name}");
        let ptx = self.architectures.last().map(|name| format!("-gencode=arch=compute_{name},code=compute_{name}"));
        self.architectures.iter().map(binary).chain(ptx).collect()
    }
}

/// As in `Cuda compilation tools, release 13.0, V13.0.88`.
fn nvcc_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once("release ")?.1.split_once('.')?;
    Some((major.parse().ok()?, rest.split(',').next()?.trim().parse().ok()?))
}

fn require_success(command: &mut Command) {
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            println!("cargo:warning={command:?} failed; PDARTS_NVCC=none builds without GPU kernels");
            std::process::exit(1);
        }
        Err(error) => {
            println!("cargo:warning={command:?}: {error}");
            std::process::exit(1);
        }
    }
}
