//! What a command leaves: standard output as something that can fail (`println!` panics when its reader has gone, as in
//! `pdarts ... | head`), and the files that options name.

mod file;

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

pub use self::file::{OutputFile, check_folder};

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

/// A report's line on images that were replaced, with the end of the line before; nothing where none were.
pub fn note_bad_images(number: usize) -> String {
    match number {
        0 => String::new(),
        1 => "\n1 bad image was replaced by another of its class: pdarts data check finds it".to_owned(),
        _ => format!("\n{number} bad images were replaced by others of their classes: pdarts data check lists them"),
    }
}
