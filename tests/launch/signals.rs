//! Searches on ranks that `launch/mpirun.sh` starts: they end, and Ctrl-C saves them first.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::program::{EPOCHS, Folder, Outcome, Process, STAGES, STEPS_PER_EPOCH, json, step_lines, texts};

/// A search on two ranks with nothing but warnings on stderr.
fn launch(folder: &Folder, arguments: &[&str]) -> Command {
    // A script cannot catch what was ignored when it began, as Ctrl-C is in a shell's background jobs.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT,HUP,TERM,USR2", concat!(env!("CARGO_MANIFEST_DIR"), "/launch/mpirun.sh")]);
    command.current_dir(folder.path("")).env_remove("RUST_BACKTRACE").env("RUST_LOG", "warn");
    command.env("PDARTS", env!("CARGO_BIN_EXE_pdarts")).args(["-n", "2", "search"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn search_stopped_by_ctrl_c_or_a_lost_terminal_is_saved_and_goes_on() {
    let folder = Folder::new();
    folder.search_on_ranks(2, &["--config", "search.toml", "--out", "uninterrupted"]);
    let run = folder.path("run");
    let mut arguments = vec!["--config", "search.toml", "--out", "run"];
    let signals = [("INT", 10), ("USR2", 12), ("HUP", 10)];
    for ((signal, number), steps) in signals.into_iter().zip([1, STEPS_PER_EPOCH + 2, EPOCHS * STEPS_PER_EPOCH + 1]) {
        let mut search = folder.start_held(launch(&folder, &arguments), "run", steps);
        search.signal(signal);
        if signal == "HUP" {
            // The terminal and its shell both send it.
            thread::sleep(Duration::from_millis(5));
            search.signal(signal);
        }
        let output = search.end();
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(128 + number), "{stderr}");
        let advice = format!("stopped by signal {number}; go on with: pdarts search --resume run");
        assert!(stderr.contains(&advice), "{stderr}");
        assert_eq!(json(&run.join("summary.json"))["status"], "stopped");
        assert!(step_lines(&run).len() < STAGES * EPOCHS * STEPS_PER_EPOCH);
        arguments = vec!["--resume", "run"];
    }
    let output = launch(&folder, &arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Outcome::of(&run).assert_same(&Outcome::of(&folder.path("uninterrupted")));
}

#[test]
fn second_ctrl_c_ends_ranks_that_do_not_answer() {
    let folder = Folder::new();
    let run = folder.path("run");
    let arguments = ["--config", "search.toml", "--out", "run", "--set", "search.epochs=500"];
    let mut search = Process::start(&mut launch(&folder, &arguments));
    search.wait_for_steps(&run, 1);
    let process = json(&run.join("heartbeats/rank00001.json"))["process"].to_string();
    assert!(Command::new("kill").args(["-STOP", &process]).status().unwrap().success());
    // Signals that come together are one.
    while !search.has_ended() {
        search.signal("INT");
        thread::sleep(Duration::from_millis(200));
    }
    let output = search.end();
    assert!(!output.status.success());
    // Open MPI wakes stopped ranks before it ends them: they may have saved in that time.
    assert!(!run.join("genotype.json").exists(), "the search ended by itself");
}

#[test]
fn exit_code_is_that_of_the_program() {
    let folder = Folder::new();
    let output = launch(&folder, &["--config", "missing.toml", "--out", "run"]).output().unwrap();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ") && line.contains("missing.toml")).count(), 1);
}
