//! Finds the MPI library, asks its header which family it is of, and compiles `rsmpi.c` against it.

use std::path::Path;

use build_probe_mpi::Library;

const SHIM: &str = "src/rsmpi.c";
const FAMILY: &str = "src/family.c";

fn main() {
    println!("cargo::rerun-if-changed={SHIM}\ncargo::rerun-if-changed={FAMILY}");
    for name in ["MPICC", "MPI_PKG_CONFIG", "CRAY_MPICH_DIR"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rustc-check-cfg=cfg(open_mpi)");
    if let Err(reason) = build() {
        println!("cargo::error={reason}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let library = build_probe_mpi::probe().map_err(|reasons| {
        let reasons: Vec<String> = reasons.iter().map(|reason| reason.to_string().replace('\n', " ")).collect();
        format!("no MPI library was found: {}", reasons.join("; "))
    })?;
    let header = compiler(&library).file(FAMILY).try_expand();
    let header = header.map_err(|error| format!("MPI's header mpi.h cannot be used: {error}").replace('\n', " "))?;
    let header = String::from_utf8_lossy(&header);
    match header.lines().rev().find_map(|line| line.trim().strip_prefix("FAMILY ")) {
        Some("\"Open MPI\"") => println!("cargo::rustc-cfg=open_mpi"),
        Some("\"MPICH\"") => {}
        _ => return Err("the MPI library is neither Open MPI nor MPICH nor one derived from them".into()),
    }
    let compiled = compiler(&library).file(SHIM).try_compile("rsmpi");
    compiled.map_err(|error| format!("MPI's header is not as its family's: {error}").replace('\n', " "))?;
    library.lib_paths.iter().for_each(|path| println!("cargo::rustc-link-search=native={}", path.display()));
    library.libs.iter().for_each(|name| println!("cargo::rustc-link-lib={name}"));
    Ok(())
}

fn compiler(library: &Library) -> cc::Build {
    let mut compiler = cc::Build::new();
    match &library.mpicc {
        Some(wrapper) => compiler.compiler(Path::new(wrapper)),
        None => compiler.includes(&library.include_paths),
    };
    compiler
}
