//! Killed searches, damaged checkpoints, and continuations that are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;

use crate::program::{
    EPOCHS, Folder, Kept, Outcome, STAGES, STEPS_PER_EPOCH, UNINTERRUPTED, complete_search, names, step_lines,
};

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];
const RESUME: [&str; 2] = ["--resume", "run"];

/// A run that was killed in its last stage, with two checkpoints.
fn killed() -> Folder {
    static KILLED: LazyLock<Kept> = LazyLock::new(kept_when_killed);
    let folder = Folder::new();
    KILLED.write(&folder.path("run"));
    folder
}

fn kept_when_killed() -> Kept {
    let folder = Folder::new();
    let last = STAGES * EPOCHS - 1;
    let checkpoints = ["stage1-epoch002", "stage2-epoch001"].map(|epoch| format!("{epoch}-step00000000.safetensors"));
    kill_after(&folder, &START, last * STEPS_PER_EPOCH + 1, |found| found == checkpoints);
    Kept::of(&folder.path("run"))
}

/// Kills a search behind so many steps, once those checkpoints are there that `are_due`: they are written beside the steps.
fn kill_after(folder: &Folder, arguments: &[&str], steps: usize, are_due: impl Fn(&[String]) -> bool) {
    let mut search = folder.start_held(folder.alone_command(arguments), "run", steps);
    search.wait_until(|| are_due(&names(&folder.path("run/checkpoints"))));
    search.signal("KILL");
    assert_eq!(search.end().status.code(), None);
}

fn newest_checkpoint(folder: &Folder) -> PathBuf {
    let checkpoints = folder.path("run/checkpoints");
    checkpoints.join(names(&checkpoints).pop().unwrap())
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn search_killed_twice_goes_on_as_if_nothing_had_been() {
    let folder = Folder::new();
    let steps = STAGES * EPOCHS * STEPS_PER_EPOCH;
    // Anywhere between the first checkpoint and a few steps before the end.
    let first = STEPS_PER_EPOCH + 1 + process::id() as usize % (steps / 2 - STEPS_PER_EPOCH);
    let second = first + 3;
    println!("killed after {first} and after {second} of {steps} steps");
    let is_one_there = |names: &[String]| names.iter().any(|name| name.ends_with(".safetensors"));
    kill_after(&folder, &START, first, is_one_there);
    kill_after(&folder, &RESUME, second, is_one_there);
    folder.search(&RESUME);
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn search_killed_before_its_first_checkpoint_starts_over() {
    let folder = Folder::new();
    kill_after(&folder, &START, 1, <[String]>::is_empty);
    assert_eq!(names(&folder.path("run/checkpoints")), [""; 0]);
    let warning = folder.warnings(&RESUME);
    assert!(warning.contains("run begins anew: it was started at 20"), "{warning}");
    assert!(warning.contains("before its first checkpoint") && warning.lines().count() == 1, "{warning}");
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn complete_search_resumes_to_the_same_result_without_a_step() {
    let folder = complete_search();
    let steps = fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap();
    let printed = folder.search(&RESUME);
    assert!(printed.contains("stage") && printed.contains("genotype.json"), "{printed}");
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
    assert_eq!(fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap(), steps);
}

#[test]
fn what_decides_the_result_cannot_change_and_what_does_not_can() {
    let folder = killed();
    let refused = |change: &str| folder.refusal(&[&RESUME[..], &["--set", change]].concat(), 2);
    assert_eq!(
        refused("search.epochs=9"),
        "--resume run: search.epochs: the run was begun with 2, now 9 was given, which cannot change within a run: leave it \
         as it was or start a new run"
    );
    assert!(refused("run.seed=1").contains("run.seed: the run was begun with 0, now 1 was given"));
    assert!(refused("search.epoch=1").contains("unknown key `search.epoch`; did you mean `search.epochs`?"));

    let config = fs::read_to_string(folder.path("search.toml")).unwrap();
    fs::write(folder.path("wider.toml"), config.replace("channels = 4", "channels = 6")).unwrap();
    let line = folder.refusal(&[&RESUME[..], &["--config", "wider.toml"]].concat(), 2);
    assert!(line.contains("model.channels: the run was begun with 4, now 6 was given"), "{line}");

    let before = step_lines(&folder.path("run")).len();
    folder.search(
        &[&RESUME[..], &["--set", "run.log_every_steps=4", "--set", "run.threads=2", "--config", "search.toml"]]
            .concat(),
    );
    let after = step_lines(&folder.path("run")).len();
    assert!(after > 0 && after <= before, "{after} lines of steps after {before}");
    assert_eq!(Outcome::of(&folder.path("run")).summary["status"], "complete");
}

#[test]
fn damaged_checkpoint_is_named_and_the_one_before_serves() {
    let folder = killed();
    let newest = newest_checkpoint(&folder);
    let name = newest.file_name().unwrap().to_str().unwrap();
    let whole = fs::read(&newest).unwrap();
    let all = names(&folder.path("run/checkpoints"));
    let older = folder.path("run/checkpoints").join(&all[0]);
    let older_bytes = fs::read(&older).unwrap();
    // With none that is whole, nothing is begun anew: the newest is named.
    damage(&older, |bytes| bytes.truncate(9));
    let refused = || {
        let line = folder.refusal(&RESUME, 1);
        assert!(line.starts_with("no checkpoint of run can be used: "), "{line}");
        assert!(line.contains(&format!("run/checkpoints/{name}: ")), "{line}");
        line
    };
    for position in [0, 20, whole.len() / 2, whole.len() - 1] {
        damage(&newest, |bytes| bytes[position] ^= 4);
        let line = refused();
        assert!(line.contains("damaged") || line.contains("header"), "byte {position}: {line}");
        fs::write(&newest, &whole).unwrap();
    }
    for length in [0, 7, 100, whole.len() - 1] {
        damage(&newest, |bytes| bytes.truncate(length));
        assert!(refused().contains("damaged or cut off"));
    }
    fs::write(&older, older_bytes).unwrap();
    let warning = folder.warnings(&RESUME);
    let expected = format!("run/checkpoints/{name}: damaged or cut off");
    assert!(
        warning.contains(&expected) && warning.contains(&format!("going on from run/checkpoints/{}", all[0])),
        "{warning}"
    );
    assert_eq!(warning.lines().count(), 1, "{warning}");
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn checkpoint_of_another_configuration_is_refused() {
    let folder = killed();
    let config = folder.path("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("seed = 0", "seed = 5")).unwrap();
    let line = folder.refusal(&RESUME, 1);
    assert!(line.starts_with("run/checkpoints/stage2-epoch001-step00000000.safetensors was written under"), "{line}");
    assert!(line.contains("(run.seed: the run was begun with 0, config.toml has 5 now)"), "{line}");
    assert!(line.ends_with("restore config.toml or start a new run"), "{line}");
    fs::write(&config, text).unwrap();
    folder.search(&RESUME);
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn metrics_that_were_cut_or_changed_are_refused() {
    let folder = killed();
    let metrics = folder.path("run/metrics.jsonl");
    let whole = fs::read(&metrics).unwrap();
    damage(&metrics, |bytes| bytes.truncate(100));
    let line = folder.refusal(&RESUME, 1);
    assert!(line.starts_with("run/metrics.jsonl has 100 bytes, but "), "{line}");
    fs::remove_file(&metrics).unwrap();
    let line = folder.refusal(&RESUME, 1);
    assert!(line.starts_with("run/metrics.jsonl is missing, of which the checkpoint continues "), "{line}");
    assert!(!metrics.exists());
    fs::write(&metrics, [b" ", &whole[..]].concat()).unwrap();
    let line = folder.refusal(&RESUME, 1);
    assert!(line.starts_with("run/metrics.jsonl was changed after the checkpoint was written"), "{line}");
}

#[test]
fn other_data_than_the_run_began_on_is_refused() {
    let folder = killed();
    let origin = folder.path("run/origin.json");
    let text = fs::read_to_string(&origin).unwrap();
    let digest = crate::program::json(&origin)["data"].as_str().unwrap().to_owned();
    assert_eq!(digest.len(), 64);
    fs::write(&origin, text.replace(&digest, &digest.replace(|c: char| c.is_ascii_digit(), "a"))).unwrap();
    let line = folder.refusal(&RESUME, 2);
    assert!(line.starts_with("run was begun on other data than that in data.dir now (digest "), "{line}");
    assert!(line.ends_with("with --data, or start a new run"), "{line}");
}

#[test]
fn stored_configuration_that_is_none_or_of_another_kind_is_named() {
    let folder = killed();
    let config = folder.path("run/config.toml");
    let output = folder.command(&["train", "--resume", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let line = folder.error_line(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(line, "run is the run of a search: go on with pdarts search --resume run");
    fs::write(&config, "").unwrap();
    assert_eq!(folder.refusal(&RESUME, 2), "run/config.toml is empty: restore it, or start a new run");
    fs::write(&config, "[run]\nseed = 0\n").unwrap();
    let line = folder.refusal(&RESUME, 2);
    assert!(line.starts_with("run/config.toml does not have the section [data]"), "{line}");
}

#[test]
fn smaller_batch_is_refused_with_what_needs_less_memory() {
    let folder = killed();
    let line = folder.refusal(&[&RESUME[..], &["--set", "search.global_batch=2"]].concat(), 2);
    assert!(
        line.contains("search.global_batch: the run was begun with 4, now 2 was given, which cannot change"),
        "{line}"
    );
    assert!(line.contains("model.checkpoint_cells = true") && line.contains("accumulate_steps"), "{line}");
    folder.search(&[&RESUME[..], &["--set", "model.checkpoint_cells=true"]].concat());
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn only_a_run_can_be_resumed() {
    let folder = Folder::new();
    assert_eq!(
        folder.refusal(&["--resume", "none"], 2),
        "there is no run directory none: give --resume the directory of an earlier run, or begin one there with --out"
    );
    fs::create_dir(folder.path("empty")).unwrap();
    let line = folder.refusal(&["--resume", "empty"], 2);
    assert!(line.starts_with("empty is not a run directory, config.toml is missing"), "{line}");
    let line = folder.refusal(&["--resume", "search.toml"], 2);
    assert!(line.starts_with("search.toml cannot be a run directory, a file is in its place"), "{line}");
}

#[test]
fn run_in_use_is_refused() {
    let folder = Folder::new();
    let first = folder.start_held(folder.alone_command(&START), "run", 1);
    let line = folder.refusal(&RESUME, 1);
    assert!(line.starts_with("run is in use by process ") && line.contains(": wait until it ends"), "{line}");
    let line = folder.refusal(&START, 2);
    assert!(line.starts_with("run is not empty (it holds `"), "{line}");
    folder.release();
    assert!(first.end().status.success());
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}
