//! A search that trains single cells.

use std::path::PathBuf;

use anyhow::Context;

use super::{Outcome, SearchArguments, Task, open_run};
use crate::cli::dry_run::{self, Images};
use crate::cli::error::UsageError;
use crate::cli::genotype::describe;
use crate::cli::logging::Logging;
use crate::cli::output::note_files;
use crate::cli::ranks::{agree, compare_configs, compare_programs};
use crate::cli::report::write_beside;
use crate::cli::run_arguments::{RunPlace, begin, check_origin};
use crate::cli::start::{open_world, record_start};
use crate::cli::table::Table;
use crate::config::{SearchConfig, Settings};
use crate::report::CellRecorder;
use crate::run::{GenotypeFile, RunDirectory};
use crate::trainer::{
    CellData, CellRecord, CellSearch, CellSearchEnd, CellSearchError, Signal, Silent, StopSignal, TrainError,
    check_records,
};
use crate::world::{Label, Ranks, StallWatch, Watched, World};

/// Cells in the table at the end.
const NUM_SHOWN: usize = 10;

/// A rank with all that a search works on.
struct Prepared {
    config: SearchConfig,
    world: World,
    data: CellData,
}

impl Prepared {
    /// All ranks take each step together.
    fn new(config: SearchConfig, ranks: &Ranks) -> anyhow::Result<Self> {
        compare_configs(ranks, &config)?;
        let world = open_world(ranks, &config.run, &config.parallel)?;
        let data = agree(&world, CellData::load(&config, &world).map_err(in_words))?;
        compare_programs(&world, data.data_identity())?;
        Ok(Self { config, world, data })
    }
}

/// Data, limits and changed records are the caller's to repair.
fn in_words(error: CellSearchError) -> anyhow::Error {
    match error {
        CellSearchError::World(error) => error.into(),
        error => UsageError::new(error).into(),
    }
}

/// Searches in the run directory of `task`, from where it stands. All ranks call this together.
pub(super) fn run(
    Task { config, place }: Task,
    ranks: &Ranks,
    stop: StopSignal,
    logging: &Logging,
) -> anyhow::Result<Outcome> {
    let Prepared { config, world, data } = Prepared::new(config, ranks)?;
    let root = match &place {
        RunPlace::New(root) | RunPlace::Resumed { root, .. } => root.clone(),
    };
    let mut run = agree(&world, open_run(place, &world, &config))?;
    let enter = |run: &mut RunDirectory| {
        check_origin(run, &config, data.data_identity())?;
        begin(run, &config, data.data_identity())
    };
    agree(&world, run.as_mut().map_or(Ok(()), enter))?;
    let root = world.gather(&root, Label::new("name of the run directory"))?.swap_remove(0);
    let heartbeats = RunDirectory::heartbeats_in(&root);
    // A rank without a cell waits for the others' as long as their trainings take.
    let watch = StallWatch::start(&heartbeats, &world, config.parallel.stall_limits(), Watched::LoneSteps);
    let _watch = watch.with_context(|| format!("cannot write {}", heartbeats.display()))?;
    let mut recorder = None;
    let mut own_records = Vec::new();
    let opened = run.as_ref().map(|run| open_recorder(run, &config, &world, logging)).transpose();
    if let Some((opened, records)) = agree(&world, opened)? {
        (recorder, own_records) = (Some(opened), records);
    }
    let records = world.gather(&own_records, Label::new("cells of the run"))?.swap_remove(0);
    if run.is_some() {
        let strategy = config.search.strategy;
        tracing::info!("searching on {} in {} by {strategy} ({world})", config.data.dataset, root.display());
        if !records.is_empty() {
            tracing::info!("going on after {} cells", records.len());
        }
    }
    let mut silent = Silent;
    let search = CellSearch {
        config: &config,
        world: &world,
        data,
        stop,
        observer: match &mut recorder {
            Some(recorder) => recorder,
            None => &mut silent,
        },
    };
    let end = search.run(records).map_err(|error| with_root(error, run.as_ref()))?;
    let (records, signal) = match end {
        CellSearchEnd::Complete(records) => (records, None),
        CellSearchEnd::Stopped { signal, records } => (records, Some(signal)),
    };
    match recorder {
        None => Ok(Outcome::elsewhere(signal)),
        Some(recorder) => conclude(recorder, root, &config, &records, signal),
    }
}

/// Opens the records of `run` and checks that they are of its search.
fn open_recorder<'a>(
    run: &'a RunDirectory,
    config: &'a SearchConfig,
    world: &'a World,
    logging: &Logging,
) -> anyhow::Result<(CellRecorder<'a>, Vec<CellRecord>)> {
    let (recorder, records) = CellRecorder::open(run, config, world)?;
    check_records(config, &records).map_err(in_words).with_context(|| run.root().display().to_string())?;
    record_start(run, world, logging)?;
    Ok((recorder, records))
}

/// Says how a search goes on that has failed.
fn with_root(error: TrainError, run: Option<&RunDirectory>) -> anyhow::Error {
    match run {
        Some(run) if error.can_be_resumed() => {
            anyhow::anyhow!("{error}; the cells so far are recorded: pdarts search --resume {}", run.root().display())
        }
        _ => error.into(),
    }
}

/// What rank 0 leaves behind at the end.
fn conclude(
    mut recorder: CellRecorder,
    root: PathBuf,
    config: &SearchConfig,
    records: &[CellRecord],
    signal: Option<Signal>,
) -> anyhow::Result<Outcome> {
    let (summary, found) = match signal {
        Some(_) => (recorder.stopped(records)?, None),
        None => {
            if config.evaluation.candidates > 1 && records.iter().all(|record| record.valid_top1().is_none()) {
                tracing::warn!(
                    "the training of every cell diverged, and the result is none better than others: lower \
                     optimizer.weights.learning_rate or optimizer.weights.gradient_clip in a new run"
                );
            }
            let (genotypes, summary) = recorder.finish(records, &config.digest()?)?;
            (summary, Some(genotypes))
        }
    };
    write_beside(&root);
    // It names the files that are there by now.
    let text = found.map_or(String::new(), |genotypes| report(&root, &genotypes, records));
    Ok(Outcome { root, summary: Some(summary), text, signal })
}

/// The best cells, and what to look at next.
fn report(root: &std::path::Path, genotypes: &GenotypeFile, records: &[CellRecord]) -> String {
    let mut sorted: Vec<&CellRecord> = records.iter().filter(|record| record.same_as.is_none()).collect();
    sorted.sort_by(|a, b| b.valid_top1().unwrap_or(-1.0).total_cmp(&a.valid_top1().unwrap_or(-1.0)));
    let mut table = Table::new(&[&["cell", "from", "valid top-1", "skips", "parameters, M", "seconds"]]);
    for record in sorted.iter().take(NUM_SHOWN) {
        table.row([
            record.number.to_string(),
            record.parent.map_or("-".to_owned(), |parent| parent.to_string()),
            record.valid_top1().map_or("-".to_owned(), |top1| format!("{top1:.2} %")),
            record.skip_connects.to_string(),
            format!("{:.2}", record.parameters as f64 / 1e6),
            format!("{:.1}", record.evaluation.seconds),
        ]);
    }
    let more = sorted.len().saturating_sub(NUM_SHOWN);
    let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
    let cell = genotypes.result().map_or(String::new(), |priced| describe(&priced.variant.genotype));
    let files = [("report.html", "all of it, for a browser"), ("genotype.json", ""), ("metrics.jsonl", "every cell")];
    format!("{table}{more}\n{cell}\n\nThe result is {}.\n{}", genotypes.result.why, note_files(root, &files))
}

/// Tells what the search would take.
pub(super) fn rehearse(
    config: SearchConfig,
    ranks: &Ranks,
    stop: StopSignal,
    arguments: &SearchArguments,
) -> anyhow::Result<()> {
    let Prepared { config, world, data } = Prepared::new(config, ranks)?;
    let root = arguments.run.new_root();
    dry_run::check_place(&root, (config.data.dataset, &config.data.dir), &world)?;
    let (parts, num_images, steps) = agree(&world, data.rehearse(&config, stop).map_err(Into::into))?;
    let to_be = dry_run::RunToBe {
        root,
        images: vec![Images { purpose: "to train each cell on", count: num_images }],
        epochs: config.evaluation.epochs,
        steps,
        section: config.run.clone(),
        num_weight_files: 0,
        // Of a single cell nothing is trained.
        num_runs: match config.evaluation.candidates {
            1 => 0,
            candidates => candidates.div_ceil(world.size),
        },
        num_cells: config.evaluation.candidates,
    };
    dry_run::conclude(to_be, parts, &world, arguments.run.json)
}
