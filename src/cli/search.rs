//! `pdarts search`: from a configuration to a run directory with a cell in it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;

use super::error::UsageError;
use super::genotype::describe;
use super::logging::Logging;
use super::output;
use super::table::Table;
use crate::config::Config;
use crate::report::{RunRecorder, SearchSummary};
use crate::run::{Environment, GenotypeFile, RunDirectory, compact_utc};
use crate::torch::libtorch_version;
use crate::trainer::{FirstOrder, ResumePoint, Search, SearchData, SearchEnd, SearchProgress, StopSignal};
use crate::world::{DeviceName, World};

/// Search a cell: three stages (or as many as the configuration has), then the result with figures in a run directory
#[derive(Debug, Args)]
pub struct SearchArguments {
    /// What to search, as in configs/; `pdarts config show` explains every key
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Change one key of the configuration, as in search.epochs=10; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Folder with the data set, instead of data.dir
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The run directory, new or empty [default: runs/CONFIG-TIME]
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the search in this run directory from its last checkpoint
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Print the summary as JSON instead of a text
    #[arg(long)]
    json: bool,
}

/// A run directory ready to be searched in.
struct Start {
    run: RunDirectory,
    config: Config,
    world: World,
    data: SearchData,
    resume: Option<ResumePoint>,
}

pub fn run(arguments: &SearchArguments, logging: &Logging) -> anyhow::Result<ExitCode> {
    let stop = StopSignal::listen().context("cannot listen to signals")?;
    let start = match &arguments.resume {
        Some(root) => Start::resume(arguments, root)?,
        None => Start::new(arguments)?,
    };
    logging.record_to(&start.run.log_path())?;
    let Start { run, config, world, data, resume } = start;
    run.record_environment(&Environment::capture(
        libtorch_version(),
        &DeviceName(world.device).to_string(),
        world.threads,
        world.size,
    ))?;
    tracing::info!("searching on {} in {} ({world})", config.data.dataset, run.root().display());
    if let Some(ResumePoint { checkpoint, path }) = &resume {
        let SearchProgress { stage, epoch, step, .. } = &checkpoint.header.progress;
        let (stage, path) = (stage + 1, path.display());
        tracing::info!("going on from {path}: stage {stage} after {epoch} epochs and {step} steps");
    }
    let header = resume.as_ref().map(|point| &point.checkpoint.header);
    let mut recorder = RunRecorder::open(&run, &config, header, logging.bars())?;
    let architecture_step = Box::new(FirstOrder);
    let search =
        Search { config: &config, world: &world, data: &data, architecture_step, stop, observer: &mut recorder };
    match search.run(resume)? {
        SearchEnd::Complete(result) => {
            let (genotypes, summary) = recorder.finish(&result, &data.config_digest)?;
            print_summary(arguments, &summary, || report(&run, &genotypes, &summary))?;
            Ok(ExitCode::SUCCESS)
        }
        SearchEnd::Stopped { signal, progress } => {
            let summary = recorder.stopped(&progress)?;
            let root = run.root().display();
            tracing::warn!("stopped by signal {signal}; go on with: pdarts search --resume {root}");
            print_summary(arguments, &summary, || String::new())?;
            Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)))
        }
    }
}

impl Start {
    /// Everything that can be wrong with the call is found before the run directory is made.
    fn new(arguments: &SearchArguments) -> anyhow::Result<Self> {
        let file = arguments.config.as_deref().context("--config is missing")?;
        let config = arguments.apply(Config::load(file, &arguments.overrides)?);
        let world = World::single(config.run.device, config.run.threads)?;
        let data = SearchData::load(&config, &world)?;
        let root = arguments.out.clone().unwrap_or_else(|| default_root(file));
        let run = RunDirectory::create(&root, &config.to_toml()?)?;
        Ok(Self { run, config, world, data, resume: None })
    }

    fn resume(arguments: &SearchArguments, root: &Path) -> anyhow::Result<Self> {
        let run = RunDirectory::open(root)?;
        let started = Config::load(&run.config_path(), &[])?;
        let config = match &arguments.config {
            Some(file) => Config::load(file, &arguments.overrides)?,
            None => Config::load(&run.config_path(), &arguments.overrides)?,
        };
        if let Some(difference) = config.difference(&started)?.first() {
            let root = root.display();
            return Err(UsageError::new(anyhow!(
                "--resume {root}: {difference}, which cannot change within a run: leave it as it was or start a new run"
            ))
            .into());
        }
        let config = arguments.apply(config);
        let world = World::single(config.run.device, config.run.threads)?;
        let data = SearchData::load(&config, &world)?;
        let latest = run.latest_checkpoint()?;
        let resume = latest.map(|path| ResumePoint::read(&path, &data.config_digest)).transpose()?;
        Ok(Self { run, config, world, data, resume })
    }
}

impl SearchArguments {
    fn apply(&self, mut config: Config) -> Config {
        if let Some(dir) = &self.data {
            config.data.dir.clone_from(dir);
        }
        config
    }
}

/// `runs/search-quickstart-20190429T081500Z` for `configs/search-quickstart.toml`.
fn default_root(config: &Path) -> PathBuf {
    let name = config.file_stem().unwrap_or(config.as_os_str()).to_string_lossy();
    Path::new("runs").join(format!("{name}-{}", compact_utc()))
}

fn print_summary(
    arguments: &SearchArguments,
    summary: &SearchSummary,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match arguments.json {
        true => output::print_json(summary),
        false => Ok(output::print(text())?),
    }
}

/// What a person wants to see at the end: the cell, how the stages went, and what to look at next.
fn report(run: &RunDirectory, genotypes: &GenotypeFile, summary: &SearchSummary) -> String {
    let percent = |top1: Option<f64>| top1.map_or("-".to_owned(), |top1| format!("{top1:.2} %"));
    let mut stages = Table::new(&["stage", "cells", "operations", "train top-1", "valid top-1", "seconds"]);
    for (number, stage) in (1..).zip(&summary.stages) {
        stages.row([
            format!("{number}"),
            stage.cells.to_string(),
            stage.operations.to_string(),
            percent(Some(stage.train_top1)),
            percent(stage.valid_top1),
            format!("{:.0}", stage.seconds),
        ]);
    }
    let cell = genotypes.result().map_or(String::new(), describe);
    let root = run.root().display();
    format!(
        "{stages}\n{cell}\n\nIn {root}: genotype.json (every variant), figures/ (result-normal.svg, curves.svg, ...), \
         metrics.jsonl; curves: tensorboard --logdir {root}/events"
    )
}
