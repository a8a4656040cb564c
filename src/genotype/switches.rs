//! Which operations are still live on each edge, and how a stage of the search drops some.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 3.2.

use serde::{Deserialize, Serialize};

use super::alphas::{Alphas, CellAlphas};
use super::cell::{CellKind, NUM_EDGES};
use super::error::GenotypeError;
use super::operation::Operation;

/// The live operations of each edge of one cell, in search-space order.
///
/// Every edge has at least one; an edge's alphas stand in the same order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<Operation>>", into = "Vec<Vec<Operation>>")]
pub struct CellSwitches(Vec<Vec<Operation>>);

impl CellSwitches {
    /// The same operations on every edge, in any order.
    ///
    /// # Errors
    /// [`GenotypeError::InvalidSwitches`] if there are none or one is named twice.
    pub fn full(operations: &[Operation]) -> Result<Self, GenotypeError> {
        let mut live = operations.to_vec();
        live.sort_unstable();
        vec![live; NUM_EDGES].try_into()
    }

    /// From one row of on/off switches per edge, in the order of [`Operation::SEARCH_SPACE`].
    ///
    /// # Errors
    /// [`GenotypeError::InvalidSwitches`] if there are not 14 rows or a row is all off.
    pub fn from_mask(mask: &[[bool; Operation::SEARCH_SPACE.len()]]) -> Result<Self, GenotypeError> {
        let live_in = |row: &[bool; Operation::SEARCH_SPACE.len()]| {
            let switched = Operation::SEARCH_SPACE.into_iter().zip(row);
            switched.filter(|(_, on)| **on).map(|(op, _)| op).collect()
        };
        mask.iter().map(live_in).collect::<Vec<_>>().try_into()
    }

    /// The live operations of the edge with this index (`0..NUM_EDGES`), in search-space order.
    pub fn live(&self, edge: usize) -> &[Operation] {
        &self.0[edge]
    }

    /// The live operations of all edges, in order of their index.
    pub fn iter(&self) -> impl Iterator<Item = &[Operation]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Keeps the `keep` strongest operations of each edge; `alphas` fit these switches.
    fn keep_strongest(
        &self,
        cell: CellKind,
        alphas: &CellAlphas,
        keep: usize,
        drop_none_first: bool,
    ) -> Result<Self, GenotypeError> {
        let mut kept = Vec::with_capacity(NUM_EDGES);
        for (edge, (live, alphas)) in self.0.iter().zip(alphas).enumerate() {
            if !(1..=live.len()).contains(&keep) {
                let live = live.len();
                return Err(GenotypeError::Keep { cell, edge, keep, live });
            }
            // Softmax keeps the order, so the alphas themselves rank the operations of an edge.
            let strength = |&position: &usize| match live[position] {
                Operation::None if drop_none_first => f64::NEG_INFINITY,
                _ => alphas[position],
            };
            let mut weakest_first: Vec<usize> = (0..live.len()).collect();
            weakest_first.sort_by(|a, b| strength(a).total_cmp(&strength(b)));
            let mut strongest: Vec<Operation> =
                weakest_first[live.len() - keep..].iter().map(|&position| live[position]).collect();
            strongest.sort_unstable();
            kept.push(strongest);
        }
        Ok(CellSwitches(kept))
    }
}

impl TryFrom<Vec<Vec<Operation>>> for CellSwitches {
    type Error = GenotypeError;

    /// One list of live operations per edge, each in search-space order.
    fn try_from(live: Vec<Vec<Operation>>) -> Result<Self, Self::Error> {
        let invalid = |problem| Err(GenotypeError::InvalidSwitches(problem));
        if live.len() != NUM_EDGES {
            return invalid(format!("expected {NUM_EDGES} edges, found {}", live.len()));
        }
        for (edge, operations) in live.iter().enumerate() {
            if operations.is_empty() {
                return invalid(format!("edge {edge} has none (at least 1 must be live)"));
            }
            if let Some(pair) = operations.windows(2).find(|pair| pair[0] >= pair[1]) {
                return invalid(format!(
                    "edge {edge} names `{}` after `{}` (each once, in search-space order)",
                    pair[1], pair[0]
                ));
            }
        }
        Ok(CellSwitches(live))
    }
}

impl From<CellSwitches> for Vec<Vec<Operation>> {
    fn from(switches: CellSwitches) -> Self {
        switches.0
    }
}

/// The live operations of both cells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// Of the normal cells.
    pub normal: CellSwitches,
    /// Of the reduction cells.
    pub reduction: CellSwitches,
}

impl Switches {
    /// The same operations on every edge of both cells: the start of a search.
    ///
    /// # Errors
    /// [`GenotypeError::InvalidSwitches`] if there are none or one is named twice.
    pub fn full(operations: &[Operation]) -> Result<Self, GenotypeError> {
        let cell = CellSwitches::full(operations)?;
        Ok(Switches { normal: cell.clone(), reduction: cell })
    }

    /// Those of one cell.
    pub fn cell(&self, kind: CellKind) -> &CellSwitches {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduction => &self.reduction,
        }
    }

    /// Ends a stage: keeps the `keep` most probable operations of each edge. With
    /// `drop_none_first` (the last stage) `none` goes before any other.
    ///
    /// Of equally probable operations the earlier in search-space order is dropped first.
    ///
    /// # Errors
    /// [`GenotypeError::InvalidAlphas`] if the alphas do not fit these switches or are not
    /// finite; [`GenotypeError::Keep`] if an edge has fewer than `keep` operations or `keep` is 0.
    ///
    /// Source: P-DARTS, section 3.2; the order in which `none` goes is that of its authors' code.
    pub fn drop_weakest(&self, alphas: &Alphas, keep: usize, drop_none_first: bool) -> Result<Switches, GenotypeError> {
        alphas.check(self)?;
        let keep_strongest = |kind| self.cell(kind).keep_strongest(kind, alphas.cell(kind), keep, drop_none_first);
        Ok(Switches { normal: keep_strongest(CellKind::Normal)?, reduction: keep_strongest(CellKind::Reduction)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(edge: &[f64]) -> Alphas {
        let cell = vec![edge.to_vec(); NUM_EDGES];
        Alphas { normal: cell.clone(), reduction: cell, betas: None }
    }

    #[test]
    fn weakest_operations_go_and_the_rest_keep_their_order() {
        let operations = [Operation::MaxPool3x3, Operation::SkipConnect, Operation::SepConv3x3];
        let switches = Switches::full(&operations).unwrap();
        let kept = switches.drop_weakest(&uniform(&[0.5, -1.0, 0.1]), 2, false).unwrap();
        let expected = [Operation::MaxPool3x3, Operation::SepConv3x3];
        assert!(kept.reduction.iter().all(|live| live == expected));
    }

    #[test]
    fn of_equal_operations_the_earlier_goes() {
        let switches = Switches::full(&Operation::SEARCH_SPACE).unwrap();
        let kept = switches.drop_weakest(&uniform(&[0.0; 8]), 5, false).unwrap();
        assert_eq!(kept.normal.live(0), &Operation::SEARCH_SPACE[3..]);
    }

    #[test]
    fn last_stage_drops_none_although_it_is_strongest() {
        let operations = [Operation::None, Operation::SkipConnect, Operation::SepConv3x3];
        let switches = Switches::full(&operations).unwrap();
        let alphas = uniform(&[2.0, 1.0, 0.0]);
        let live = |last| switches.drop_weakest(&alphas, 1, last).unwrap().normal.live(0).to_vec();
        assert_eq!(live(true), [Operation::SkipConnect]);
        assert_eq!(live(false), [Operation::None]);
    }

    #[test]
    fn keeping_more_than_there_is_or_nothing_is_refused() {
        let switches = Switches::full(&[Operation::SkipConnect, Operation::SepConv3x3]).unwrap();
        for keep in [0, 3] {
            let error = switches.drop_weakest(&uniform(&[0.0, 0.0]), keep, false).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("edge 0 of the normal cell has 2 live operations: cannot keep {keep} (keep 1 to 2)")
            );
        }
    }

    #[test]
    fn operations_may_be_given_in_any_order_but_only_once() {
        let forward = [Operation::SkipConnect, Operation::SepConv3x3];
        let backward = [Operation::SepConv3x3, Operation::SkipConnect];
        assert_eq!(Switches::full(&forward).unwrap(), Switches::full(&backward).unwrap());
        let error = Switches::full(&[Operation::SkipConnect; 2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "live operations of a cell: edge 0 names `skip_connect` after `skip_connect` (each once, in search-space order)"
        );
    }

    #[test]
    fn edge_without_live_operations_and_missing_edges_are_refused() {
        let mut mask = [[true; 8]; NUM_EDGES];
        mask[4] = [false; 8];
        let error = CellSwitches::from_mask(&mask).unwrap_err().to_string();
        assert!(error.contains("edge 4 has none"), "{error}");
        let error = CellSwitches::from_mask(&mask[..4]).unwrap_err().to_string();
        assert!(error.contains("expected 14 edges, found 4"), "{error}");
    }

    #[test]
    fn switches_read_back_what_they_wrote() {
        let switches = Switches::full(&Operation::SEARCH_SPACE).unwrap();
        let json = serde_json::to_string(&switches).unwrap();
        assert_eq!(serde_json::from_str::<Switches>(&json).unwrap(), switches);
    }
}
