//! A search that a signal stops: it saves, says how to go on, and goes on as if nothing had been.

use std::fs::File;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{
    EPOCHS, Folder, Outcome, Process, STEPS_PER_EPOCH, UNINTERRUPTED, json, json_lines, names, step_lines, texts,
};

/// Stops a search by `signal` once it has done `steps` steps, and resumes it.
fn stopped_and_resumed(signal: &str, number: i32, steps: usize) {
    let folder = Folder::new();
    let run = folder.path("run");
    let call = folder.alone_command(&["--config", "search.toml", "--out", "run"]);
    let mut search = folder.start_held(call, "run", steps);
    search.signal(signal);
    let output = search.end();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(128 + number), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains(&format!("stopped by signal {number}; go on with: pdarts search --resume run")),
        "{stderr}"
    );
    assert_eq!(stdout, "");

    let summary = json(&run.join("summary.json"));
    assert_eq!(summary["status"], "stopped");
    assert!(summary["result"].is_null() && summary["weights_hash"].is_null(), "{summary}");
    // At once: without a further step if it came in the validation behind the last, else after the one that was held.
    let done = step_lines(&run).len();
    assert!([steps, steps + 1].contains(&done), "stopped after {done} steps instead of {steps}");
    assert_eq!(summary["stages"].as_array().unwrap().len(), (done - 1) / (EPOCHS * STEPS_PER_EPOCH));
    assert!(!run.join("genotype.json").exists());

    folder.search(&["--resume", "run"]);
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
    assert_eq!(json_lines(&run.join("environment.jsonl")).len(), 2);
    assert_eq!(names(&run.join("events")).len(), 2);
}

#[test]
fn sigterm_before_alphas_train() {
    stopped_and_resumed("TERM", 15, 1);
}

#[test]
fn sigint_while_alphas_train() {
    stopped_and_resumed("INT", 2, STEPS_PER_EPOCH + 1);
}

#[test]
fn sigusr1_in_the_last_stage() {
    stopped_and_resumed("USR1", 10, EPOCHS * STEPS_PER_EPOCH + 2);
}

#[test]
fn sighup_while_alphas_train() {
    stopped_and_resumed("HUP", 1, STEPS_PER_EPOCH + 1);
}

#[test]
fn sigusr2_between_stages() {
    stopped_and_resumed("USR2", 12, EPOCHS * STEPS_PER_EPOCH);
}

#[test]
fn sigxcpu_before_alphas_train() {
    stopped_and_resumed("XCPU", 24, 1);
}

#[test]
fn lost_terminal_saves_although_nothing_can_be_written_to_it() {
    let folder = Folder::new();
    let run = folder.path("run");
    let call = format!("exec {} search --config search.toml --out run", env!("CARGO_BIN_EXE_pdarts"));
    let mut terminal = Command::new("env");
    terminal.args(["--default-signal=HUP", "script", "--quiet", "--command", &call, "/dev/null"]);
    let terminal = terminal.current_dir(folder.path("")).stdin(Stdio::null()).stdout(Stdio::null());
    folder.hold(terminal, STEPS_PER_EPOCH + 1);
    let mut terminal = Process::start(terminal);
    terminal.wait_for_steps(&run, STEPS_PER_EPOCH + 1);
    // Its end of the terminal is closed: the kernel hangs up, and writing fails.
    terminal.signal("KILL");
    let start = Instant::now();
    while !run.join("summary.json").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing was saved");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(json(&run.join("summary.json"))["status"], "stopped");
    assert!(!run.join("genotype.json").exists());
    // It is done with the run when the lock is free.
    let lock = File::open(run.join(".lock")).unwrap();
    lock.lock().unwrap();
    // By its own call: a process that another test begins at this moment has the file for a while, too.
    lock.unlock().unwrap();
    folder.search(&["--resume", "run"]);
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
}

#[test]
fn signals_that_were_ignored_when_the_run_began_stay_ignored() {
    let folder = Folder::new();
    let run = folder.path("run");
    let mut search = Command::new("env");
    search.args(["--ignore-signal=HUP,INT,USR2", env!("CARGO_BIN_EXE_pdarts"), "search"]);
    search.args(["--config", "search.toml", "--out", "run"]).current_dir(folder.path(""));
    search.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut search = Process::start(&mut search);
    for (steps, signal) in [(1, "HUP"), (2, "INT"), (3, "USR2"), (4, "INT")] {
        search.wait_for_steps(&run, steps);
        search.signal(signal);
    }
    let output = search.end();
    assert!(output.status.success(), "{}", texts(&output).1);
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
}

#[test]
fn signal_before_the_first_step_stops_after_it_and_metrics_of_several_steps_stay_the_same() {
    let folder = Folder::new();
    let metrics = folder.path("stopped/metrics.jsonl");
    // An interval of steps lies on both sides of the stop.
    let start = ["--config", "search.toml", "--set", "run.log_every_steps=3", "--out"];
    let mut call = folder.alone_command(&[&start[..], &["stopped"]].concat());
    folder.hold(&mut call, 0);
    let mut search = Process::start(&mut call);
    search.wait_until(|| metrics.exists());
    search.signal("TERM");
    assert_eq!(search.end().status.code(), Some(143));
    assert_eq!(names(&folder.path("stopped/checkpoints")), ["stage1-epoch000-step00000001.safetensors"]);
    assert_eq!(step_lines(&folder.path("stopped")).len(), 0);

    folder.search(&["--resume", "stopped"]);
    folder.search(&[&start[..], &["whole"]].concat());
    let stopped = Outcome::of(&folder.path("stopped"));
    stopped.assert_same(&Outcome::of(&folder.path("whole")));
    assert_eq!(stopped.summary, UNINTERRUPTED.summary);
}

#[test]
fn sigterm_may_come_several_times() {
    let folder = Folder::new();
    let run = folder.path("run");
    let mut search = folder.start(&["--config", "search.toml", "--out", "run", "--set", "search.epochs=500"]);
    search.wait_for_steps(&run, 1);
    while !search.has_ended() {
        search.signal("TERM");
    }
    assert_eq!(search.end().status.code(), Some(143));
    assert_eq!(json(&run.join("summary.json"))["status"], "stopped");
}

#[test]
fn second_ctrl_c_ends_at_once() {
    let folder = Folder::new();
    let metrics = folder.path("run/metrics.jsonl");
    let slow_steps = ["--set", "model.channels=64", "--set", "search.global_batch=32", "--set", "data.limit=64"];
    let mut search = folder.start(&[&["--config", "search.toml", "--out", "run"][..], &slow_steps].concat());
    search.wait_until(|| metrics.exists());
    while !search.has_ended() {
        search.signal("INT");
    }
    let output = search.end();
    assert_eq!(output.status.code(), Some(130));
    assert!(!folder.path("run/summary.json").exists(), "the step was completed and saved");
}
