//! The files of a run, each with a link and what it holds.

use std::fs;
use std::path::Path;

use maud::{Markup, html};

use super::article::link_to;
use super::quantity::bytes;
use super::run::ReportedRun;
use crate::run::SEEDS_FILE;

/// Files and folders of a run by name, with what they hold.
const FILES: [(&str, &str); 17] = [
    ("summary.json", "the result in a few figures"),
    ("genotype.json", "the cell; of a search every variant with its costs"),
    ("weights.safetensors", "the trained network"),
    ("weights-ema.safetensors", "its averaged weights"),
    ("initial-weights.safetensors", "what the training began with"),
    ("config.toml", "the configuration, every key"),
    ("metrics.jsonl", "a line for each interval of steps and each epoch"),
    ("events", "the same for TensorBoard"),
    ("figures", "drawings"),
    ("alphas", "architecture parameters after each epoch"),
    ("checkpoints", "where the run can go on from"),
    ("environment.jsonl", "what it ran on, a line for each start"),
    ("log.jsonl", "what the program said"),
    ("log.jsonl.1", "what it said before"),
    ("origin.json", "configuration and data that the run began with"),
    ("heartbeats", "what each rank was doing"),
    (SEEDS_FILE, "which seeds there are to be"),
];

pub fn files(run: &ReportedRun, folder: &Path) -> Markup {
    let found = FILES.iter().filter_map(|(name, content)| Some((name, content, size(&run.root.join(name))?)));
    html! {
        section {
            h2 { "Files" }
            div.table tabindex="0" { table { tbody {
                @for (name, content, size) in found {
                    tr {
                        td { a href=(link_to(run, name, folder)) { (name) } }
                        td.text { (content) }
                        td.number.muted { (size) }
                    }
                }
            } } }
        }
    }
}

/// Of a file its size, of a folder the number of files; `None` of what is not there or empty.
fn size(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    if !found.is_dir() {
        return Some(bytes(found.len()));
    }
    match fs::read_dir(path).ok()?.count() {
        0 => None,
        1 => Some("1 file".to_owned()),
        count => Some(format!("{count} files")),
    }
}
