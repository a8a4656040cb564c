//! `pdarts search`: from a configuration to a run directory with a cell in it.
//!
//! - `supernet`: searches of alphas
//! - `cells`: searches that train single cells

mod cells;
mod supernet;

use std::path::PathBuf;

use clap::Args;

use super::logging::Logging;
use super::output;
use super::ranks::agree;
use super::run_arguments::{RunArguments, RunPlace, check_apart};
use crate::config::{SearchConfig, Settings};
use crate::report::SearchSummary;
use crate::run::RunDirectory;
use crate::trainer::{Signal, StopSignal};
use crate::world::Ranks;

/// Search a cell: three stages (or as many as the configuration has), then the result with figures in a run directory
#[derive(Debug, Args)]
pub struct SearchArguments {
    #[command(flatten)]
    run: RunArguments,
}

/// What to search, and where its run goes.
pub(super) struct Task {
    pub config: SearchConfig,
    pub place: RunPlace,
}

/// How a search ended.
pub(super) struct Outcome {
    /// On rank 0.
    pub root: PathBuf,
    /// On rank 0.
    pub summary: Option<SearchSummary>,
    /// What a person reads of a complete one.
    pub text: String,
    /// The signal that stopped it.
    pub signal: Option<Signal>,
}

impl Outcome {
    /// On a rank that leaves the records to rank 0.
    fn elsewhere(signal: Option<Signal>) -> Self {
        Self { root: PathBuf::new(), summary: None, text: String::new(), signal }
    }
}

impl Task {
    /// Searches from where the run stands. All ranks call this together.
    pub fn run(self, ranks: &Ranks, stop: StopSignal, logging: &Logging) -> anyhow::Result<Outcome> {
        match self.config.search.strategy.trains_cells() {
            true => cells::run(self, ranks, stop, logging),
            false => supernet::run(self, ranks, stop, logging),
        }
    }
}

/// Returns the signal that stopped it.
pub fn run(arguments: &SearchArguments, logging: &Logging) -> anyhow::Result<Option<i32>> {
    let stop = arguments.run.listen()?;
    let ranks = arguments.run.join_ranks(logging)?;
    if arguments.run.dry_run {
        let config = agree(&ranks, arguments.load_config())?;
        match config.search.strategy.trains_cells() {
            true => cells::rehearse(config, &ranks, stop, arguments)?,
            false => supernet::rehearse(config, &ranks, stop, arguments)?,
        }
        return Ok(None);
    }
    agree(&ranks, if ranks.is_root() { arguments.run.check_outputs() } else { Ok(()) })?;
    let resumed = agree(&ranks, arguments.run.open_resumed(SearchConfig::COMMAND, &ranks))?;
    let config = agree(&ranks, arguments.load_config())?;
    let place = match &arguments.run.resume {
        Some(root) => RunPlace::Resumed { root: root.clone(), run: resumed },
        None => RunPlace::New(arguments.run.new_root()),
    };
    let Outcome { root, summary, text, signal } = Task { config, place }.run(&ranks, stop, logging)?;
    if let Some(summary) = summary {
        if let Some(signal) = signal {
            tracing::warn!("stopped by signal {signal}; go on with: pdarts search --resume {}", root.display());
        }
        match arguments.run.json {
            true => output::print_json(&summary)?,
            // There is no result to tell of.
            false if signal.is_some() => {}
            false => output::print(text)?,
        }
    }
    arguments.run.write_trace(&ranks)?;
    Ok(signal)
}

impl SearchArguments {
    fn load_config(&self) -> anyhow::Result<SearchConfig> {
        let mut config: SearchConfig = self.run.load_config()?;
        self.run.apply_data(config.data.dataset, &mut config.data.dir);
        Ok(config)
    }
}

/// The run directory of `place`, on rank 0.
fn open_run(place: RunPlace, ranks: &Ranks, config: &SearchConfig) -> anyhow::Result<Option<RunDirectory>> {
    match place {
        RunPlace::Resumed { run, .. } => Ok(run),
        RunPlace::New(_) if !ranks.is_root() => Ok(None),
        RunPlace::New(root) => {
            check_apart(&root, config.data.dataset, &config.data.dir)?;
            Ok(Some(RunDirectory::create(&root, &config.to_toml()?)?))
        }
    }
}
