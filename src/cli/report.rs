//! `pdarts report`: runs as one HTML page.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
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
    let file = OutputFile::check("--out", &path, &inputs).map_err(|error| match &arguments.out {
        Some(_) => error,
        None => UsageError::new(anyhow!("{error}; give --out FILE to write it elsewhere")),
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_that_cannot_be_written_asks_for_another_place() {
        // Not even root can make a file there.
        let mut arguments = ReportArguments { runs: vec!["/proc/self".into()], out: None };
        let error = run(&arguments).unwrap_err().to_string();
        assert!(error.starts_with("--out /proc/self/report.html: cannot write in the folder"), "{error}");
        assert!(error.ends_with("; give --out FILE to write it elsewhere"), "{error}");
        arguments.out = Some("/proc/self/other.html".into());
        assert!(!run(&arguments).unwrap_err().to_string().contains("give --out"));
    }
}
