//! The files of a run as far as they can be read: what is damaged is left out, counted and said.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::run::json_problem;

/// Reads the files of one run and notes what is wrong with them.
pub struct Reader<'a> {
    root: &'a Path,
    /// A sentence each.
    pub notes: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(root: &'a Path) -> Self {
        Self { root, notes: Vec::new() }
    }

    /// The value in the file `name`; `None`, with a note, of a damaged one; `None` where there is none.
    pub fn json<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let text = match fs::read(self.root.join(name)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.notes.push(format!("{name} cannot be read: {error}."));
                return None;
            }
        };
        serde_json::from_str(&text)
            .map_err(|error| self.notes.push(format!("{name} {}.", json_problem(&text, &error))))
            .ok()
    }

    /// The values in the lines of the file `name` that hold one, and that `is_valid` accepts.
    pub fn lines<T: DeserializeOwned>(&mut self, name: &str, is_valid: impl Fn(&T) -> bool) -> Vec<T> {
        let Ok(bytes) = fs::read(self.root.join(name)) else {
            self.notes.push(format!("{name} is missing."));
            return Vec::new();
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let read = |line: &&str| serde_json::from_str(line).ok().filter(&is_valid);
        let values: Vec<T> = lines.iter().filter_map(read).collect();
        let num_damaged = lines.len() - values.len();
        if num_damaged > 0 {
            self.notes.push(format!("{num_damaged} of {} lines of {name} are damaged and left out.", lines.len()));
        }
        values
    }

    /// Notes how many epochs up to the last recorded one have no record; `places` are those of the records, from 0.
    pub fn note_gaps(&mut self, places: impl Iterator<Item = usize>) {
        let places: std::collections::BTreeSet<usize> = places.collect();
        let num_epochs = places.last().map_or(0, |last| last + 1);
        let num_missing = num_epochs - places.len();
        if num_missing > 0 {
            self.notes.push(format!(
                "metrics.jsonl lacks the record of {num_missing} of {num_epochs} epochs: the curves have gaps there."
            ));
        }
    }

    /// The last message of the program's log.
    pub fn last_message(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Line {
            fields: Fields,
        }
        #[derive(Deserialize)]
        struct Fields {
            message: String,
        }
        let log = fs::read(self.root.join("log.jsonl")).ok()?;
        let log = String::from_utf8_lossy(&log);
        log.lines().rev().find_map(|line| Some(serde_json::from_str::<Line>(line).ok()?.fields.message))
    }
}
