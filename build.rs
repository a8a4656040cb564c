//! Compiles the C++ shim against libtorch's headers, gives the binary an rpath to libtorch and records the commit.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

include!("src/torch/cuda/folders.rs");

const SHIM: &str = "src/torch";
/// Compute capabilities that they are compiled for; the last one's code is also kept as PTX, for later GPUs.
const ARCHITECTURES: [&str; 4] = ["80", "90", "100", "120"];
/// The oldest nvcc that knows all of them.
const OLDEST_NVCC: (u32, u32) = (12, 8);

/// The CPU kernels, each compiled once for each instruction set; which one runs is decided at run time.
const KERNELS: [&str; 4] = ["channelwise", "depthwise", "pool", "separable"];
const INSTRUCTION_SETS: [(&str, &[&str]); 3] = [
    ("baseline", &[]),
    ("avx2", &["-mavx2", "-mfma"]),
    ("avx512", &["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]),
];

fn main() {
    record_commit();
    println!("cargo:rerun-if-changed={SHIM}");
    for variable in ["PDARTS_SHIM", "PDARTS_NVCC", "PDARTS_CUDA_ARCHITECTURES", "CUDA_HOME"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    // Lints and documentation link nothing.
    if std::env::var("PDARTS_SHIM").is_ok_and(|value| value == "none") {
        return;
    }
    let Some(library_dir) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo:warning=torch-sys did not report where libtorch is: run `make setup` or set LIBTORCH");
        std::process::exit(1);
    };
    // `make setup` gives libtorch's folder through a link; the rpath names the real one.
    let library_dir = library_dir.canonicalize().unwrap_or(library_dir);
    // An nvcc that is installed later is noticed: libtorch for the CPU has this folder too.
    println!("cargo:rerun-if-changed={}", library_dir.join("../../nvidia/cu13").display());
    let nvcc = Nvcc::find(&library_dir);
    let compilation = Compilation::new(&library_dir, nvcc.as_ref());
    compile_shim(&compilation, &library_dir, nvcc.as_ref());
    compile_kernels(&compilation);
    if let Some(nvcc) = &nvcc {
        compile_gpu_kernels(&compilation, nvcc);
    }
    compilation.finish();
    if sanitizer().is_some() {
        println!("cargo:rustc-link-arg=-lasan");
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library_dir.display());
    // Where the wheels put NCCL, which is loaded when ranks on GPUs need it.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library_dir.join("../../nvidia/nccl/lib").display());
}

/// Compiles only what differs from the last time: cargo runs this script at every commit, to record it.
struct Compilation {
    stamp: PathBuf,
    inputs: String,
    is_current: bool,
}

impl Compilation {
    fn new(library_dir: &Path, nvcc: Option<&Nvcc>) -> Self {
        let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
        let stamp = out.join("inputs");
        let mut hasher = DefaultHasher::new();
        library_dir.hash(&mut hasher);
        sanitizer().hash(&mut hasher);
        nvcc.hash(&mut hasher);
        let sources = [SHIM, file!()].into_iter().try_for_each(|path| hash_files(Path::new(path), &mut hasher));
        // What cannot be read is compiled, and the compiler says why it cannot.
        let inputs = sources.map_or_else(|_| String::new(), |()| format!("{:x}", hasher.finish()));
        let is_current = !inputs.is_empty() && fs::read_to_string(&stamp).is_ok_and(|found| found == inputs);
        Self { stamp, inputs, is_current }
    }

    fn compile(&self, build: &mut cc::Build, library: &str) {
        if self.is_current {
            let out = self.out().display();
            println!("cargo:rustc-link-lib=static={library}\ncargo:rustc-link-search=native={out}");
            println!("cargo:rustc-link-lib=stdc++");
        } else {
            build.compile(library);
        }
    }

    fn out(&self) -> &Path {
        self.stamp.parent().unwrap_or(Path::new("."))
    }

    fn finish(self) {
        // Without the note, the next run compiles again.
        let _ = fs::write(&self.stamp, &self.inputs);
    }
}

/// Names and contents of a file, or of all files below a folder.
fn hash_files(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    if !path.is_dir() {
        path.hash(hasher);
        fs::read(path)?.hash(hasher);
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| hash_files(entry, hasher))
}

fn compile_shim(compilation: &Compilation, library_dir: &Path, nvcc: Option<&Nvcc>) {
    let include = library_dir.join("../include");
    let mut compiler = compiler();
    if let Some(nvcc) = nvcc {
        compiler.define("PDARTS_HAS_CUDA_KERNELS", None).include(&nvcc.include);
    }
    compiler
        // `at::parallel_for` runs serially without it.
        .flag("-fopenmp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files(
            ["shim", "autocast", "checkpoint", "kernel_choice", "layout", "profile", "side_stream"]
                .map(|name| format!("{SHIM}/{name}.cpp")),
        )
        .files(["cuda/backend", "graph/graph"].map(|name| format!("{SHIM}/{name}.cpp")))
        .files(["normalise", "reduction"].map(|part| format!("{SHIM}/sync_batch_norm/{part}.cpp")))
        .files(
            ["branch_sum", "depthwise", "dropout", "mix", "pool", "separable", "windows"]
                .map(|part| format!("{SHIM}/{part}/operation.cpp")),
        );
    compilation.compile(&mut compiler, "pdarts_shim");
    // libtorch's own OpenMP runtime where it ships one: two would mean two pools of threads.
    let shipped = library_dir.join("libgomp.so.1");
    let openmp = if shipped.exists() { shipped.display().to_string() } else { "-lgomp".into() };
    println!("cargo:rustc-link-arg={openmp}");
}

fn compile_kernels(compilation: &Compilation) {
    let is_x86_64 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|architecture| architecture == "x86_64");
    for (name, flags) in INSTRUCTION_SETS.iter().filter(|(name, _)| is_x86_64 || *name == "baseline") {
        let mut compiler = compiler();
        for flag in *flags {
            compiler.flag(flag);
        }
        compiler.flag("-ffp-contract=fast").files(KERNELS.map(|kernel| format!("{SHIM}/{kernel}/{name}.cpp")));
        compilation.compile(&mut compiler, &format!("pdarts_kernels_{name}"));
    }
}

/// CUDA's compiler with the parts of CUDA that go with it.
#[derive(Hash)]
struct Nvcc {
    program: PathBuf,
    version: (u32, u32),
    include: PathBuf,
    /// The runtime library, which is linked.
    runtime: PathBuf,
    architectures: Vec<String>,
}

impl Nvcc {
    /// The one that `PDARTS_NVCC` names ("none": none), the one beside libtorch, or the machine's own if it is not too old.
    /// Without one the program has no GPU kernels, and libtorch's operations take their place.
    fn find(library_dir: &Path) -> Option<Self> {
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

fn compile_gpu_kernels(compilation: &Compilation, nvcc: &Nvcc) {
    let place =
        |name: &&str| (PathBuf::from(format!("{SHIM}/{name}/cuda.cu")), compilation.out().join(format!("{name}.o")));
    let places: Vec<_> = GPU_KERNELS.iter().map(place).collect();
    let compile = |places: &[(PathBuf, PathBuf)]| {
        for (source, object) in places {
            let mut command = Command::new(&nvcc.program);
            // The architectures beside each other, on all cores.
            command
                .args(["-std=c++20", "-O3", "--threads", "0", "-Xcompiler", "-fPIC", "-c"])
                .args(nvcc.code_options());
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
    compilation.compile(&mut library, "pdarts_gpu_kernels");
    println!("cargo:rustc-link-arg={}", nvcc.runtime.display());
    let folder = nvcc.runtime.parent().unwrap_or(Path::new("/"));
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
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

fn compiler() -> cc::Build {
    let mut compiler = cc::Build::new();
    compiler.cpp(true).std("c++20").opt_level(3).debug(false).warnings(false);
    if let Some(sanitizer) = sanitizer() {
        // Optimised less: with its checks everywhere, the compiler would take minutes a file.
        compiler.flag(sanitizer).flag("-fno-omit-frame-pointer").opt_level(1).flag("-g1");
    }
    compiler
}

/// AddressSanitizer's option with the feature `address-sanitizer`: the shim and its kernels check their memory accesses.
fn sanitizer() -> Option<&'static str> {
    std::env::var_os("CARGO_FEATURE_ADDRESS_SANITIZER").map(|_| "-fsanitize=address")
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
