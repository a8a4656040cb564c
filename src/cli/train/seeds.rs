//! Trainings that differ in their seeds: each in a folder `seedN` of one root, with a summary of all.
//!
//! The root holds `seeds.json`, all that is needed to go on: complete trainings are not repeated, the one that was
//! stopped is resumed, the others are begun.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use tch::Device;

use super::single::{Outcome, Start, Task, read_cell};
use super::{Call, text};
use crate::cli::error::UsageError;
use crate::cli::output;
use crate::cli::ranks::agree;
use crate::cli::report::write_beside;
use crate::cli::run_arguments::{RunPlace, Standing, check_apart, check_data_of, move_data_of};
use crate::config::{CommunicatorChoice, TrainConfig, validate_seeds};
use crate::data::DataIdentity;
use crate::files::remove_partial_files;
use crate::report::{SeedsSummary, Status, TrainSummary};
use crate::run::{NewFolders, RunDirectory, RunError, SEEDS_FILE, SeedsFile, write_json_atomic};
use crate::trainer::{Signal, TrainData};
use crate::world::{Label, Ranks, World};

/// Returns the signal that stopped the trainings.
pub(super) fn run(call: &Call) -> anyhow::Result<Option<Signal>> {
    let Call { arguments, ranks, .. } = call;
    agree(ranks, if ranks.is_root() { arguments.run.check_outputs() } else { Ok(()) })?;
    let mut made = None;
    let (root, plan) = match &arguments.run.resume {
        Some(root) => (root.clone(), agree(ranks, refuse_changes(call).and_then(|()| Ok(SeedsFile::read(root)?)))?),
        None => {
            let plan = agree(ranks, stated(call))?;
            let root = arguments.run.new_root();
            made = agree(ranks, if ranks.is_root() { create(&root, &plan).map(Some) } else { Ok(None) })?;
            (ranks.gather(&root, Label::new("name of the run directory"))?.swap_remove(0), plan)
        }
    };
    let folder_of = |seed: &u64| root.join(format!("seed{seed}"));
    let complete: Vec<PathBuf> =
        plan.seeds.iter().map(folder_of).filter(|folder| RunDirectory::is_complete_in(folder)).collect();
    let mut summaries = Vec::new();
    let mut stopped_by = None;
    for &seed in &plan.seeds {
        let outcome = train(call, &plan, &root, seed);
        if let Some(mut made) = made.take()
            && (outcome.is_ok() || RunDirectory::has_begun_in(&folder_of(&seed)))
        {
            made.keep();
        }
        let Outcome { summary, signal } = outcome?;
        summaries.extend(summary);
        stopped_by = signal;
        if stopped_by.is_some() {
            break;
        }
    }
    let moved = arguments.run.data_of_resumed().filter(|_| ranks.is_root());
    let keep = |dir: &PathBuf| {
        // Where one went on with the data, it is that of all.
        if complete.len() == plan.seeds.len() {
            let data = data_in(dir, &plan)?;
            complete.iter().try_for_each(|folder| check_data_of::<TrainConfig>(folder, dir, &data))?;
        }
        complete.iter().try_for_each(|folder| move_data_of::<TrainConfig>(folder, dir))?;
        keep_data_dir(&plan, dir.clone(), &root)
    };
    // What ranks see of the folder, and their own --data, may differ: all ask.
    agree(ranks, moved.as_ref().map_or(Ok(()), keep))?;
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

/// The trainings that the call states.
pub(super) fn stated(call: &Call) -> anyhow::Result<SeedsFile> {
    let seeds = call.arguments.seeds.clone();
    validate_seeds("--seeds", &seeds).map_err(UsageError::new)?;
    let config = call.arguments.apply(call.arguments.run.load_config()?);
    let initial = call.arguments.initial().map(std::path::absolute).transpose()?;
    Ok(SeedsFile { seeds, config, cell: read_cell(call)?, initial })
}

/// Makes `root`, which must be new or empty, the folder of `plan`: what is made goes again if no training begins there.
fn create(root: &Path, plan: &SeedsFile) -> anyhow::Result<NewFolders> {
    check_apart(root, plan.config.data.dataset, &plan.config.data.dir)?;
    let mut made = RunDirectory::make_vacant(root)?;
    remove_partial_files(root).map_err(|cause| RunError::Create { root: root.to_owned(), cause })?;
    made.add_file(root.join(SEEDS_FILE));
    plan.write(root)?;
    Ok(made)
}

/// The training with one seed of `plan` in `folder`, from where it stands.
fn train(call: &Call, plan: &SeedsFile, folder: &Path, seed: u64) -> anyhow::Result<Outcome> {
    let (ranks, root) = (&call.ranks, folder.join(format!("seed{seed}")));
    let standing = Standing::of(&root, ranks)?;
    if standing == Standing::Complete {
        return Ok(Outcome { summary: complete_summary(&root).filter(|_| ranks.is_root()), signal: None });
    }
    let place = RunPlace::of(root, standing, ranks)?;
    let mut config = call.arguments.apply(plan.config.clone());
    config.run.seed = seed;
    let dir = config.data.dir.clone();
    let start = Start::new(Task { config, cell: plan.cell.clone(), initial: plan.initial.clone(), place }, ranks)?;
    // Once the data there is known to be that of the training.
    let is_changed = ranks.is_root() && dir != plan.config.data.dir;
    agree(ranks, if is_changed { keep_data_dir(plan, dir, folder) } else { Ok(()) })?;
    start.train(call.logging, &call.stop)
}

/// Notes where the data lies now, for the seeds to come.
fn keep_data_dir(plan: &SeedsFile, dir: PathBuf, folder: &Path) -> anyhow::Result<()> {
    let mut plan = plan.clone();
    plan.config.data.dir = dir;
    Ok(plan.write(folder)?)
}

/// The data that the trainings of `plan` would find in `dir`.
fn data_in(dir: &Path, plan: &SeedsFile) -> anyhow::Result<DataIdentity> {
    let mut config = plan.config.clone();
    config.data.dir = dir.to_owned();
    let world = World::new(Ranks::alone(), Device::Cpu, 1, CommunicatorChoice::Auto)?;
    Ok(TrainData::load(&config, &plan.cell.genotype, &world)?.data_identity)
}

/// The summary in `root` if its training is complete.
fn complete_summary(root: &Path) -> Option<TrainSummary> {
    let text = std::fs::read_to_string(root.join("summary.json")).ok()?;
    let summary: TrainSummary = serde_json::from_str(&text).ok()?;
    (summary.status == Status::Complete).then_some(summary)
}
