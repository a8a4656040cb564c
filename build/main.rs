//! Compiles the C++ shim against libtorch's headers, gives the binary an rpath to libtorch and records the commit.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

mod nvcc;

use nvcc::Nvcc;

const SHIM: &str = "src/torch";

/// The CPU kernels, each compiled once for each instruction set; which one runs is decided at run time.
const KERNELS: [&str; 4] = ["depthwise", "pool", "separable", "channelwise"];
type InstructionSet = (&'static str, &'static [&'static str]);
const INSTRUCTION_SETS: [InstructionSet; 3] = [
    ("baseline", &[]),
    ("avx2", &["-mavx2", "-mfma"]),
    ("avx512", &["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]),
];

fn main() -> Result<(), cc::Error> {
    record_commit();
    println!("cargo:rerun-if-changed={SHIM}");
    for variable in ["PDARTS_SHIM", "PDARTS_NVCC", "PDARTS_CUDA_ARCHITECTURES", "CUDA_HOME"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    // Lints and documentation link nothing.
    if std::env::var("PDARTS_SHIM").is_ok_and(|value| value == "none") {
        return Ok(());
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
    // The kernels beside the one file of all others, which takes as long.
    std::thread::scope(|scope| {
        let kernels = instruction_sets().map(|set| scope.spawn(|| compile_kernels(&compilation, set)));
        let kernels: Vec<_> = kernels.collect();
        compile_shim(&compilation, &library_dir, nvcc.as_ref())?;
        kernels.into_iter().try_for_each(|set| set.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    if let Some(nvcc) = &nvcc {
        nvcc.compile_kernels(&compilation)?;
    }
    compilation.finish();
    if sanitizer().is_some() {
        println!("cargo:rustc-link-arg=-lasan");
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library_dir.display());
    // Where the wheels put NCCL, which is loaded when ranks on GPUs need it.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library_dir.join("../../nvidia/nccl/lib").display());
    Ok(())
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
        let sources = [SHIM, "build"].into_iter().try_for_each(|path| hash_files(Path::new(path), &mut hasher));
        // What cannot be read is compiled, and the compiler says why it cannot.
        let inputs = sources.map_or_else(|_| String::new(), |()| format!("{:x}", hasher.finish()));
        let is_current = !inputs.is_empty() && fs::read_to_string(&stamp).is_ok_and(|found| found == inputs);
        Self { stamp, inputs, is_current }
    }

    fn compile(&self, build: &mut cc::Build, library: &str) -> Result<(), cc::Error> {
        if !self.is_current {
            return build.try_compile(library);
        }
        let out = self.out().display();
        println!("cargo:rustc-link-lib=static={library}\ncargo:rustc-link-search=native={out}");
        println!("cargo:rustc-link-lib=stdc++");
        Ok(())
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

fn compile_shim(compilation: &Compilation, library_dir: &Path, nvcc: Option<&Nvcc>) -> Result<(), cc::Error> {
    let include = library_dir.join("../include");
    // It makes calls, and kernels do what takes time; but where nothing is inlined, what stands around a call takes as long.
    let mut compiler = compiler();
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0") && sanitizer().is_none() {
        compiler.opt_level(1);
    }
    if let Some(nvcc) = nvcc {
        compiler.define("PDARTS_HAS_CUDA_KERNELS", None).include(&nvcc.include);
    }
    compiler
        // `at::parallel_for` runs serially without it.
        .flag("-fopenmp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file(format!("{SHIM}/unit.cpp"));
    compilation.compile(&mut compiler, "pdarts_shim")?;
    // libtorch's own OpenMP runtime where it ships one: two would mean two pools of threads.
    let shipped = library_dir.join("libgomp.so.1");
    let openmp = if shipped.exists() { shipped.display().to_string() } else { "-lgomp".into() };
    println!("cargo:rustc-link-arg={openmp}");
    Ok(())
}

/// Those that the target can have.
fn instruction_sets() -> impl Iterator<Item = &'static InstructionSet> {
    let is_x86_64 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|architecture| architecture == "x86_64");
    INSTRUCTION_SETS.iter().filter(move |(name, _)| is_x86_64 || *name == "baseline")
}

fn compile_kernels(compilation: &Compilation, (name, flags): &InstructionSet) -> Result<(), cc::Error> {
    let mut compiler = compiler();
    // Under the sanitizer, the compiler would take minutes a file.
    compiler.opt_level(if sanitizer().is_some() { 1 } else { 3 });
    for flag in *flags {
        compiler.flag(flag);
    }
    compiler.flag("-ffp-contract=fast").files(KERNELS.map(|kernel| format!("{SHIM}/{kernel}/{name}.cpp")));
    compilation.compile(&mut compiler, &format!("pdarts_kernels_{name}"))
}

fn compiler() -> cc::Build {
    let mut compiler = cc::Build::new();
    compiler.cpp(true).std("c++20").debug(false).warnings(false);
    if let Some(sanitizer) = sanitizer() {
        // Checks are calls where there are many: written out, they take the compiler as long again.
        compiler.flag(sanitizer).flag("-fno-omit-frame-pointer").flag("-g1");
        compiler.flag_if_supported("--param=asan-instrumentation-with-call-threshold=100");
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
