//! One training.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use tch::{Device, Kind};

use super::{Call, text};
use crate::cli::dry_run::{self, Images};
use crate::cli::error::UsageError;
use crate::cli::genotype::{NamedGenotype, read_genotype};
use crate::cli::logging::Logging;
use crate::cli::output;
use crate::cli::ranks::{agree, compare, compare_configs, compare_programs, compare_weights};
use crate::cli::report::write_beside;
use crate::cli::run_arguments::{Entered, RunPlace, check_apart, enter, run_failure};
use crate::cli::run_weights::{check_weights, non_finite_values, note_misfit_of_head, read_weights};
use crate::cli::start::{open_world, record_start};
use crate::config::{Settings, TrainConfig};
use crate::data::Loader;
use crate::report::{TrainRecorder, TrainSummary};
use crate::run::{FolderKind, RunDirectory, TrainedCell, json_problem, write_atomic, write_json_atomic};
use crate::trainer::{
    BatchSection, ResumePoint, Signal, Silent, StopSignal, TrainData, TrainEnd, TrainObserver, TrainProgress, Training,
};
use crate::weights::{StateDict, WeightsError, to_safetensors};
use crate::world::{Ranks, StallWatch, Watched, World};

/// What to train, and where its run goes.
pub(in crate::cli) struct Task {
    pub config: TrainConfig,
    pub cell: TrainedCell,
    /// File of weights to begin with, instead of fresh ones.
    pub initial: Option<PathBuf>,
    pub place: RunPlace,
}

/// A rank ready to train.
pub(in crate::cli) struct Start {
    /// On rank 0, which alone writes it.
    run: Option<RunDirectory>,
    root: PathBuf,
    prepared: Prepared,
    resume: Option<ResumePoint<TrainProgress>>,
}

/// A rank with all that a training works on.
pub(super) struct Prepared {
    config: TrainConfig,
    cell: TrainedCell,
    world: World,
    data: TrainData,
    /// Weights to begin with.
    initial: Option<StateDict>,
}

/// How a training ended.
pub(in crate::cli) struct Outcome {
    /// On rank 0.
    pub summary: Option<TrainSummary>,
    /// The signal that stopped it.
    pub signal: Option<Signal>,
}

/// Returns the signal that stopped the training.
pub(super) fn run(call: &Call) -> anyhow::Result<Option<Signal>> {
    let Call { arguments, ranks, .. } = call;
    agree(ranks, if ranks.is_root() { arguments.run.check_outputs() } else { Ok(()) })?;
    let resumed = agree(ranks, arguments.run.open_resumed(TrainConfig::COMMAND, ranks))?;
    let config = agree(ranks, arguments.run.load_config())?;
    let (cell, place) = match &arguments.run.resume {
        Some(root) => (
            agree(ranks, stored_cell(&RunDirectory::genotype_path_in(root)))?,
            RunPlace::Resumed { root: root.clone(), run: resumed },
        ),
        None => (agree(ranks, read_cell(call))?, RunPlace::New(arguments.run.new_root())),
    };
    let start = Start::new(Task { config: arguments.apply(config), cell, initial: arguments.initial(), place }, ranks)?;
    let root = start.root.clone();
    let Outcome { summary, signal } = start.train(call.logging, &call.stop)?;
    if let Some(summary) = summary {
        match arguments.run.json {
            true => output::print_json(&summary)?,
            false if signal.is_none() => output::print(text::report(&root, &summary))?,
            false => {}
        }
    }
    if let Some(signal) = signal.filter(|_| ranks.is_root()) {
        tracing::warn!("stopped by signal {signal}; go on with: pdarts train --resume {}", root.display());
    }
    Ok(signal)
}

/// The cell that `--genotype` names, or that of the weights to begin with.
pub(super) fn read_cell(call: &Call) -> anyhow::Result<TrainedCell> {
    let arguments = call.arguments;
    if let Some(run) = arguments.from.as_ref().filter(|from| from.is_dir()) {
        if arguments.genotype.is_some() && FolderKind::of(run) == FolderKind::Search {
            let run = run.display();
            return Err(UsageError::new(anyhow!(
                "--from {run}: it is the run of a search, which has no weights to begin with: leave out --from, the cell is \
                 that of --genotype"
            ))
            .into());
        }
        check_weights(run, false)?;
    }
    let source = match (&arguments.genotype, &arguments.from) {
        (Some(source), _) => source,
        (None, Some(run)) if run.is_dir() => return stored_cell(&RunDirectory::genotype_path_in(run)),
        (None, Some(file)) => return cell_of_weights(file),
        (None, None) => return Err(anyhow!("--genotype is missing")),
    };
    let NamedGenotype { name, genotype, provenance } = read_genotype(source)?;
    Ok(TrainedCell::new(name, genotype, provenance))
}

/// The cell that a file of weights names.
fn cell_of_weights(file: &Path) -> anyhow::Result<TrainedCell> {
    let wrap = |problem| UsageError::new(WeightsError { path: file.to_owned(), problem });
    let description = read_weights(file)?.description(None).map_err(wrap)?;
    Ok(TrainedCell::new(file.display().to_string(), description.genotype, None))
}

/// The cell of a run that was begun.
pub(super) fn stored_cell(path: &Path) -> anyhow::Result<TrainedCell> {
    let refused = |problem: String| {
        let (path, advice) = (path.display(), "restore it, or start a new run");
        UsageError::new(anyhow!("{path} does not hold the cell of a training (it {problem}): {advice}")).into()
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| refused(json_problem(&text, &error)))
}

impl Prepared {
    /// `initial` is a file of weights. All ranks take each step together.
    pub fn new(
        config: TrainConfig,
        cell: TrainedCell,
        initial: Option<PathBuf>,
        ranks: &Ranks,
    ) -> anyhow::Result<Self> {
        compare_configs(ranks, &config)?;
        compare(ranks, &cell.python, "cell", "--genotype")?;
        let world = open_world(ranks, &config.run, &config.parallel)?;
        let data = agree(&world, TrainData::load(&config, &cell.genotype, &world).map_err(Into::into))?;
        compare_programs(&world, &data.data_identity)?;
        let initial = agree(&world, initial.map(|file| read_initial(&file, &data)).transpose())?;
        compare_weights(&world, initial.as_ref(), "--from")?;
        Ok(Self { config, cell, world, data, initial })
    }

    fn task<'a>(&'a self, stop: &StopSignal, observer: &'a mut dyn TrainObserver) -> Training<'a> {
        let Self { config, world, data, initial, .. } = self;
        let (initial, section, stop) = (initial.as_ref(), BatchSection::Train, stop.clone());
        Training { config, world, data, initial, section, stop, observer }
    }

    /// Tells what the training would take, or as many as there are seeds.
    pub fn rehearse(&self, call: &Call) -> anyhow::Result<()> {
        let Self { config, world, data, .. } = self;
        let run = &call.arguments.run;
        let root = run.new_root();
        dry_run::check_place(&root, (config.data.dataset, &config.data.dir), world)?;
        let parts = self.task(&call.stop, &mut Silent).rehearse()?;
        let loaders = [
            ("to train on", Some(&data.train_loader)),
            ("to validate on", data.valid_loader.as_ref()),
            ("to test on", Some(&data.test_loader)),
        ];
        let images = |(purpose, loader): (_, Option<&Loader>)| Some(Images { purpose, count: loader?.num_images() });
        let to_be = dry_run::RunToBe {
            root,
            images: loaders.into_iter().filter_map(images).collect(),
            epochs: config.train.epochs,
            steps: config.train.epochs * data.train_loader.num_steps(),
            section: config.run.clone(),
            num_weight_files: 1,
            num_runs: call.arguments.seeds.len().max(1),
            num_cells: 0,
        };
        dry_run::conclude(to_be, parts, world, run.json)
    }
}

impl Start {
    /// Everything that can be wrong with the call is found before the run directory is made. All ranks take each step
    /// together.
    pub fn new(task: Task, ranks: &Ranks) -> anyhow::Result<Self> {
        let Task { config, cell, mut initial, place } = task;
        if let RunPlace::Resumed { root, .. } = &place {
            initial = Some(RunDirectory::initial_weights_in(root)).filter(|weights| weights.is_file());
        }
        let prepared = Prepared::new(config, cell, initial, ranks)?;
        let Prepared { config, cell, world, data, initial } = &prepared;
        let run = agree(world, open_run(place, world, config, cell, initial.as_ref()))?;
        let Entered { run, root, resume } = enter(run, (config, &data.run_digest), &data.data_identity, world)?;
        Ok(Self { run, root, prepared, resume })
    }

    /// Trains to the end or to a signal, and records both.
    pub fn train(&self, logging: &Logging, stop: &StopSignal) -> anyhow::Result<Outcome> {
        let heartbeats = RunDirectory::heartbeats_in(&self.root);
        let Prepared { world, config, .. } = &self.prepared;
        let watch = StallWatch::start(&heartbeats, world, config.parallel.stall_limits(), Watched::Operations);
        let _watch = watch.with_context(|| format!("cannot write {}", heartbeats.display()))?;
        match &self.run {
            Some(run) => self.train_and_record(run, logging, stop),
            None => {
                let signal = match self.run_training(stop, &mut Silent)? {
                    TrainEnd::Complete(_) => None,
                    TrainEnd::Stopped { signal, .. } => Some(signal),
                };
                Ok(Outcome { summary: None, signal })
            }
        }
    }

    fn run_training(&self, stop: &StopSignal, observer: &mut dyn TrainObserver) -> anyhow::Result<TrainEnd> {
        let end = self.prepared.task(stop, observer).run(self.resume.as_ref());
        end.map_err(|error| run_failure(error, self.run.as_ref(), "train", &self.prepared.world))
    }

    /// The training of rank 0, with what it leaves behind.
    fn train_and_record(&self, run: &RunDirectory, logging: &Logging, stop: &StopSignal) -> anyhow::Result<Outcome> {
        let Self { root, resume, prepared, .. } = self;
        let Prepared { config, cell, world, .. } = prepared;
        record_start(run, world, logging)?;
        tracing::info!("training {} on {} in {} ({world})", cell.name, config.data.dataset, root.display());
        if let Some(ResumePoint { checkpoint, path }) = resume {
            let TrainProgress { epoch, step, .. } = &checkpoint.header.progress;
            tracing::info!("going on from {}: after {epoch} epochs and {step} steps", path.display());
        }
        let header = resume.as_ref().map(|point| &point.checkpoint.header);
        let mut recorder = TrainRecorder::open(run, config, cell, world, header, logging.bars())?;
        let (summary, signal) = match self.run_training(stop, &mut recorder)? {
            TrainEnd::Complete(result) => (recorder.finish(*result)?, None),
            TrainEnd::Stopped { signal, progress, bad_images } => {
                (recorder.stopped(&progress, bad_images)?, Some(signal))
            }
        };
        write_beside(root);
        Ok(Outcome { summary: Some(summary), signal })
    }
}

/// The run directory of `place`, on rank 0.
fn open_run(
    place: RunPlace,
    ranks: &Ranks,
    config: &TrainConfig,
    cell: &TrainedCell,
    initial: Option<&StateDict>,
) -> anyhow::Result<Option<RunDirectory>> {
    match place {
        RunPlace::Resumed { run, .. } => Ok(run),
        RunPlace::New(_) if !ranks.is_root() => Ok(None),
        RunPlace::New(root) => {
            check_apart(&root, config.data.dataset, &config.data.dir)?;
            let run = RunDirectory::create_with(&root, &config.to_toml()?, |run| {
                write_json_atomic(&run.genotype_path(), cell)?;
                if let Some(initial) = initial {
                    let bytes = to_safetensors(&initial.tensors, initial.metadata.clone())?;
                    write_atomic(&RunDirectory::initial_weights_in(&root), |writer| writer.write_all(&bytes))?;
                }
                anyhow::Ok(())
            })?;
            Ok(Some(run))
        }
    }
}

/// Weights that fit the network of `data`, but for its auxiliary head: where they lack some of it, it begins anew.
fn read_initial(file: &Path, data: &TrainData) -> anyhow::Result<StateDict> {
    let mut state = read_weights(file)?;
    state.keep_weights();
    let network = state.build(&data.network, Device::Cpu, Kind::Float);
    let network = network.map_err(|problem| UsageError::new(WeightsError { path: file.to_owned(), problem }))?;
    note_misfit_of_head(file, &state, &network, "all of it begins with fresh weights");
    if state.has_head() && !data.network.auxiliary_head {
        tracing::info!("{}: its auxiliary head is left out, as model.auxiliary_head is false", file.display());
    }
    if !data.network.auxiliary_head || state.misfit_of_head(&network).is_some() {
        state.drop_head();
    }
    if let Some(problem) = non_finite_values(&state) {
        let (file, advice) = (file.display(), "take a checkpoint from before the training diverged");
        return Err(UsageError::new(anyhow!("{file}: {problem}: {advice}")).into());
    }
    Ok(state)
}
