//! Cells at random, and cells that differ in one place: what searches that train single cells choose among.
//!
//! A node has two different earlier states as sources, each with any operation but `none`: these are the cells that a
//! search of alphas can derive. Sources: Li and Talwalkar (arXiv:1902.07638); mutations of Real et al. (arXiv:1802.01548),
//! section 3.2, in this space.

use rand::Rng;
use rand::seq::index;

use super::cell::{CellKind, NUM_INPUTS, NUM_NODES};
use super::genotype::{EDGES_PER_NODE, Genotype};
use super::limits::CostLimits;
use super::operation::Operation;

/// Draws after which a limit counts as one that hardly any cell meets.
const MAX_DRAWS: usize = 100_000;
/// Of a mutation that changes nothing. Source: Real et al.
const IDENTITY: f64 = 0.05;

/// The cells that may be drawn.
#[derive(Clone, Debug)]
pub struct CellSpace {
    /// Without `none`.
    operations: Vec<Operation>,
    max_skip_connects: usize,
    limits: CostLimits,
}

impl CellSpace {
    /// Cells of `operations` that are within `limits`, with at most `max_skip_connects` in the normal cell.
    pub fn new(operations: &[Operation], max_skip_connects: usize, limits: CostLimits) -> Self {
        let operations = operations.iter().copied().filter(|operation| *operation != Operation::None).collect();
        Self { operations, max_skip_connects, limits }
    }

    /// A cell, all being as likely; nothing if hardly any is within the limits.
    pub fn draw(&self, random: &mut impl Rng) -> Option<Genotype> {
        (0..MAX_DRAWS).find_map(|_| {
            let [normal, reduction] = CellKind::ALL.map(|_| self.draw_cell(random));
            Some(Genotype::of_edges(normal, reduction)).filter(|cell| self.holds(cell))
        })
    }

    /// A cell that differs from `parent` in an operation or in a source, rarely in nothing; `parent` itself if hardly any
    /// such cell is within the limits.
    pub fn mutate(&self, parent: &Genotype, random: &mut impl Rng) -> Genotype {
        if random.random_bool(IDENTITY) {
            return parent.clone();
        }
        let mut mutants = (0..MAX_DRAWS).filter_map(|_| self.mutant(parent, random));
        mutants.find(|cell| self.holds(cell)).unwrap_or_else(|| parent.clone())
    }

    fn holds(&self, cell: &Genotype) -> bool {
        cell.skip_connects() <= self.max_skip_connects && (self.limits.are_open() || self.limits.allow_cell(cell))
    }

    fn draw_cell(&self, random: &mut impl Rng) -> Vec<(Operation, usize)> {
        let mut cell = Vec::new();
        for node in 0..NUM_NODES {
            let mut sources = index::sample(random, NUM_INPUTS + node, EDGES_PER_NODE).into_vec();
            sources.sort_unstable();
            for source in sources {
                cell.push((self.operations[random.random_range(0..self.operations.len())], source));
            }
        }
        cell
    }

    /// `None` where the place that was drawn has no alternative.
    fn mutant(&self, parent: &Genotype, random: &mut impl Rng) -> Option<Genotype> {
        let mut cells = CellKind::ALL.map(|kind| parent.edges(kind).to_vec());
        let cell = &mut cells[random.random_range(0..CellKind::ALL.len())];
        let edge = random.random_range(0..cell.len());
        let pair = edge / EDGES_PER_NODE * EDGES_PER_NODE..(edge / EDGES_PER_NODE + 1) * EDGES_PER_NODE;
        if random.random_bool(0.5) {
            let others: Vec<Operation> =
                self.operations.iter().copied().filter(|other| *other != cell[edge].0).collect();
            let index = (!others.is_empty()).then(|| random.random_range(0..others.len()))?;
            cell[edge].0 = others[index];
        } else {
            let is_free = |source: &usize| cell[pair.clone()].iter().all(|(_, taken)| taken != source);
            let free: Vec<usize> = (0..NUM_INPUTS + edge / EDGES_PER_NODE).filter(is_free).collect();
            let index = (!free.is_empty()).then(|| random.random_range(0..free.len()))?;
            cell[edge].1 = free[index];
            cell[pair].sort_by_key(|(_, source)| *source);
        }
        let [normal, reduction] = cells;
        Some(Genotype::of_edges(normal, reduction))
    }
}
