//! What a command leaves: standard output as something that can fail (`println!` panics when its reader has gone, as in
//! `pdarts ... | head`), and the files that options name.

mod file;

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

pub use self::file::{OutputFile, check_folder, try_out};
use super::error::escaped;

/// Standard output did not take what was written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader has left, having read what it wanted.
    pub fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints `text`, and ends its last line if it does not.
///
/// # Errors
/// When standard output is closed or full.
pub fn print(text: impl Display) -> Result<(), OutputError> {
    let mut text = text.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Prints `value` as indented JSON.
///
/// # Errors
/// Those of [`print()`], and a value that JSON cannot hold.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(print(serde_json::to_string_pretty(value)?)?)
}

/// Where to look next, of `files` (names below `root`, with what they hold) that are there: `In RUN: report.html (all of it),
/// metrics.jsonl`, and the curves for TensorBoard.
pub fn note_files(root: &Path, files: &[(&str, &str)]) -> String {
    let there = files.iter().filter(|(name, _)| root.join(name).exists());
    let named = there.map(|(name, what)| if what.is_empty() { (*name).to_owned() } else { format!("{name} ({what})") });
    let named = named.collect::<Vec<_>>().join(", ");
    let has_events = fs::read_dir(root.join("events")).is_ok_and(|mut events| events.next().is_some());
    let root = escaped(&root.display().to_string());
    let curves = match has_events {
        true => format!("; curves: tensorboard --logdir {root}/events"),
        false => String::new(),
    };
    format!("In {root}: {}{curves}", if named.is_empty() { "the run" } else { &named })
}

/// A report's line on images that were replaced, with the end of the line before; nothing where none were.
pub fn note_bad_images(number: usize) -> String {
    match number {
        0 => String::new(),
        1 => "\n1 bad image was replaced by another of its class: pdarts data check finds it".to_owned(),
        _ => format!("\n{number} bad images were replaced by others of their classes: pdarts data check lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let note = || {
            let files = [("report.html", "all of it"), ("figures/curves.svg", ""), ("metrics.jsonl", "")];
            note_files(folder.path(), &files).replace(&folder.path().display().to_string(), "RUN")
        };
        assert_eq!(note(), "In RUN: the run");
        for name in ["figures", "events"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["report.html", "figures/curves.svg"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(note(), "In RUN: report.html (all of it), figures/curves.svg");
        fs::write(folder.path().join("events/events.out.tfevents.1"), "").unwrap();
        let curves = "; curves: tensorboard --logdir RUN/events";
        assert_eq!(note(), format!("In RUN: report.html (all of it), figures/curves.svg{curves}"));
        assert_eq!(note_files(Path::new("a\nb"), &[]), "In a\\nb: the run");
    }
}
