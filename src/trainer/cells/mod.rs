//! Searches that train single cells: random search and regularized evolution.
//!
//! Read from here: this file goes from cell to cell, `proposal` says which comes next, `evaluation` finds out how good it
//! is: a short retraining, scored on images that it was not trained on. A rank evaluates a cell alone, so that results do
//! not depend on how many ranks share the cells. Nothing but the records of the cells so far decides how a search goes on:
//! they are all that it resumes from. Sources: Li and Talwalkar (arXiv:1902.07638), Real et al. (arXiv:1802.01548).

mod evaluation;
mod proposal;
mod record;

use crate::config::{CommunicatorChoice, ConfigError, SearchConfig, Violation};
use crate::data::DataIdentity;
use crate::genotype::Genotype;
use crate::run::RunError;
use crate::trainer::error::NO_CELLS;
use crate::trainer::stop::{Signal, StopSignal};
use crate::trainer::{SearchDataError, TrainData, TrainError};
use crate::world::{Label, Ranks, World, WorldError, activity};
use evaluation::{Evaluation, Outcome};
use proposal::Proposals;

pub use proposal::Proposal;
pub use record::{CellRecord, best_of};

/// Receives the cells of a search in their order; rank 0 records them.
pub trait CellObserver {
    /// One more cell is known.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn cell(&mut self, record: &CellRecord) -> Result<(), RunError>;
}

impl CellObserver for super::Silent {
    fn cell(&mut self, _: &CellRecord) -> Result<(), RunError> {
        Ok(())
    }
}

/// A search of single cells.
pub struct CellSearch<'a> {
    /// What to do.
    pub config: &'a SearchConfig,
    /// The ranks that share the cells.
    pub world: &'a World,
    /// On what cells are trained and scored.
    pub data: CellData,
    /// When to stop early.
    pub stop: StopSignal,
    /// Who records it.
    pub observer: &'a mut dyn CellObserver,
}

/// What one rank trains and scores cells on.
pub struct CellData {
    /// This rank, alone.
    world: World,
    data: TrainData,
}

/// Why a search of single cells cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum CellSearchError {
    /// Limits that a random cell hardly ever meets.
    #[error("{NO_CELLS}")]
    NoCells,
    /// The images.
    #[error(transparent)]
    Data(#[from] SearchDataError),
    /// The device.
    #[error(transparent)]
    World(#[from] WorldError),
    /// Records that are not of this search.
    #[error(
        "cell {number} in metrics.jsonl is not the one that this search makes there: restore the file, or start a new run"
    )]
    OtherCells {
        /// From 1.
        number: usize,
    },
}

/// How a search of single cells ended.
pub enum CellSearchEnd {
    /// By a signal; the cells so far are recorded.
    Stopped {
        /// The signal's number.
        signal: Signal,
        /// In their order.
        records: Vec<CellRecord>,
    },
    /// With all cells.
    Complete(Vec<CellRecord>),
}

impl CellData {
    /// Loads what `config` names, on this rank of `world`.
    ///
    /// # Errors
    /// Missing or damaged data, a configuration that does not fit it, and limits that hardly any cell is within.
    pub fn load(config: &SearchConfig, world: &World) -> Result<Self, CellSearchError> {
        let first = Proposals::new(config).next(0, &[]).ok_or(CellSearchError::NoCells)?;
        let alone = match world.size {
            1 => world.clone(),
            _ => World::new(Ranks::alone(), world.device, world.threads, CommunicatorChoice::Auto)?,
        };
        let mut training = config.evaluation_config();
        if config.evaluation.candidates == 1 {
            // Nothing is trained: whatever the images are, they are enough.
            training.train.global_batch = 2;
        }
        let data = TrainData::load(&training, &first.genotype, &alone).map_err(in_keys_of_searches)?;
        Ok(Self { world: alone, data })
    }

    /// See [`TrainData::data_identity`].
    pub fn data_identity(&self) -> &DataIdentity {
        &self.data.data_identity
    }
}

/// The training's keys are those of `[evaluation]` here.
fn in_keys_of_searches(error: SearchDataError) -> SearchDataError {
    match error {
        SearchDataError::Config(ConfigError::Violation(violation)) => {
            let rename = |text: &str| text.replace("train.global_batch", "evaluation.global_batch");
            let violation = Violation { key: rename(&violation.key), message: rename(&violation.message) };
            SearchDataError::Config(violation.into())
        }
        error => error,
    }
}

/// Checks that `records` are the first cells of the search that `config` states.
///
/// # Errors
/// [`CellSearchError::OtherCells`].
pub fn check_records(config: &SearchConfig, records: &[CellRecord]) -> Result<(), CellSearchError> {
    let proposals = Proposals::new(config);
    for (index, record) in records.iter().enumerate() {
        let number = index + 1;
        let expected = proposals.next(index, &records[..index]).ok_or(CellSearchError::NoCells)?;
        let is_it = record.number == number
            && index < config.evaluation.candidates
            && record.genotype == expected.genotype
            && record.parent == expected.parent;
        if !is_it {
            return Err(CellSearchError::OtherCells { number });
        }
    }
    Ok(())
}

impl CellSearch<'_> {
    /// Runs the search on from the cells in `records`, to its end or to a stop signal. All ranks call this together.
    ///
    /// # Errors
    /// When loading, libtorch or recording fails. A cell whose training diverges is recorded as such.
    pub fn run(mut self, mut records: Vec<CellRecord>) -> Result<CellSearchEnd, TrainError> {
        let proposals = Proposals::new(self.config);
        let num_cells = self.config.evaluation.candidates;
        while records.len() < num_cells {
            if let Some(signal) = self.stop.agreed(self.world)? {
                return Ok(CellSearchEnd::Stopped { signal, records });
            }
            let Some(round) = self.next_round(&proposals, &records) else {
                return Err(TrainError::NoCells);
            };
            if let Some(signal) = self.evaluate_round(round, &mut records)? {
                return Ok(CellSearchEnd::Stopped { signal, records });
            }
        }
        Ok(CellSearchEnd::Complete(records))
    }

    /// The next cells, as many as the ranks can train at a time; cells that were trained before come with them.
    fn next_round(&self, proposals: &Proposals, records: &[CellRecord]) -> Option<Vec<Planned>> {
        let end = proposals.end_of_generation(records.len()).min(self.config.evaluation.candidates);
        let mut round: Vec<Planned> = Vec::new();
        let mut num_trained = 0;
        for index in records.len()..end {
            let Proposal { genotype, parent } = proposals.next(index, records)?;
            let earlier = records.iter().position(|record| record.genotype == genotype);
            let in_round = || round.iter().position(|planned| planned.genotype == genotype);
            let same_as = earlier.or_else(|| in_round().map(|position| records.len() + position));
            let rank = same_as.is_none().then_some(num_trained);
            if rank == Some(self.world.size) {
                break;
            }
            num_trained += usize::from(rank.is_some());
            round.push(Planned { genotype, parent, same_as, rank });
        }
        Some(round)
    }

    /// Trains the cells of `round`, each on its rank, and records them. Returns the signal that cut it short.
    fn evaluate_round(
        &mut self,
        round: Vec<Planned>,
        records: &mut Vec<CellRecord>,
    ) -> Result<Option<Signal>, TrainError> {
        let is_only_one = self.config.evaluation.candidates == 1;
        let own = round.iter().find(|planned| planned.rank == Some(self.world.rank)).filter(|_| !is_only_one);
        let config = self.config.evaluation_config();
        let own = own.map(|planned| self.data.evaluate(&config, &planned.genotype, &self.stop)).transpose()?;
        let _span = activity::phase("waiting for the cells of other ranks");
        let outcomes = self.world.gather(&own, Label::new("exchange of evaluated cells"))?;
        let limits = self.config.cost_limits();
        for Planned { genotype, parent, same_as, rank } in round {
            let evaluation = match (rank.and_then(|rank| outcomes[rank].clone()), same_as) {
                (Some(Outcome::Stopped(signal)), _) => return Ok(Some(signal)),
                (Some(Outcome::Evaluated(evaluation)), _) => evaluation,
                (None, Some(earlier)) => Evaluation { seconds: 0.0, ..records[earlier].evaluation.clone() },
                (None, None) => Evaluation::default(),
            };
            let record = CellRecord::new(records.len() + 1, genotype, parent, same_as, &limits.shape, evaluation);
            self.observer.cell(&record)?;
            records.push(record);
        }
        Ok(None)
    }
}

/// A cell that is to be evaluated.
struct Planned {
    genotype: Genotype,
    /// Index of the cell that it descends from.
    parent: Option<usize>,
    /// Index of the same cell, evaluated before.
    same_as: Option<usize>,
    /// That is to train it.
    rank: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DeviceChoice, Settings};
    use crate::genotype::Operation;
    use crate::trainer::Silent;

    #[test]
    fn limits_that_no_further_cell_is_within_end_the_search_by_name() {
        let images = ["data.dataset=photodigits", "data.limit=40", "search.strategy=random", "evaluation.candidates=1"]
            .map(str::to_owned);
        let mut config = SearchConfig::from_overrides(&images).unwrap();
        let world = World::single(DeviceChoice::Cpu, 1).unwrap();
        let data = CellData::load(&config, &world).unwrap();
        // As after a first cell that few others are like.
        (config.search.operations, config.search.max_skip_connects) = (vec![Operation::SkipConnect], 0);
        let (stop, observer) = (StopSignal::default(), &mut Silent);
        let search = CellSearch { config: &config, world: &world, data, stop, observer };
        let error = search.run(Vec::new()).err().unwrap().to_string();
        assert!(error.contains("none was within search.max_parameters") && error.contains("raise them"), "{error}");
    }
}
