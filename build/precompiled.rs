//! Libtorch's headers in the form that the compiler reads fastest: they are most of the time that a file of the shim takes.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A header that was compiled by itself; dropping it removes the compiled form, which GCC writes half a gigabyte of.
pub struct Precompiled(PathBuf);

impl Precompiled {
    /// Makes `build` read `header` before each of its files, which include what they use: it is a matter of speed alone.
    ///
    /// None where it cannot be had (an old compiler, a full disk), or with a cache, which keeps no file that reads one.
    pub fn new(build: &mut cc::Build, header: &str, folder: &Path) -> Option<Self> {
        let mut command = build.try_get_compiler().ok()?.to_command();
        if is_cache(Path::new(command.get_program())) {
            return None;
        }
        // What is read where the compiler finds its compiled form unfit.
        let front = folder.join("precompiled.h");
        fs::write(&front, format!("#include \"{}\"\n", fs::canonicalize(header).ok()?.display())).ok()?;
        let precompiled = Self(folder.join("precompiled.h.gch"));
        let output = command.args(["-x", "c++-header"]).arg(&front).arg("-o").arg(&precompiled.0).output().ok()?;
        output.status.success().then(|| {
            build.flag("-include").flag(front);
            precompiled
        })
    }
}

impl Drop for Precompiled {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether the command is that of a cache, also where a link of the compiler's name leads to it.
fn is_cache(program: &Path) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).find_map(|folder| folder.join(program).canonicalize().ok());
    found.is_some_and(|path| ["ccache", "sccache"].iter().any(|name| path.ends_with(name)))
}
