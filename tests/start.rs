//! What is settled before the program's libraries start: OpenMP's spinning, and the current folder.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use program::{Folder, Process, texts};

const SPINNING: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];

/// A search under way, with these of the variables for OpenMP's waiting.
fn search(folder: &Folder, variables: &[(&str, &str)]) -> Process {
    let mut command =
        folder.command(&["search", "--config", "search.toml", "--out", "run", "--set", "search.epochs=500"]);
    for name in SPINNING {
        command.env_remove(name);
    }
    let mut search = Process::start(command.env("RUST_LOG", "off").envs(variables.iter().copied()));
    search.wait_for_steps(&folder.path("run"), 1);
    search
}

/// Its variables for OpenMP's waiting.
fn spinning(process: &Process) -> Vec<String> {
    let variables = fs::read(format!("/proc/{}/environ", process.id())).unwrap();
    let variables = String::from_utf8_lossy(&variables).into_owned();
    let mut own: Vec<String> = variables
        .split('\0')
        .filter(|variable| SPINNING.iter().any(|name| variable.starts_with(name)))
        .map(str::to_owned)
        .collect();
    own.sort();
    own
}

#[test]
fn threads_of_a_search_spin_for_a_bounded_time() {
    let folder = Folder::new();
    let process = search(&folder, &[]);
    assert_eq!(spinning(&process), ["GOMP_SPINCOUNT=10000"]);
    // It is the process that was started, under its own name, with its arguments.
    let of = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", process.id())).unwrap();
    assert_eq!(of("comm"), "pdarts\n");
    let arguments = format!("{}\0search\0--config\0search.toml\0--out\0run\0", env!("CARGO_BIN_EXE_pdarts"));
    assert!(of("cmdline").starts_with(&arguments), "{}", of("cmdline"));
}

#[test]
fn what_the_user_has_set_stays() {
    for variable in [("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "passive")] {
        let folder = Folder::new();
        assert_eq!(spinning(&search(&folder, &[variable])), [format!("{}={}", variable.0, variable.1)]);
    }
}

#[test]
fn what_is_set_to_nothing_counts_as_not_set() {
    let folder = Folder::new();
    let process = search(&folder, &[("GOMP_SPINCOUNT", ""), ("OMP_WAIT_POLICY", "")]);
    assert_eq!(spinning(&process), ["GOMP_SPINCOUNT=10000", "OMP_WAIT_POLICY="]);
}

#[test]
fn name_and_descriptors_are_those_it_was_started_with() {
    let folder = Folder::new();
    symlink(env!("CARGO_BIN_EXE_pdarts"), folder.path("other")).unwrap();
    fs::write(folder.path("input"), "").unwrap();
    let script = "exec 7<input; unset GOMP_SPINCOUNT OMP_WAIT_POLICY; \
                  exec ./other search --config search.toml --out run --set search.epochs=500 2>messages";
    let mut process = Process::start(Command::new("bash").args(["-c", script]).current_dir(folder.path("")));
    process.wait_for_steps(&folder.path("run"), 1);
    assert_eq!(spinning(&process), ["GOMP_SPINCOUNT=10000"]);
    let process = format!("/proc/{}", process.id());
    assert!(fs::read_to_string(format!("{process}/cmdline")).unwrap().starts_with("./other\0search\0"));
    assert_eq!(fs::read_link(format!("{process}/fd/7")).unwrap(), folder.path("input").canonicalize().unwrap());
}

#[test]
fn removed_folder_is_one_line() {
    for arguments in ["genotype list", "doctor", "search --config search.toml"] {
        let folder = Folder::new();
        let script =
            format!("mkdir gone && cd gone && rmdir ../gone && exec {} {arguments}", env!("CARGO_BIN_EXE_pdarts"));
        let output = Command::new("bash").args(["-c", &script]).current_dir(folder.path("")).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""), "{stderr}");
        assert_eq!(stderr, "error: the current folder has been removed: change to one that exists\n");
    }
}
