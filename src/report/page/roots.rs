//! Which runs the folders of a call stand for, and what the page calls them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::PageError;
use super::run::ReportedRun;
use crate::report::stray::without_strays;
use crate::run::{SEEDS_FILE, json_problem};

/// What is read of the plan of several seeds.
#[derive(Deserialize)]
struct Plan {
    seeds: Vec<u64>,
}

/// The runs of a page, and what is to be said of those that are not there.
pub struct Runs {
    pub runs: Vec<ReportedRun>,
    pub notes: Vec<String>,
}

impl Runs {
    /// Reads `roots` in their order, each run once; a folder of several seeds stands for its trainings.
    ///
    /// # Errors
    /// A folder that is neither, and those of [`ReportedRun::read`].
    pub fn read(roots: &[PathBuf]) -> Result<Self, PageError> {
        let (mut members, mut notes) = (Vec::new(), Vec::new());
        for root in without_strays(roots, |_| false)? {
            match seeds(root)? {
                Some(seeds) => {
                    let folders = seeds.iter().map(|seed| root.join(format!("seed{seed}")));
                    let (begun, others): (Vec<_>, Vec<_>) = folders.partition(|run| run.join("config.toml").is_file());
                    members.extend(begun);
                    if !others.is_empty() {
                        let (root, all) = (root.display(), seeds.len());
                        notes.push(format!("{} of {all} seeds of {root} have not begun.", others.len()));
                    }
                }
                None => members.push(root.clone()),
            }
        }
        let place = |root: &PathBuf| fs::canonicalize(root).unwrap_or_else(|_| root.clone());
        let mut seen = Vec::new();
        members.retain(|root| {
            !seen.contains(&place(root)) && {
                seen.push(place(root));
                true
            }
        });
        let names = names(&seen);
        let runs = members.iter().zip(names).map(|(root, name)| ReportedRun::read(root, name));
        Ok(Self { runs: runs.collect::<Result<_, _>>()?, notes })
    }
}

/// The seeds that were planned in `root`, if it is a folder of several.
fn seeds(root: &Path) -> Result<Option<Vec<u64>>, PageError> {
    let path = root.join(SEEDS_FILE);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    match serde_json::from_str::<Plan>(&text) {
        Ok(plan) => Ok(Some(plan.seeds)),
        Err(error) => Err(PageError::Damaged {
            path,
            problem: format!("{}: restore it, or name its runs", json_problem(&text, &error)),
        }),
    }
}

/// The last parts of each path, as many as tell it from the others.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &Path, count: usize| -> PathBuf {
        let parts: Vec<_> = path.components().collect();
        parts[parts.len().saturating_sub(count)..].iter().collect()
    };
    let is_clear =
        |path: &Path, count| paths.iter().filter(|other| last(other, count) == last(path, count)).count() < 2;
    let name = |path: &PathBuf| {
        let count = (1..path.components().count()).find(|&count| is_clear(path, count));
        last(path, count.unwrap_or(usize::MAX)).display().to_string()
    };
    paths.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_they_must_be() {
        let paths = ["/runs/a/seed0", "/runs/b/seed0", "/runs/search"].map(PathBuf::from);
        assert_eq!(names(&paths), ["a/seed0", "b/seed0", "search"]);
        assert_eq!(names(&paths[2..]), ["search"]);
    }
}
