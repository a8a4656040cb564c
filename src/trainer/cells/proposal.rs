//! Which cell is evaluated next: a function of the seed and of the cells so far.

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::record::{CellRecord, best_of};
use crate::config::{EvolutionSection, SearchConfig, StrategyName};
use crate::genotype::{CellSpace, Genotype};
use crate::trainer::derive_seed;

/// A cell to evaluate.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The cell.
    pub genotype: Genotype,
    /// Number of the cell that it descends from, from 1.
    pub parent: Option<usize>,
}

/// The cells of a search, one after the other.
pub struct Proposals {
    space: CellSpace,
    seed: u64,
    /// None of random search.
    evolution: Option<EvolutionSection>,
}

impl Proposals {
    /// Those of the search that `config` states.
    pub fn new(config: &SearchConfig) -> Self {
        let is_evolution = config.search.strategy == StrategyName::Evolution;
        Self {
            space: config.cell_space(),
            seed: config.run.seed,
            evolution: is_evolution.then(|| config.evolution.clone()),
        }
    }

    /// The end of the cells, from 0, that are made with cell `index`, before any of them is evaluated.
    pub fn end_of_generation(&self, index: usize) -> usize {
        match &self.evolution {
            None => usize::MAX,
            Some(evolution) if index < evolution.population => evolution.population,
            Some(evolution) => self.start_of_generation(index, evolution) + evolution.generation,
        }
    }

    fn start_of_generation(&self, index: usize, evolution: &EvolutionSection) -> usize {
        index - (index - evolution.population) % evolution.generation
    }

    /// Cell `index`, from 0, after the cells in `records`, which reach up to its generation at least; nothing if hardly any
    /// cell is within the limits.
    pub fn next(&self, index: usize, records: &[CellRecord]) -> Option<Proposal> {
        let mut random = ChaCha8Rng::seed_from_u64(derive_seed(self.seed, "cell", &[index as u64]) as u64);
        match &self.evolution {
            Some(evolution) if index >= evolution.population => {
                let known = &records[..self.start_of_generation(index, evolution)];
                let alive = &known[known.len() - evolution.population..];
                let drawn = index::sample(&mut random, alive.len(), evolution.tournament);
                let mut drawn: Vec<usize> = drawn.into_iter().collect();
                drawn.sort_unstable();
                let parent = best_of(drawn.into_iter().map(|index| &alive[index]))?;
                let genotype = self.space.mutate(&parent.genotype, &mut random);
                Some(Proposal { genotype, parent: Some(parent.number) })
            }
            _ => Some(Proposal { genotype: self.space.draw(&mut random)?, parent: None }),
        }
    }
}
