//! `pdarts search`: from a configuration to a run directory with a cell in it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::dry_run::{self, Images};
use super::genotype::describe;
use super::logging::Logging;
use super::numerics::check_before_run;
use super::output::{self, note_bad_images};
use super::ranks::{agree, compare_configs, compare_programs};
use super::report::write_beside;
use super::run_arguments::{RunArguments, check_origin, newest_whole_checkpoint, read_resume_point, run_failure};
use super::table::Table;
use crate::config::{SearchConfig, Settings};
use crate::report::{RunRecorder, SearchSummary};
use crate::run::{Environment, GenotypeFile, RunDirectory};
use crate::torch::{chosen_kernels, libtorch_version};
use crate::trainer::{
    Records, ResumePoint, Search, SearchData, SearchEnd, SearchObserver, SearchProgress, Silent, StopSignal,
    architecture_step,
};
use crate::world::{DeviceName, Label, Ranks, StallWatch, World};

/// Search a cell: three stages (or as many as the configuration has), then the result with figures in a run directory
#[derive(Debug, Args)]
pub struct SearchArguments {
    #[command(flatten)]
    run: RunArguments,
}

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

pub fn run(arguments: &SearchArguments, logging: &Logging) -> anyhow::Result<ExitCode> {
    let stop = arguments.run.listen()?;
    let ranks = arguments.run.join_ranks(logging)?;
    if arguments.run.dry_run {
        Prepared::new(arguments, ranks)?.rehearse(stop, arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let start = Start::new(arguments, ranks)?;
    let Prepared { config, world, .. } = &start.prepared;
    let heartbeats = RunDirectory::heartbeats_in(&start.root);
    let watch = StallWatch::start(&heartbeats, world, config.parallel.stall_limits());
    let _watch = watch.with_context(|| format!("cannot write {}", heartbeats.display()))?;
    let end = match &start.run {
        Some(run) => start.search_and_record(run, stop, arguments, logging)?,
        None => start.search(stop, &mut Silent)?,
    };
    arguments.run.write_trace(world)?;
    match end {
        SearchEnd::Complete(_) => Ok(ExitCode::SUCCESS),
        SearchEnd::Stopped { signal, .. } => Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))),
    }
}

impl Prepared {
    /// All ranks take each step together.
    fn new(arguments: &SearchArguments, ranks: Ranks) -> anyhow::Result<Self> {
        let config = agree(&ranks, arguments.load_config())?;
        compare_configs(&ranks, &config)?;
        let device = agree(&ranks, ranks.choose_device(config.run.device).map_err(Into::into))?;
        let world = World::new(ranks.clone(), device, config.run.threads, &config.parallel);
        let world = agree(&ranks, world.map_err(Into::into))?;
        check_before_run(&config.run, &world)?;
        let data = agree(&world, SearchData::load(&config, &world).map_err(Into::into))?;
        compare_programs(&world, &data.data_digest)?;
        Ok(Self { config, world, data })
    }

    /// Tells what the search would take.
    fn rehearse(&self, stop: StopSignal, arguments: &SearchArguments) -> anyhow::Result<()> {
        let Self { config, world, data } = self;
        let root = arguments.run.new_root();
        dry_run::check_place(&root, world)?;
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
            log_every_steps: config.run.log_every_steps,
            num_checkpoints: config.run.keep_checkpoints + usize::from(config.run.keep_best_checkpoint),
            num_weight_files: 0,
            num_runs: 1,
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
    fn new(arguments: &SearchArguments, ranks: Ranks) -> anyhow::Result<Self> {
        agree(&ranks, if ranks.is_root() { arguments.run.check_outputs() } else { Ok(()) })?;
        let resumed = agree(&ranks, arguments.run.open_resumed(&ranks))?;
        let prepared = Prepared::new(arguments, ranks)?;
        let Prepared { config, world, data } = &prepared;
        let run = agree(world, arguments.create_run(world, config, resumed))?;
        let is_resumed = arguments.run.resume.is_some();
        let check = |run: &RunDirectory| check_origin(run, is_resumed, config, &data.data_digest);
        agree(world, run.as_ref().map_or(Ok(()), check))?;
        let newest = |run| newest_whole_checkpoint::<SearchProgress>(run, &data.config_digest);
        let latest = agree(world, run.as_ref().map_or(Ok(None), newest))?;
        let from_root = (run.as_ref().map(|run| run.root().to_owned()), latest);
        let (root, latest) = world.gather(&from_root, Label::new("name of the run directory"))?.swap_remove(0);
        let resume = agree(world, latest.map(|path| read_resume_point(&path, &data.config_digest)).transpose())?;
        Ok(Self { run, root: root.unwrap_or_default(), prepared, resume })
    }

    fn search(&self, stop: StopSignal, observer: &mut dyn SearchObserver) -> anyhow::Result<SearchEnd> {
        let end = self.prepared.task(stop, observer).run(self.resume.as_ref());
        end.map_err(|error| run_failure(error, self.run.as_ref(), "search", &self.prepared.world))
    }

    /// The search of rank 0, with what it leaves behind.
    fn search_and_record(
        &self,
        run: &RunDirectory,
        stop: StopSignal,
        arguments: &SearchArguments,
        logging: &Logging,
    ) -> anyhow::Result<SearchEnd> {
        let Self { root, resume, prepared, .. } = self;
        let Prepared { config, world, data } = prepared;
        logging.record_to(&run.log_path())?;
        let (kernels, device) = (chosen_kernels().to_string(), DeviceName(world.device).to_string());
        let environment = Environment::capture(libtorch_version(), &kernels, &device, world.threads, world.size);
        run.record_environment(&environment)?;
        tracing::info!("searching on {} in {} ({world})", config.data.dataset, root.display());
        if let Some(ResumePoint { checkpoint, path }) = resume {
            let SearchProgress { epoch, step, records, .. } = &checkpoint.header.progress;
            let (stage, path) = (records.stage(), path.display());
            tracing::info!("going on from {path}: stage {stage} after {epoch} epochs and {step} steps");
        }
        let header = resume.as_ref().map(|point| &point.checkpoint.header);
        let mut recorder = RunRecorder::open(run, config, world, header, logging.bars())?;
        let end = self.search(stop, &mut recorder)?;
        match &end {
            SearchEnd::Complete(result) => {
                let (genotypes, summary) = recorder.finish(result, &data.config_digest)?;
                write_beside(root);
                print_summary(arguments, &summary, || report(run, &genotypes, &summary))?;
            }
            SearchEnd::Stopped { signal, progress, bad_images } => {
                let summary = recorder.stopped(progress, *bad_images)?;
                write_beside(root);
                let root = root.display();
                tracing::warn!("stopped by signal {signal}; go on with: pdarts search --resume {root}");
                print_summary(arguments, &summary, String::new)?;
            }
        }
        Ok(end)
    }
}

impl SearchArguments {
    fn load_config(&self) -> anyhow::Result<SearchConfig> {
        let mut config: SearchConfig = self.run.load_config()?;
        self.run.apply_data(&mut config.data.dir);
        Ok(config)
    }

    /// The directory of a new run, or `resumed`; on rank 0.
    fn create_run(
        &self,
        ranks: &Ranks,
        config: &SearchConfig,
        resumed: Option<RunDirectory>,
    ) -> anyhow::Result<Option<RunDirectory>> {
        if resumed.is_some() || !ranks.is_root() {
            return Ok(resumed);
        }
        Ok(Some(RunDirectory::create(&self.run.new_root(), &config.to_toml()?)?))
    }
}

fn print_summary(
    arguments: &SearchArguments,
    summary: &SearchSummary,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match arguments.run.json {
        true => output::print_json(summary),
        false => Ok(output::print(text())?),
    }
}

/// What a person wants to see at the end: the cell, how the stages went, and what to look at next.
fn report(run: &RunDirectory, genotypes: &GenotypeFile, summary: &SearchSummary) -> String {
    let percent = |top1: Option<f64>| top1.map_or("-".to_owned(), |top1| format!("{top1:.2} %"));
    let mut stages = Table::new(&[&["stage", "cells", "operations", "train top-1", "valid top-1", "seconds"]]);
    for (number, stage) in (1usize..).zip(&summary.stages) {
        stages.row([
            number.to_string(),
            stage.cells.to_string(),
            stage.operations.to_string(),
            percent(Some(stage.train_top1)),
            percent(stage.valid_top1),
            format!("{:.0}", stage.seconds),
        ]);
    }
    let bad = note_bad_images(summary.bad_images);
    let cell = genotypes.result().map_or(String::new(), |priced| describe(&priced.variant.genotype));
    let root = run.root().display();
    format!(
        "{stages}\n{cell}{bad}\n\nIn {root}: report.html (all of it, for a browser), genotype.json (every variant), figures/ (result-normal.svg, curves.svg, ...), \
         metrics.jsonl; curves: tensorboard --logdir {root}/events"
    )
}
