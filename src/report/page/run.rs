//! A run as the page shows it.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::PageError;
use super::read::Reader;
use crate::config::{Change, ConfigError, ConfigKind, SearchConfig, Settings, TrainConfig};
use crate::genotype::Genotype;
use crate::report::metrics::{CellMetric, Metric};
use crate::report::{SearchSummary, Status, TrainSummary};
use crate::run::{AlphasFile, Environment, FolderKind, GenotypeFile, RunDirectory, TrainedCell, writer_of};
use crate::trainer::{CellRecord, Incident, SearchEpochRecord, SearchStepRecord, TrainEpochRecord, TrainStepRecord};

/// One search or training.
pub struct ReportedRun {
    pub root: PathBuf,
    /// How the page calls it.
    pub name: String,
    pub standing: Standing,
    pub kind: RunKind,
    /// Every start, in order.
    pub starts: Vec<Environment>,
    /// What of its files is damaged or missing, a sentence each.
    pub notes: Vec<String>,
}

/// Whether a run has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// With a result.
    Complete,
    /// By a signal.
    Stopped,
    /// It goes on in this process.
    Running { writer: String },
    /// Nobody writes it, and there is no summary.
    NotEnded {
        /// The last that its log tells.
        last_message: Option<String>,
    },
}

/// What a search or a training has recorded.
pub enum RunKind {
    Search(Box<SearchRun>),
    Training(Box<TrainingRun>),
}

pub struct SearchRun {
    pub config: SearchConfig,
    pub epochs: Vec<SearchEpochRecord>,
    /// Of the newest interval of steps.
    pub last_steps: Option<SearchStepRecord>,
    /// What became of steps that were not finite.
    pub incidents: Vec<Incident>,
    /// Epoch by epoch, in order.
    pub alphas: Vec<AlphasFile>,
    pub genotypes: Option<GenotypeFile>,
    pub summary: Option<SearchSummary>,
    /// Of a search that trains single cells.
    pub cells: Vec<CellRecord>,
}

pub struct TrainingRun {
    pub config: TrainConfig,
    pub epochs: Vec<TrainEpochRecord>,
    /// Of the newest interval of steps.
    pub last_steps: Option<TrainStepRecord>,
    /// What became of steps that were not finite.
    pub incidents: Vec<Incident>,
    pub cell: Option<TrainedCell>,
    pub summary: Option<TrainSummary>,
}

impl ReportedRun {
    /// Reads the run in `root`, which the page calls `name`.
    ///
    /// # Errors
    /// A folder that is no run, and a configuration that cannot be read.
    pub fn read(root: &Path, name: String) -> Result<Self, PageError> {
        let path = RunDirectory::config_path_in(root);
        fs::File::open(&path).map_err(|cause| PageError::NotARun { root: root.to_owned(), cause })?;
        let mut reader = Reader::new(root);
        let starts = reader.lines("environment.jsonl", |_| true);
        let (kind, status) = match FolderKind::of(root) {
            FolderKind::Training => {
                let run = TrainingRun::read(TrainConfig::load(&path, &[])?, &mut reader);
                let status = run.summary.as_ref().map(|summary| summary.status);
                (RunKind::Training(Box::new(run)), status)
            }
            _ => {
                let run = SearchRun::read(SearchConfig::load(&path, &[])?, root, &mut reader);
                let status = run.summary.as_ref().map(|summary| summary.status);
                (RunKind::Search(Box::new(run)), status)
            }
        };
        let standing = match (status, writer_of(root)) {
            (Some(Status::Complete), _) => Standing::Complete,
            (_, Some(writer)) => Standing::Running { writer },
            (Some(Status::Stopped), None) => Standing::Stopped,
            (None, None) => Standing::NotEnded { last_message: reader.last_message() },
        };
        Ok(Self { root: root.to_owned(), name, standing, kind, starts, notes: reader.notes })
    }

    /// The call that goes on with the run.
    pub fn resume_command(&self) -> String {
        let kind = match &self.kind {
            RunKind::Search(_) => ConfigKind::Search,
            RunKind::Training(_) => ConfigKind::Training,
        };
        format!("{} --resume {}", kind.command(), self.root.display())
    }

    pub fn dataset(&self) -> String {
        match &self.kind {
            RunKind::Search(run) => run.config.data.dataset.to_string(),
            RunKind::Training(run) => run.config.data.dataset.to_string(),
        }
    }

    pub fn seed(&self) -> u64 {
        match &self.kind {
            RunKind::Search(run) => run.config.run.seed,
            RunKind::Training(run) => run.config.run.seed,
        }
    }

    /// The cell that was found, or is trained.
    pub fn genotype(&self) -> Option<&Genotype> {
        match &self.kind {
            RunKind::Search(run) => Some(&run.genotypes.as_ref()?.result()?.variant.genotype),
            RunKind::Training(run) => Some(&run.cell.as_ref()?.genotype),
        }
    }

    /// What became of steps that were not finite, in order.
    pub fn incidents(&self) -> &[Incident] {
        match &self.kind {
            RunKind::Search(run) => &run.incidents,
            RunKind::Training(run) => &run.incidents,
        }
    }

    /// Every key of the configuration whose value is not its default.
    ///
    /// # Errors
    /// As [`Settings::changes`].
    pub fn changes(&self) -> Result<Vec<Change>, ConfigError> {
        match &self.kind {
            RunKind::Search(run) => run.config.changes(),
            RunKind::Training(run) => run.config.changes(),
        }
    }

    /// What runs that differ in their seeds alone have in common.
    ///
    /// # Errors
    /// As [`Settings::digest`].
    pub fn recipe(&self) -> Result<String, ConfigError> {
        match &self.kind {
            RunKind::Search(run) => {
                let mut config = run.config.clone();
                config.run.seed = 0;
                config.digest()
            }
            RunKind::Training(run) => {
                let mut config = run.config.clone();
                config.run.seed = 0;
                Ok(config.digest()? + run.cell.as_ref().map_or("", |cell| &cell.python))
            }
        }
    }
}

impl SearchRun {
    fn read(config: SearchConfig, root: &Path, reader: &mut Reader) -> Self {
        let (num_stages, num_epochs) = (config.search.stages.len(), config.search.epochs);
        if config.search.strategy.trains_cells() {
            let is_cell = |CellMetric::Cell(record): &CellMetric<CellRecord>| {
                (1..=config.evaluation.candidates).contains(&record.number)
            };
            let cells = reader.lines("metrics.jsonl", is_cell).into_iter().map(|CellMetric::Cell(record)| record);
            let (genotypes, summary) = (reader.json("genotype.json"), reader.json("summary.json"));
            return Self {
                config,
                epochs: Vec::new(),
                last_steps: None,
                incidents: Vec::new(),
                alphas: Vec::new(),
                genotypes,
                summary,
                cells: cells.collect(),
            };
        }
        let is_place = |stage, epoch| (1..=num_stages).contains(&stage) && (1..=num_epochs).contains(&epoch);
        let metrics =
            reader.lines("metrics.jsonl", |metric: &Metric<SearchStepRecord, SearchEpochRecord>| match metric {
                Metric::Steps(steps) => is_place(steps.stage, steps.epoch),
                Metric::Epoch(epoch) => is_place(epoch.stage, epoch.epoch),
                Metric::Incident(_) => true,
            });
        let Told { last_steps, epochs, incidents } = Told::of(metrics, |steps| steps.step);
        let place = |epoch: &SearchEpochRecord| (epoch.stage - 1) * num_epochs + epoch.epoch - 1;
        // Nothing comes after the epoch with which a stage ended early.
        let left_out = |epoch: &SearchEpochRecord| match epoch.goes_back_to {
            Some(_) => place(epoch) + 1..epoch.stage * num_epochs,
            None => 0..0,
        };
        reader.note_gaps(epochs.iter().map(place).chain(epochs.iter().flat_map(left_out)));
        let genotypes = reader.json("genotype.json");
        let summary = reader.json("summary.json");
        let (alphas, num_files) = read_alphas(root, is_place);
        let num_damaged = num_files - alphas.len();
        if num_damaged > 0 {
            reader.notes.push(format!("{num_damaged} of {num_files} files in alphas/ are damaged and left out."));
        }
        Self { config, epochs, last_steps, incidents, alphas, genotypes, summary, cells: Vec::new() }
    }

    /// The alphas of `stage`, from 1.
    pub fn alphas_of(&self, stage: usize) -> Vec<AlphasFile> {
        self.alphas.iter().filter(|file| file.stage == stage).cloned().collect()
    }
}

impl TrainingRun {
    fn read(config: TrainConfig, reader: &mut Reader) -> Self {
        let is_epoch = |epoch| (1..=config.train.epochs).contains(&epoch);
        let metrics =
            reader.lines("metrics.jsonl", |metric: &Metric<TrainStepRecord, TrainEpochRecord>| match metric {
                Metric::Steps(steps) => is_epoch(steps.epoch),
                Metric::Epoch(epoch) => is_epoch(epoch.epoch),
                Metric::Incident(_) => true,
            });
        let Told { last_steps, epochs, incidents } = Told::of(metrics, |steps| steps.step);
        reader.note_gaps(epochs.iter().map(|epoch| epoch.epoch - 1));
        let (cell, summary) = (reader.json("genotype.json"), reader.json("summary.json"));
        Self { config, epochs, last_steps, incidents, cell, summary }
    }
}

/// What the metrics tell of a run that goes through epochs.
struct Told<S, E> {
    last_steps: Option<S>,
    epochs: Vec<E>,
    incidents: Vec<Incident>,
}

impl<S, E: Deref<Target = S>> Told<S, E> {
    /// `metrics` in the order of their lines; `step` is the last of a record.
    fn of(metrics: Vec<Metric<S, E>>, step: impl Fn(&S) -> u64) -> Self {
        let mut told = Self { last_steps: None, epochs: Vec::new(), incidents: Vec::new() };
        for metric in metrics {
            match metric {
                Metric::Steps(record) => told.last_steps = Some(record),
                Metric::Epoch(record) => told.epochs.push(record),
                Metric::Incident(incident) => {
                    if let Incident::Rewound { to_step, .. } = &incident {
                        told.take_back(*to_step, &step);
                    }
                    told.incidents.push(incident);
                }
            }
        }
        told
    }

    /// What comes after `to_step` is done again, and recorded again.
    fn take_back(&mut self, to_step: u64, step: impl Fn(&S) -> u64) {
        self.epochs.retain(|epoch| step(epoch) <= to_step);
        self.incidents.retain(|incident| match incident {
            Incident::Dropped { step, .. } => *step <= to_step,
            Incident::Rewound { .. } => true,
        });
    }
}

/// The alphas of the run in `root` at its places in their order, and how many files there are.
fn read_alphas(root: &Path, is_place: impl Fn(usize, usize) -> bool) -> (Vec<AlphasFile>, usize) {
    let entries = fs::read_dir(root.join("alphas")).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|name| name == "json"));
    let is_whole = |file: &AlphasFile| is_place(file.stage, file.epoch) && file.alphas.check(&file.live).is_ok();
    let files: Vec<Option<AlphasFile>> = paths.map(|path| AlphasFile::read(&path).ok().filter(is_whole)).collect();
    let num_files = files.len();
    let mut files: Vec<AlphasFile> = files.into_iter().flatten().collect();
    files.sort_by_key(|file| (file.stage, file.epoch));
    (files, num_files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A training of two epochs that dropped steps, then went back to before its second epoch.
    #[test]
    fn what_a_run_went_back_from_is_not_told_twice() {
        let folder = tempfile::tempdir().unwrap();
        let steps = |epoch, step, loss: f64| {
            serde_json::json!({
                "kind": "epoch", "epoch": epoch, "step": step, "learning_rate": 0.1, "drop_path": 0.0, "train_loss": loss,
                "train_top1": 10.0, "images_per_second": 9.0, "train_seconds": 1.0, "seconds": 1.5,
            })
        };
        let dropped = |step| serde_json::json!({"kind": "dropped", "step": step, "what": "it became NaN"});
        let rewound = serde_json::json!({"kind": "rewound", "step": 9, "to_step": 4, "what": "it became NaN"});
        let lines = [dropped(3), steps(1, 4, 3.0), dropped(6), steps(2, 8, 2.0), rewound, steps(2, 8, 1.0)];
        fs::write(folder.path().join("metrics.jsonl"), lines.map(|line| format!("{line}\n")).concat()).unwrap();
        let mut reader = Reader::new(folder.path());
        let run = TrainingRun::read(TrainConfig::default(), &mut reader);
        assert_eq!(reader.notes, Vec::<String>::new());
        assert_eq!(run.epochs.iter().map(|epoch| epoch.train_loss).collect::<Vec<_>>(), [3.0, 1.0]);
        let what = || "it became NaN".to_owned();
        let expected =
            [Incident::Dropped { step: 3, what: what() }, Incident::Rewound { step: 9, to_step: 4, what: what() }];
        assert_eq!(run.incidents, expected);
    }
}
