//! `pdarts compare`: a whole experiment in one folder.
//!
//! Each strategy searches once with each seed, each cell that was found is trained, and all runs end in one table. The runs
//! are ordinary ones, in folders `STRATEGY/seedN/search` and `train`; what is complete is not repeated, what was stopped
//! goes on. They run in this process, one after the other on all ranks, so that ranks join once and signals reach the run
//! under way.
//!
//! - `experiment`: what runs, and where it is noted
//! - `text`: what a person reads at the end

mod experiment;
mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use self::experiment::OwnFolder;
use super::error::one_line;
use super::genotype::{NamedGenotype, read_genotype};
use super::kernels::KernelsArgument;
use super::logging::Logging;
use super::output;
use super::ranks::{agree, join, known_to_all};
use super::report::write_beside;
use super::run_arguments::{Diverged, RunPlace, Standing, check_kind, from_anywhere};
use super::{search, train};
use crate::config::{CompareConfig, Settings};
use crate::report::Comparison;
use crate::run::{ExperimentFile, TrainedCell, write_atomic, write_json_atomic};
use crate::trainer::{Signal, StopSignal};
use crate::world::{Label, Ranks};

const EXAMPLES: &str = "\
Examples:
  pdarts compare --config configs/compare-quickstart.toml
  pdarts compare --config configs/compare-cifar10.toml --data DIR --out runs/compare
  pdarts compare --resume runs/compare-quickstart
  pdarts compare --resume runs/compare-quickstart --results   the table of what is complete so far

The same call again goes on where the experiment was stopped. The table has the mean test accuracy of each strategy with its
standard deviation over the seeds, and two tests of the difference from the reference (random cells): an exact permutation
test and Welch's t test, both two-sided.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArguments {
    /// The experiment, as in configs/; `pdarts config show --kind compare` explains every key
    #[arg(long, value_name = "FILE", required_unless_present = "resume", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Change one key of the experiment, as in compare.reference=darts; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "resume")]
    overrides: Vec<String>,
    /// Folder with the data set, instead of data.dir of all runs
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the experiment: new, empty, or that of the same experiment [default: runs/CONFIG]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with the experiment in this folder as it was begun
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Run nothing: make the table of the runs that are complete
    #[arg(long, requires = "resume")]
    results: bool,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Print the table as JSON, with every figure
    #[arg(long)]
    json: bool,
}

impl CompareArguments {
    fn root(&self) -> PathBuf {
        let config = self.config.as_deref().unwrap_or(Path::new("compare"));
        let name = config.file_stem().unwrap_or(config.as_os_str());
        self.resume.clone().or_else(|| self.out.clone()).unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// What `--config` states.
    fn stated(&self, ranks: &Ranks) -> anyhow::Result<Option<ExperimentFile>> {
        let load = |file: &PathBuf| self.prepared(ExperimentFile::load(file, &self.overrides)?, ranks);
        self.config.as_ref().map(load).transpose()
    }

    /// `experiment` on the data of this call; on rank 0 it is made sure that it can run.
    fn prepared(&self, mut experiment: ExperimentFile, ranks: &Ranks) -> anyhow::Result<ExperimentFile> {
        if let Some(data) = &self.data {
            experiment.set_data(&from_anywhere(data));
        }
        if ranks.is_root() && !self.results {
            experiment.check_can_begin(ranks.size)?;
        }
        Ok(experiment)
    }
}

/// Returns the signal that stopped it.
pub fn run(arguments: &CompareArguments, logging: &Logging) -> anyhow::Result<Option<i32>> {
    let stop = StopSignal::listen()?;
    arguments.kernels.apply();
    let ranks = join()?;
    if !ranks.is_root() {
        logging.quieten();
    }
    let kind = arguments.resume.as_deref().map_or(Ok(()), |root| check_kind(root, CompareConfig::COMMAND));
    agree(&ranks, kind.map_err(Into::into))?;
    let stated = agree(&ranks, arguments.stated(&ranks))?;
    let root = ranks.gather(&arguments.root(), Label::new("name of the experiment's folder"))?.swap_remove(0);
    let writes = ranks.is_root() && !arguments.results;
    // Nothing of the folder is read to go on with, or written, while another process has it.
    let own = || OwnFolder::open(&root, stated.as_ref()).map(Some);
    let mut own = agree(&ranks, if writes { own() } else { Ok(None) })?;
    let experiment = match stated {
        Some(experiment) => experiment,
        None => {
            let stored = ExperimentFile::read(&root).map_err(anyhow::Error::from);
            agree(&ranks, stored.and_then(|experiment| arguments.prepared(experiment, &ranks)))?
        }
    };
    experiment.compare_between(&ranks)?;
    let keeps = writes && arguments.resume.is_some() && arguments.data.is_some();
    // Runs look at the data that they go on with.
    let unseen = keeps && experiment.is_complete_in(&root);
    agree(&ranks, if unseen { experiment.check_data(&root) } else { Ok(()) })?;
    let end = match arguments.results {
        true => Ok(End::default()),
        false => Conductor { experiment: &experiment, root: &root, ranks: &ranks, stop, logging }.run_all(),
    };
    if let Some(own) = own.as_mut().filter(|_| end.is_ok() || experiment.has_begun_in(&root)) {
        own.keep();
    }
    let End { signal, diverged } = end?;
    // Kept for the next call, once it is known to be that of the runs.
    agree(&ranks, if keeps { experiment.keep_data(&root) } else { Ok(()) })?;
    if ranks.is_root() {
        let comparison = experiment.results(&root)?;
        record(&root, &comparison)?;
        match (arguments.json, signal) {
            (true, _) => output::print_json(&comparison)?,
            (false, None) => output::print(text::report(&root, &comparison))?,
            (false, Some(_)) => {}
        }
    }
    if let Some(signal) = signal.filter(|_| ranks.is_root()) {
        tracing::warn!("stopped by signal {signal}; go on with: pdarts compare --resume {}", root.display());
    }
    if signal.is_none() && !diverged.is_empty() {
        return Err(known_to_all(&ranks, in_words(&diverged)));
    }
    Ok(signal)
}

/// What to do about runs that diverged.
fn in_words(diverged: &[String]) -> anyhow::Error {
    anyhow!(
        "{} diverged and are left out of the table: call again with \"run.on_divergence=rewind\" (or skip) among search.set and \
         train.set of the experiment's file, or leave such a strategy out of a new experiment",
        diverged.join("; ")
    )
}

/// Leaves the table in the folder, as JSON, as text and as a page.
fn record(root: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    write_json_atomic(&root.join("results.json"), comparison)?;
    let table = text::table(comparison);
    write_atomic(&root.join("results.txt"), |writer| writer.write_all(table.as_bytes()))?;
    write_beside(root);
    Ok(())
}

/// Runs what is left of an experiment.
struct Conductor<'a> {
    experiment: &'a ExperimentFile,
    root: &'a Path,
    ranks: &'a Ranks,
    stop: StopSignal,
    logging: &'a Logging,
}

/// How the runs of an experiment ended.
#[derive(Default)]
struct End {
    /// That stopped it.
    signal: Option<Signal>,
    /// Runs that diverged, by name and seed.
    diverged: Vec<String>,
}

impl Conductor<'_> {
    /// A run that diverges does not keep the others from theirs.
    fn run_all(&self) -> anyhow::Result<End> {
        let ExperimentFile { seeds, strategies, .. } = self.experiment;
        let num_pairs = seeds.len() * strategies.len();
        // Seed by seed, so that a table of what is complete compares all strategies.
        let pairs = seeds.iter().flat_map(|&seed| (0..strategies.len()).map(move |strategy| (seed, strategy)));
        let mut end = End::default();
        for (number, (seed, strategy)) in (1usize..).zip(pairs) {
            let of_pair = format!("{}, seed {seed}", strategies[strategy].name);
            if self.ranks.is_root() {
                tracing::info!("{number}/{num_pairs}: {of_pair}");
            }
            match self.run_pair(strategy, seed).with_context(|| of_pair.clone()) {
                Ok(None) => {}
                Ok(Some(signal)) => return Ok(End { signal: Some(signal), ..end }),
                Err(error) if error.downcast_ref::<Diverged>().is_some() => {
                    if self.ranks.is_root() {
                        tracing::warn!("{}", one_line(&error));
                    }
                    end.diverged.push(of_pair);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(end)
    }

    /// Returns the signal that stopped it.
    fn run_pair(&self, strategy: usize, seed: u64) -> anyhow::Result<Option<Signal>> {
        let name = &self.experiment.strategies[strategy].name;
        let folder = ExperimentFile::pair_folder(self.root, name, seed);
        let search_root = folder.join("search");
        if let Some(signal) = self.search(strategy, seed, &search_root)? {
            return Ok(Some(signal));
        }
        self.train(name, seed, &search_root, folder.join("train"))
    }

    fn search(&self, strategy: usize, seed: u64, root: &Path) -> anyhow::Result<Option<Signal>> {
        if let Some(signal) = self.stop.agreed(self.ranks)? {
            return Ok(Some(signal));
        }
        let standing = Standing::of(root, self.ranks)?;
        if standing == Standing::Complete {
            return Ok(None);
        }
        let mut config = self.experiment.strategies[strategy].search.clone();
        config.run.seed = seed;
        let place = RunPlace::of(root.to_owned(), standing, self.ranks)?;
        Ok(search::Task { config, place }.run(self.ranks, self.stop.clone(), self.logging)?.signal)
    }

    fn train(&self, name: &str, seed: u64, search_root: &Path, root: PathBuf) -> anyhow::Result<Option<Signal>> {
        if let Some(signal) = self.stop.agreed(self.ranks)? {
            return Ok(Some(signal));
        }
        let standing = Standing::of(&root, self.ranks)?;
        if standing == Standing::Complete {
            return Ok(None);
        }
        let mut config = self.experiment.train.clone();
        config.run.seed = seed;
        let read = || {
            let NamedGenotype { genotype, provenance, .. } = read_genotype(&search_root.display().to_string())?;
            anyhow::Ok(TrainedCell::new(name.to_owned(), genotype, provenance))
        };
        let cell = agree(self.ranks, read())?;
        let place = RunPlace::of(root, standing, self.ranks)?;
        let task = train::Task { config, cell, initial: None, place };
        let outcome: train::Outcome = train::Start::new(task, self.ranks)?.train(self.logging, &self.stop)?;
        Ok(outcome.signal)
    }
}
