//! What `launch/cargo.sh` says after a build that failed.

use crate::machine::{Machine, stderr};

/// The last line after cargo has failed with `message`.
fn last_line(message: &str) -> String {
    let machine = Machine::without(&["cargo"]);
    machine.script("cargo", &format!("cat <<'EOF' >&2\n   Compiling tch\n{message}\nEOF\nexit 101"));
    let output = machine.command("cargo.sh", &["build", "--release"]).output().unwrap();
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(101), "{stderr}");
    assert!(stderr.contains(message), "cargo's own message is shown: {stderr}");
    stderr.lines().last().unwrap().to_owned()
}

#[test]
fn build_that_fails_says_last_what_to_install() {
    for (message, advice) in [
        ("error: mpi-sys@0.2.4: no MPI library was found: mpicc", "apt-get install libopenmpi-dev"),
        ("rsmpi.c:2:10: fatal error: mpi.h: No such file or directory", "apt-get install libopenmpi-dev"),
        ("error: linker `cc` not found", "apt-get install g++"),
        ("error occurred in cc-rs: failed to find tool \"c++\": No such file", "apt-get install g++"),
        ("fatal error: omp.h: No such file or directory", "apt-get install g++"),
        ("Error: Cannot find a libtorch install, you can either:", "libtorch is missing: make setup"),
        ("libtch/torch_api.cpp:1: fatal error: torch/torch.h: No such file or directory", "libtorch is missing"),
        ("this tch version expects PyTorch 2.13.0, got 2.5.1, this check", "is another version of libtorch"),
        ("error: failed to write /x/libtch.a: No space left on device (os error 28)", "the disk is full"),
        ("c++: fatal error: Killed signal terminated program cc1plus", "CARGO_BUILD_JOBS=1"),
        ("error: could not compile `tch` (signal: 9, SIGKILL: kill)", "CARGO_BUILD_JOBS=1"),
        ("  [6] Could not resolve hostname (Could not resolve host: index.crates.io)", "cargo fetch"),
        ("  [60] SSL peer certificate or SSH remote key was not OK", "ca-certificates"),
        ("error: rustc 1.80.0 is not supported by the following packages:", "rustup update"),
        ("error: 'cargo-fmt' is not installed for the toolchain 'stable'", "rustup component add rustfmt"),
        ("error: failed to open: /x/target/.cargo-lock: Permission denied (os error 13)", "check who owns"),
    ] {
        let line = last_line(message);
        assert!(line.starts_with("build: ") && line.contains(advice), "{message}: {line}");
    }
}

#[test]
fn what_is_not_known_gets_no_advice() {
    assert_eq!(last_line("error[E0308]: mismatched types"), "error[E0308]: mismatched types");
    // What a test prints is no matter of the build.
    let failed = "no space left on device\nerror: test failed, to rerun pass `--lib`";
    assert_eq!(last_line(failed), "error: test failed, to rerun pass `--lib`");
}

#[test]
fn success_and_output_of_cargo_are_passed_on() {
    let machine = Machine::without(&["cargo"]).with("LIBTORCH", "").with("CARGO_TARGET_DIR", "");
    machine.script("cargo", r#"echo "$1 ${LIBTORCH-unset} ${CARGO_TARGET_DIR-unset}"; echo told >&2"#);
    let output = machine.command("cargo.sh", &["metadata"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "metadata unset unset\n");
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("told\n", Some(0)));
}
