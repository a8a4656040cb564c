//! `pdarts report`: runs as one HTML page.

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::UsageError;
use super::output::{self, OutputFile};
use crate::report::page;
use crate::run::write_atomic;

const EXAMPLES: &str = "\
Examples:
  pdarts report runs/search                        runs/search/report.html
  pdarts report runs/train                         a training, or one of several seeds
  pdarts report runs/* --out comparison.html       all of them beside each other

The page needs no network and no other file; its links lead to the files of the runs. It can be made of a run at any
time: also while it goes on, and of one that failed. Of several folders, those that are no runs are left out, with a
warning.";

const NAME: &str = "report.html";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArguments {
    /// Run directories of searches and of trainings, also of several seeds
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Where to [default: report.html in the run; of several runs, here]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(arguments: &ReportArguments) -> anyhow::Result<()> {
    let path = match (&arguments.out, &arguments.runs[..]) {
        (Some(path), _) => path.clone(),
        (None, [run]) if run.is_dir() => run.join(NAME),
        (None, _) => PathBuf::from(NAME),
    };
    let inputs: Vec<&Path> = arguments.runs.iter().map(PathBuf::as_path).collect();
    let file = OutputFile::check("--out", &path, &inputs)?;
    let page = page(&arguments.runs, folder_of(&path)).map_err(UsageError::new)?;
    file.write(page.as_bytes())?;
    Ok(output::print(path.display())?)
}

/// Leaves the page of the run (or the runs) in `root` there. A run is not lost for want of its page: a failure is a
/// warning.
pub fn write_beside(root: &Path) {
    if let Err(error) = try_write(root) {
        tracing::warn!("{NAME} was not written: {error}");
    }
}

fn try_write(root: &Path) -> anyhow::Result<()> {
    let page = page(&[root.to_owned()], root)?;
    Ok(write_atomic(&root.join(NAME), |writer| writer.write_all(page.as_bytes()))?)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
