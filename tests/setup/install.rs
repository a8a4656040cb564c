//! What `launch/setup.sh` installs.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::{Machine, stderr};

#[test]
fn build_needs_no_libclang() {
    let lock = include_str!("../../Cargo.lock");
    for name in ["bindgen", "clang-sys"] {
        assert!(!lock.contains(&format!("name = \"{name}\"")), "{name} looks for libclang when it is built");
    }
}

#[test]
fn machine_with_everything_gets_nothing() {
    assert_eq!(Machine::without(&[]).with_libtorch().installed(), [""; 0]);
    assert_eq!(Machine::without(&[]).with_libtorch().of_a_plain_user().installed(), [""; 0]);
    assert_eq!(Machine::without(&[]).with_mpich(&["mpicc", "mpirun"]).with_libtorch().installed(), [""; 0]);
}

#[test]
fn bare_machine_gets_compiler_mpi_and_python() {
    let nothing = ["cc", "c++", "mpicc", "mpirun", "mpi.h", "python3"];
    assert_eq!(Machine::without(&nothing).installed(), ["g++", "libopenmpi-dev", "openmpi-bin", "python3-venv"]);
}

#[test]
fn packages_of_the_user_take_no_part() {
    let machine = Machine::without(&[]).with("PYTHONPATH", "/nowhere").with("PYTHONHOME", "/nowhere");
    machine.script("pip", r#"echo "[$PYTHONPATH$PYTHONHOME] $PYTHONNOUSERSITE" >>"$MACHINE/seen""#);
    machine.set_up();
    let seen = fs::read_to_string(machine.path("seen")).unwrap();
    assert!(!seen.is_empty() && seen.lines().all(|line| line == "[] 1"), "{seen}");
}

#[test]
fn tools_of_llvm_change_nothing() {
    let machine = Machine::without(&["mpicc", "mpi.h"]).with_libtorch();
    machine.script("llvm-config", "echo /usr/lib/llvm-14");
    assert_eq!(machine.installed(), ["libopenmpi-dev"]);
}

#[test]
fn wrapper_without_a_header_is_no_mpi() {
    // Debian's openmpi-bin has mpicc, libopenmpi-dev has mpi.h.
    assert_eq!(Machine::without(&["mpi.h"]).with_libtorch().installed(), ["libopenmpi-dev"]);
    let without_compiler = Machine::without(&["mpi.h", "cc", "c++"]).with_libtorch();
    assert_eq!(without_compiler.installed(), ["g++", "libopenmpi-dev"]);
}

#[test]
fn what_is_missing_of_mpich_is_not_taken_from_open_mpi() {
    let header_is_missing = Machine::without(&["mpi.h", "mpicc"]).with_mpich(&["mpirun"]).with_libtorch();
    assert_eq!(header_is_missing.installed(), ["libmpich-dev"]);
    let launcher_is_missing = Machine::without(&["mpirun"]).with_mpich(&["mpicc"]).with_libtorch();
    assert_eq!(launcher_is_missing.installed(), ["mpich"]);
}

#[test]
fn launcher_of_slurm_is_enough() {
    let machine = Machine::without(&["mpirun"]).with_libtorch();
    machine.script("srun", "");
    assert_eq!(machine.installed(), [""; 0]);
}

#[test]
fn mpi_that_the_user_names_is_taken() {
    let named = Machine::without(&["mpicc", "mpi.h"]).with_libtorch().with("MPI_PKG_CONFIG", "/opt/mpi/mpi.pc");
    assert_eq!(named.installed(), [""; 0]);
    let module = Machine::without(&["mpicc"]).with_libtorch().with("MPICC", "cray-cc");
    let include = module.path("include").display().to_string();
    module.script("cray-cc", &format!("[ \"$1\" != -show ] || echo cc -I{include}"));
    assert_eq!(module.installed(), [""; 0]);
}

#[test]
fn compiler_behind_a_cache_is_one() {
    let machine = Machine::without(&[]).with_libtorch().with("CXX", "ccache c++").with("CC", "ccache cc");
    machine.script("ccache", r#"exec "$@""#);
    assert_eq!(machine.installed(), [""; 0]);
}

#[test]
fn compiler_without_openmp_or_the_language_is_none() {
    let machine = Machine::without(&["c++"]).with_libtorch();
    machine.script("c++", "echo 'omp.h: No such file or directory' >&2; exit 1");
    assert_eq!(machine.installed(), ["g++"]);
}

#[test]
fn python_without_venv_gets_it() {
    let machine = Machine::without(&["python3"]);
    machine.script("python3", "echo 'No module named ensurepip' >&2; exit 1");
    assert_eq!(machine.installed(), ["python3-venv"]);
}

#[test]
fn plain_user_is_told_in_one_line_what_to_have_installed() {
    let line = Machine::without(&["mpi.h", "mpicc", "mpirun", "python3"]).of_a_plain_user().refusal();
    let packages = "libopenmpi-dev openmpi-bin python3-venv";
    assert_eq!(line, format!("setup: missing: {packages}; run: sudo apt-get install {packages}"));
    let other_system = Machine::without(&["mpi.h", "apt-get"]).with_libtorch().refusal();
    assert!(other_system.starts_with("setup: missing: libopenmpi-dev (Debian's names)"), "{other_system}");
}

#[test]
fn rust_and_python_that_are_too_old_are_named() {
    let machine = Machine::without(&[]).with_libtorch();
    machine.script("cargo", "echo 'cargo 1.63.0 (0 2022-01-01)'");
    assert!(machine.refusal().contains("Rust 1.63.0 is too old: 1.89 or newer"));
    let machine = Machine::without(&[]);
    machine.script("python3", r#"case "$*" in *version_info*) exit 1 ;; --version) echo 'Python 3.9.2' ;; esac"#);
    let output = machine.set_up();
    assert!(stderr(&output).lines().last().unwrap().contains("Python 3.9.2 is too old"), "{}", stderr(&output));
}

#[test]
fn full_disk_is_told_before_anything_is_downloaded() {
    let machine = Machine::without(&[]);
    machine.script("df", "echo Filesystem; echo '/dev/a 9 9 1000000 99% /'");
    machine.script("pip", r#"touch "$MACHINE/downloaded""#);
    let output = machine.set_up();
    let stderr = stderr(&output);
    assert!(stderr.lines().last().unwrap().contains("take 3 GB") && stderr.contains("has 1 GB left"), "{stderr}");
    assert!(!machine.path("downloaded").exists());
}

#[test]
fn interrupted_set_up_starts_afresh_and_is_waited_for() {
    let machine = Machine::without(&[]);
    machine.script(
        "pip",
        r#"echo half >.venv/lib/half; echo $$ >"$MACHINE/process"; touch "$MACHINE/begun"; exec sleep 600"#,
    );
    let mut interrupted = machine.command("setup.sh", &[]).spawn().unwrap();
    let start = Instant::now();
    while !machine.path("begun").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the set-up does not come to pip");
        thread::sleep(Duration::from_millis(20));
    }
    interrupted.kill().unwrap();
    interrupted.wait().unwrap();
    // What it started lives on, as pip does after a kill, and has what it is installing.
    let mut next = machine.command("setup.sh", &[]);
    let mut next = next.stderr(fs::File::create(machine.path("messages")).unwrap()).spawn().unwrap();
    let messages = || fs::read_to_string(machine.path("messages")).unwrap();
    while !messages().contains("another set-up is under way") {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", messages());
        thread::sleep(Duration::from_millis(20));
    }
    machine.script("pip", r#"test ! -e .venv/lib/half"#);
    let process = fs::read_to_string(machine.path("process")).unwrap();
    assert!(Command::new("kill").arg(process.trim()).status().unwrap().success());
    assert!(next.wait().unwrap().success(), "{}", messages());
    assert!(fs::read_to_string(machine.path("project/.venv/.complete")).unwrap().starts_with("torch "));
    // And the one after finds all in place.
    machine.script("pip", "exit 1");
    assert!(machine.set_up().status.success());
}
