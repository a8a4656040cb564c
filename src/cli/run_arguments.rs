//! Which run, under which configuration: the arguments and the first steps that `pdarts search` and `pdarts train`
//! have in common.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use super::error::UsageError;
use super::kernels::KernelsArgument;
use super::logging::Logging;
use crate::config::Settings;
use crate::run::{RunDirectory, compact_utc};
use crate::trace;
use crate::trainer::{ResumePoint, RunProgress};
use crate::world::{Label, Ranks};

#[derive(Debug, Args)]
pub struct RunArguments {
    /// What to do, as in configs/; `pdarts config show` (of a training: with --kind train) explains every key
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub config: Option<PathBuf>,
    /// Change one key of the configuration, as in run.seed=1; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Folder with the data set, instead of data.dir
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The run directory, new or empty [default: runs/CONFIG-TIME]
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue what was begun in this run directory from its last checkpoint
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Write a timeline of all ranks in Chrome's trace format, which ui.perfetto.dev opens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print the summary as JSON instead of a text
    #[arg(long)]
    pub json: bool,
}

impl RunArguments {
    /// Joins the other ranks; all but rank 0 fall silent.
    pub fn join_ranks(&self, logging: &Logging) -> anyhow::Result<Ranks> {
        self.kernels.apply();
        let ranks = Ranks::join()?;
        if !ranks.is_root() {
            logging.quieten();
        }
        if self.trace.is_some() {
            trace::start();
        }
        Ok(ranks)
    }

    /// The configuration; that of a run to be continued may change where results do not depend on it.
    pub fn load_config<C: Settings>(&self) -> anyhow::Result<C> {
        let Some(root) = &self.resume else {
            let file = self.config.as_deref().context("--config is missing")?;
            return Ok(C::load(file, &self.overrides)?);
        };
        let stored = RunDirectory::config_path_in(root);
        let config = C::load(self.config.as_deref().unwrap_or(&stored), &self.overrides)?;
        if let Some(difference) = config.difference(&C::load(&stored, &[])?)?.first() {
            let root = root.display();
            return Err(UsageError::new(anyhow!(
                "--resume {root}: {difference}, which cannot change within a run: leave it as it was or start a new run"
            ))
            .into());
        }
        Ok(config)
    }

    /// Puts `--data` in the place of `data.dir`.
    pub fn apply_data(&self, dir: &mut PathBuf) {
        if let Some(stated) = &self.data {
            dir.clone_from(stated);
        }
    }

    /// The run to continue, locked by rank 0.
    pub fn open_resumed(&self, ranks: &Ranks) -> anyhow::Result<Option<RunDirectory>> {
        match &self.resume {
            Some(root) if ranks.is_root() => Ok(Some(RunDirectory::open(root)?)),
            _ => Ok(None),
        }
    }

    /// Where a new run goes: `runs/search-quickstart-20190429T081500Z` for `configs/search-quickstart.toml`.
    pub fn new_root(&self) -> PathBuf {
        let config = self.config.as_deref().unwrap_or(Path::new("run"));
        let name = config.file_stem().unwrap_or(config.as_os_str()).to_string_lossy();
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{name}-{}", compact_utc())))
    }

    /// Collects the timelines of all ranks in one file, if one was asked for. All ranks call this together.
    pub fn write_trace(&self, ranks: &Ranks) -> anyhow::Result<()> {
        let Some(file) = &self.trace else { return Ok(()) };
        let timelines = ranks.gather(&trace::take(ranks.rank), Label::new("exchange of traces"))?;
        if ranks.is_root() {
            std::fs::write(file, trace::to_json(&timelines.concat())?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

/// Where the run with `config_digest` goes on, when rank 0 has found a `latest` checkpoint.
pub fn read_resume_point<P: RunProgress>(
    latest: Option<PathBuf>,
    config_digest: &str,
) -> anyhow::Result<Option<ResumePoint<P>>> {
    let Some(path) = latest else { return Ok(None) };
    let bytes = RunDirectory::read_checkpoint(&path)?;
    Ok(Some(ResumePoint::new(&path, &bytes, config_digest)?))
}
