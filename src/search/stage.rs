//! The stages of a progressive search as pure data: depth, operations, dropout.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 3.2 and table 1 of the authors' settings.

use crate::config::SearchSection;

/// One stage: a supernet of some depth with the operations that the stages before it left.
#[derive(Clone, Debug)]
pub struct Stage {
    /// From 0.
    pub index: usize,
    /// Cells of the supernet.
    pub num_cells: usize,
    /// Live operations of an edge at its start.
    pub num_operations: usize,
    /// Live operations of an edge after it.
    pub keep: usize,
    /// Dropout on skip connections at its start.
    pub skip_dropout: f64,
}

impl Stage {
    /// The stages of `config` in their order; each starts with what the one before kept.
    pub fn sequence(config: &SearchSection) -> Vec<Stage> {
        let kept = config.stages.iter().map(|stage| stage.keep);
        let starts = std::iter::once(config.operations.len()).chain(kept);
        let stages = config.stages.iter().zip(starts).enumerate();
        stages
            .map(|(index, (stage, num_operations))| Stage {
                index,
                num_cells: stage.cells,
                num_operations,
                keep: stage.keep,
                skip_dropout: stage.skip_dropout,
            })
            .collect()
    }
}
