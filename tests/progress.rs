//! What a terminal shows while a run is under way: one line, however narrow, with the time that is left of all stages.

mod program;

use std::process::Command;

use crate::program::Folder;

/// What a search writes to a terminal whose size the shell command `size` sets before and during it.
fn on_a_terminal(folder: &Folder, size: &str) -> String {
    let program = env!("CARGO_BIN_EXE_pdarts");
    let call = format!("{size} {program} --log warn search --config search.toml --out run >/dev/null");
    let mut script = Command::new("script");
    script.args(["-qec", &call, "/dev/null"]).current_dir(folder.path("")).env_remove("RUST_LOG").env("TERM", "xterm");
    let output = script.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The texts that stood on the line one after the other: without control sequences, cut where the line begins anew.
fn states(output: &str) -> Vec<String> {
    let mut states = vec![String::new()];
    let mut characters = output.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                characters.find(|character| character.is_ascii_alphabetic());
            }
            '\r' => states.push(String::new()),
            other => states.last_mut().unwrap().push(other),
        }
    }
    states.retain(|state| !state.is_empty());
    states
}

fn widest(states: &[String]) -> usize {
    states.iter().map(|state| state.chars().count()).max().unwrap()
}

#[test]
fn line_tells_place_time_left_and_leading_operations() {
    let folder = Folder::new();
    let states = states(&on_a_terminal(&folder, "stty rows 24 cols 160;"));
    for expected in ["s left, stage 1/2, epoch 1/2", "s left, stage 2/2, epoch 2/2", "conv_3x3 ", " %, ", "images/s"] {
        assert!(states.iter().any(|state| state.contains(expected)), "{expected}: {states:?}");
    }
    assert!(widest(&states) <= 160 && !states.iter().any(|state| state.contains('\n')), "{states:?}");
}

#[test]
fn narrow_terminal_has_one_line_that_begins_with_the_time_left() {
    let folder = Folder::new();
    let states = states(&on_a_terminal(&folder, "stty rows 24 cols 40;"));
    assert!(states.iter().any(|state| state.contains("s left, stage 2/2")), "{states:?}");
    assert!(widest(&states) <= 40 && !states.iter().any(|state| state.contains('\n')), "{states:?}");
}

#[test]
fn line_follows_a_terminal_that_is_made_narrow() {
    let folder = Folder::new();
    // The search waits for it behind its first step.
    let held = "touch hold; export PDARTS_FAULT=hold@2:hold";
    let metrics = "until test -s run/metrics.jsonl; do sleep 0.01; done";
    let narrowed = format!("{metrics}; stty -F /dev/tty cols 30; printf NARROW; rm hold");
    let output = on_a_terminal(&folder, &format!("stty rows 24 cols 160; {held}; ({narrowed}) &"));
    let (_, narrow) = output.split_once("NARROW").unwrap();
    let states = states(narrow);
    assert!(states.len() > 3, "{states:?}");
    // What was under way when the size changed may still be of the old one.
    assert!(widest(&states[2..]) <= 30 && !states.iter().any(|state| state.contains('\n')), "{states:?}");
}
