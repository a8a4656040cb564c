//! Trainings that differ in their seeds: each in a folder `seedN` of one root, with a summary of all.
//!
//! The root holds `seeds.json`, all that is needed to go on: complete trainings are not repeated, the one that was
//! stopped is resumed, the others are begun.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use super::single::{Outcome, Start, Task, read_cell};
use super::{Call, text};
use crate::cli::error::UsageError;
use crate::cli::output;
use crate::cli::ranks::agree;
use crate::cli::report::write_beside;
use crate::cli::run_arguments::{RunPlace, Standing};
use crate::config::TrainConfig;
use crate::files::remove_partial_files;
use crate::report::{SeedsSummary, Status, TrainSummary};
use crate::run::{FolderKind, RunDirectory, RunError, SEEDS_FILE, TrainedCell, write_json_atomic};
use crate::trainer::Signal;
use crate::world::Label;

/// What the trainings under one root are.
#[derive(Serialize, Deserialize)]
struct Plan {
    seeds: Vec<u64>,
    config: TrainConfig,
    cell: TrainedCell,
    /// File of weights that all begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial: Option<PathBuf>,
}

/// Whether `root` was begun with several seeds.
pub(super) fn is_root(root: &Path) -> bool {
    FolderKind::of(root) == FolderKind::Seeds
}

/// Returns the signal that stopped the trainings.
pub(super) fn run(call: &Call) -> anyhow::Result<Option<Signal>> {
    let Call { arguments, ranks, .. } = call;
    agree(ranks, if ranks.is_root() { arguments.run.check_outputs() } else { Ok(()) })?;
    let (root, plan) = match &arguments.run.resume {
        Some(root) => (root.clone(), agree(ranks, refuse_changes(call).and_then(|()| Plan::read(root)))?),
        None => {
            let plan = agree(ranks, Plan::new(call))?;
            let root = arguments.run.new_root();
            agree(ranks, if ranks.is_root() { plan.create(&root) } else { Ok(()) })?;
            (ranks.gather(&root, Label::new("name of the run directory"))?.swap_remove(0), plan)
        }
    };
    let mut summaries = Vec::new();
    let mut stopped_by = None;
    for &seed in &plan.seeds {
        let Outcome { summary, signal } = plan.train(call, root.join(format!("seed{seed}")), seed)?;
        summaries.extend(summary);
        stopped_by = signal;
        if stopped_by.is_some() {
            break;
        }
    }
    if ranks.is_root() {
        let summary = SeedsSummary::new(summaries, plan.seeds.len());
        write_json_atomic(&root.join("summary.json"), &summary)?;
        write_beside(&root);
        match arguments.run.json {
            true => output::print_json(&summary)?,
            false => output::print(text::seeds_report(&root, &summary))?,
        }
    }
    if let Some(signal) = stopped_by.filter(|_| ranks.is_root()) {
        tracing::warn!("stopped by signal {signal}; go on with: pdarts train --resume {}", root.display());
    }
    Ok(stopped_by)
}

/// Every seed's training must be the same.
fn refuse_changes(call: &Call) -> anyhow::Result<()> {
    let run = &call.arguments.run;
    match run.config.is_none() && run.overrides.is_empty() {
        true => Ok(()),
        false => Err(UsageError::new(anyhow!(
            "--config and --set cannot change trainings of several seeds: leave them out, they go on as in {SEEDS_FILE}"
        ))
        .into()),
    }
}

impl Plan {
    fn new(call: &Call) -> anyhow::Result<Self> {
        let seeds = call.arguments.seeds.clone();
        let is_repeated = |index: usize| seeds[..index].contains(&seeds[index]);
        if let Some(index) = (0..seeds.len()).find(|&index| is_repeated(index)) {
            let seed = seeds[index];
            return Err(UsageError::new(anyhow!("--seeds: {seed} is listed twice; list each seed once")).into());
        }
        let config = call.arguments.apply(call.arguments.run.load_config()?);
        let initial = call.arguments.initial().map(std::path::absolute).transpose()?;
        Ok(Self { seeds, config, cell: read_cell(call)?, initial })
    }

    /// Makes `root`, which must be new or empty.
    fn create(&self, root: &Path) -> anyhow::Result<()> {
        RunDirectory::make_vacant(root)?;
        remove_partial_files(root).map_err(|cause| RunError::Create { root: root.to_owned(), cause })?;
        Ok(write_json_atomic(&root.join(SEEDS_FILE), self)?)
    }

    fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(SEEDS_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_str(&text)
            .with_context(|| format!("{}: start a new run", path.display()))
            .map_err(UsageError::new)?)
    }

    /// The training with one seed, from where it stands.
    fn train(&self, call: &Call, root: PathBuf, seed: u64) -> anyhow::Result<Outcome> {
        let ranks = &call.ranks;
        let standing = Standing::of(&root, ranks)?;
        if standing == Standing::Complete {
            return Ok(Outcome { summary: complete_summary(&root).filter(|_| ranks.is_root()), signal: None });
        }
        let place = RunPlace::of(root, standing, ranks)?;
        let mut config = call.arguments.apply(self.config.clone());
        config.run.seed = seed;
        Start::new(Task { config, cell: self.cell.clone(), initial: self.initial.clone(), place }, ranks)?
            .train(call.logging, &call.stop)
    }
}

/// The summary in `root` if its training is complete.
fn complete_summary(root: &Path) -> Option<TrainSummary> {
    let text = std::fs::read_to_string(root.join("summary.json")).ok()?;
    let summary: TrainSummary = serde_json::from_str(&text).ok()?;
    (summary.status == Status::Complete).then_some(summary)
}
