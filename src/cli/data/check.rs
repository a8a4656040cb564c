//! `pdarts data check`: every image read once.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::cli::error::{UsageError, printable};
use crate::cli::logging::Logging;
use crate::cli::numbers::threads;
use crate::cli::output;
use crate::data::shards::check::{PartReport, Problem, check, check_folder};
use crate::data::{Images, Source};
use crate::world::Ranks;

const EXAMPLES: &str = "\
Examples:
  pdarts data check ~/imagenet
  pdarts data check /scratch/imagenet --json

Of shards, also their index, their manifest and their checksums are compared. Every bad image or shard is listed on a
line of its own; the exit code is 1 if there is one.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArguments {
    /// Folder with images or shards, as a run would use it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
    /// CPU threads; 0 = the cores that it may use
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads())]
    threads: usize,
}

/// The JSON output.
#[derive(Serialize)]
struct Report {
    parts: Vec<PartReport>,
    /// What is wrong with the folder as a whole.
    folder: Vec<Problem>,
    notes: Vec<String>,
    bad: usize,
}

pub fn run(arguments: &CheckArguments, logging: &Logging) -> anyhow::Result<()> {
    let parts = Images::open_all_to_check(&arguments.dir).map_err(UsageError::new)?;
    let threads = super::num_threads(arguments.threads, &Ranks::alone())?;
    let notes: Vec<String> = parts.iter().flat_map(|(_, images)| images.notes().to_vec()).collect();
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    let bar = super::progress_bar(logging, parts.iter().map(|(_, images)| images.len()).sum())?;
    let found: Vec<_> = parts.iter().map(|(split, _)| *split).collect();
    let folder = check_folder(&arguments.dir, &found).map_err(UsageError::new)?;
    let mut reports = Vec::new();
    for (split, images) in parts {
        let progress = &mut |images| bar.inc(images as u64);
        reports.push(check(&arguments.dir, split, &Arc::new(images), threads, progress)?);
    }
    bar.finish_and_clear();
    let bad = folder.len() + reports.iter().map(|part| part.bad.len()).sum::<usize>();
    if arguments.json {
        output::print_json(&Report { parts: reports, folder, notes, bad })?;
    } else {
        output::print(text(&folder, &reports))?;
    }
    match bad {
        0 => Ok(()),
        1 => bail!("{} has 1 bad image or shard", arguments.dir.display()),
        _ => bail!("{} has {bad} bad images or shards", arguments.dir.display()),
    }
}

fn text(folder: &[Problem], reports: &[PartReport]) -> String {
    let all = folder.iter().chain(reports.iter().flat_map(|part| &part.bad));
    // Names in archives may be anything.
    let mut lines: Vec<String> =
        all.map(|problem| printable(&format!("{}: {}", problem.place, problem.reason))).collect();
    for part in reports {
        let [fewest, most] = part.images_per_class;
        lines.push(format!(
            "{} ({}): {} images of {} classes, {fewest} to {most} each, {} bad",
            part.name,
            part.kind,
            part.images,
            part.classes,
            part.bad.len()
        ));
    }
    lines.join("\n")
}
