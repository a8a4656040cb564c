//! A search of alphas, in one supernet or several.

use std::path::PathBuf;

use anyhow::Context;

use super::{Outcome, SearchArguments, Task, open_run};
use crate::cli::dry_run::{self, Images};
use crate::cli::genotype::describe;
use crate::cli::logging::Logging;
use crate::cli::output::{note_bad_images, note_files};
use crate::cli::ranks::{agree, compare_configs, compare_programs};
use crate::cli::report::write_beside;
use crate::cli::run_arguments::{Entered, enter, run_failure};
use crate::cli::start::{open_world, record_start};
use crate::cli::table::Table;
use crate::config::SearchConfig;
use crate::report::{SearchRecorder, SearchSummary};
use crate::run::{GenotypeFile, RunDirectory};
use crate::trainer::{
    Records, ResumePoint, Search, SearchData, SearchEnd, SearchObserver, SearchProgress, Silent, StopSignal,
    architecture_step,
};
use crate::world::{Ranks, StallWatch, Watched, World};

/// A rank with all that a search works on.
struct Prepared {
    config: SearchConfig,
    world: World,
    data: SearchData,
}

/// A rank ready to search.
struct Start {
    /// On rank 0, which alone writes it.
    run: Option<RunDirectory>,
    root: PathBuf,
    prepared: Prepared,
    resume: Option<ResumePoint<SearchProgress>>,
}

/// Searches in the run directory of `task`, from where it stands. All ranks call this together.
pub(super) fn run(task: Task, ranks: &Ranks, stop: StopSignal, logging: &Logging) -> anyhow::Result<Outcome> {
    let start = Start::new(task, ranks)?;
    let Prepared { config, world, .. } = &start.prepared;
    let heartbeats = RunDirectory::heartbeats_in(&start.root);
    let watch = StallWatch::start(&heartbeats, world, config.parallel.stall_limits(), Watched::Operations);
    let _watch = watch.with_context(|| format!("cannot write {}", heartbeats.display()))?;
    match &start.run {
        Some(run) => start.search_and_record(run, stop, logging),
        None => Ok(Outcome::elsewhere(match start.search(stop, &mut Silent)? {
            SearchEnd::Complete(_) => None,
            SearchEnd::Stopped { signal, .. } => Some(signal),
        })),
    }
}

/// Tells what the search would take.
pub(super) fn rehearse(
    config: SearchConfig,
    ranks: &Ranks,
    stop: StopSignal,
    arguments: &SearchArguments,
) -> anyhow::Result<()> {
    Prepared::new(config, ranks)?.rehearse(stop, arguments)
}

impl Prepared {
    /// All ranks take each step together.
    fn new(config: SearchConfig, ranks: &Ranks) -> anyhow::Result<Self> {
        compare_configs(ranks, &config)?;
        let world = open_world(ranks, &config.run, &config.parallel)?;
        let data = agree(&world, SearchData::load(&config, &world).map_err(Into::into))?;
        compare_programs(&world, &data.data_identity)?;
        Ok(Self { config, world, data })
    }

    /// Tells what the search would take.
    fn rehearse(&self, stop: StopSignal, arguments: &SearchArguments) -> anyhow::Result<()> {
        let Self { config, world, data } = self;
        let root = arguments.run.new_root();
        dry_run::check_place(&root, (config.data.dataset, &config.data.dir), world)?;
        let parts = self.task(stop, &mut Silent).rehearse()?;
        let epochs = config.search.stages.len() * config.search.epochs;
        let to_be = dry_run::RunToBe {
            root,
            images: vec![
                Images { purpose: "to train weights", count: data.weight_loader.num_images() },
                Images { purpose: "to train alphas", count: data.alpha_loader.num_images() },
            ],
            epochs,
            steps: epochs * data.weight_loader.num_steps(),
            section: config.run.clone(),
            num_weight_files: 0,
            num_runs: 1,
            num_cells: 0,
        };
        dry_run::conclude(to_be, parts, world, arguments.run.json)
    }

    fn task<'a>(&'a self, stop: StopSignal, observer: &'a mut dyn SearchObserver) -> Search<'a> {
        let Self { config, world, data } = self;
        let architecture_step = architecture_step(&config.search);
        Search { config, world, data, architecture_step, stop, observer }
    }
}

impl Start {
    /// Everything that can be wrong with the call is found before the run directory is made. All ranks take each step
    /// together.
    fn new(Task { config, place }: Task, ranks: &Ranks) -> anyhow::Result<Self> {
        let prepared = Prepared::new(config, ranks)?;
        let Prepared { config, world, data } = &prepared;
        let run = agree(world, open_run(place, world, config))?;
        let Entered { run, root, resume } = enter(run, (config, &data.config_digest), &data.data_identity, world)?;
        Ok(Self { run, root, prepared, resume })
    }

    fn search(&self, stop: StopSignal, observer: &mut dyn SearchObserver) -> anyhow::Result<SearchEnd> {
        let end = self.prepared.task(stop, observer).run(self.resume.as_ref());
        end.map_err(|error| run_failure(error, self.run.as_ref(), "search", &self.prepared.world))
    }

    /// The search of rank 0, with what it leaves behind.
    fn search_and_record(&self, run: &RunDirectory, stop: StopSignal, logging: &Logging) -> anyhow::Result<Outcome> {
        let Self { root, resume, prepared, .. } = self;
        let Prepared { config, world, data } = prepared;
        record_start(run, world, logging)?;
        tracing::info!("searching on {} in {} ({world})", config.data.dataset, root.display());
        if let Some(ResumePoint { checkpoint, path }) = resume {
            let SearchProgress { epoch, step, records, .. } = &checkpoint.header.progress;
            let (stage, path) = (records.stage(), path.display());
            tracing::info!("going on from {path}: stage {stage} after {epoch} epochs and {step} steps");
        }
        let header = resume.as_ref().map(|point| &point.checkpoint.header);
        let mut recorder = SearchRecorder::open(run, config, world, header, logging.bars())?;
        let (summary, found, signal) = match self.search(stop, &mut recorder)? {
            SearchEnd::Complete(result) => {
                let (genotypes, summary) = recorder.finish(&result, &data.config_digest)?;
                (summary, Some(genotypes), None)
            }
            SearchEnd::Stopped { signal, progress, bad_images } => {
                (recorder.stopped(&progress, bad_images)?, None, Some(signal))
            }
        };
        write_beside(root);
        // It names the files that are there by now.
        let text = found.map_or(String::new(), |genotypes| report(run, &genotypes, &summary));
        Ok(Outcome { root: root.clone(), summary: Some(summary), text, signal })
    }
}

/// What a person wants to see at the end: the cell, how the stages went, and what to look at next.
fn report(run: &RunDirectory, genotypes: &GenotypeFile, summary: &SearchSummary) -> String {
    let percent = |top1: Option<f64>| top1.map_or("-".to_owned(), |top1| format!("{top1:.2} %"));
    let mut stages = Table::new(&[&["stage", "cells", "operations", "train top-1", "valid top-1", "seconds"]]);
    for (number, stage) in (1usize..).zip(&summary.stages) {
        stages.row([
            stage.label(number),
            stage.cells.to_string(),
            stage.operations.to_string(),
            percent(Some(stage.train_top1)),
            percent(stage.valid_top1),
            format!("{:.0}", stage.seconds),
        ]);
    }
    let bad = note_bad_images(summary.bad_images);
    let cell = genotypes.result().map_or(String::new(), |priced| describe(&priced.variant.genotype));
    let files = [
        ("report.html", "all of it, for a browser"),
        ("genotype.json", "every variant"),
        ("figures/result-normal.svg", ""),
        ("figures/curves.svg", ""),
        ("metrics.jsonl", ""),
    ];
    format!("{stages}\n{cell}{bad}\n\n{}", note_files(run.root(), &files))
}
