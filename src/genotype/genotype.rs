//! A genotype: the two cells a search has decided on, and what makes them valid.
//!
//! As JSON it has the fields of the authors' `Genotype` tuple, each edge a pair
//! `["sep_conv_3x3", 0]`; the Python text is read and written in [`super::text`].

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::cell::{CellKind, NUM_INPUTS, NUM_NODES};
use super::error::GenotypeError;
use super::operation::Operation;
use super::text;

/// Edges that a derived cell keeps for each node.
pub const EDGES_PER_NODE: usize = 2;

/// The normal and the reduction cell of a network.
///
/// Edges come in pairs: edges `2 * i` and `2 * i + 1` end in node `i`, each an operation and the
/// state it reads. Cells have as many nodes as they have pairs: 4 when found by this search, 5 in
/// some published cells.
///
/// A network can be built from every value of this type: edges come two per node, each with an
/// operation other than `none` that reads an earlier state; a cell outputs distinct nodes. It is
/// made by derivation or by reading text, which checks this. Field names are those of the
/// authors' code.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Genotype {
    /// Edges of the normal cell.
    pub(super) normal: Vec<(Operation, usize)>,
    /// States that the normal cell's output concatenates, in this order.
    pub(super) normal_concat: Vec<usize>,
    /// Edges of the reduction cell.
    pub(super) reduce: Vec<(Operation, usize)>,
    /// States that the reduction cell's output concatenates, in this order.
    pub(super) reduce_concat: Vec<usize>,
}

impl Genotype {
    /// Cells of this search space, whose output concatenates all of their four nodes; two edges a node, from earlier states.
    pub(crate) fn of_edges(normal: Vec<(Operation, usize)>, reduce: Vec<(Operation, usize)>) -> Self {
        let states: Vec<usize> = (NUM_INPUTS..NUM_INPUTS + NUM_NODES).collect();
        Genotype { normal, normal_concat: states.clone(), reduce, reduce_concat: states }
    }

    /// The edges of one cell.
    pub fn edges(&self, kind: CellKind) -> &[(Operation, usize)] {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduction => &self.reduce,
        }
    }

    /// The states that one cell's output concatenates.
    pub fn concat(&self, kind: CellKind) -> &[usize] {
        match kind {
            CellKind::Normal => &self.normal_concat,
            CellKind::Reduction => &self.reduce_concat,
        }
    }

    /// How many edges of the normal cell are `skip_connect`.
    pub fn skip_connects(&self) -> usize {
        let is_skip = |(operation, _): &&(Operation, usize)| *operation == Operation::SkipConnect;
        self.normal.iter().filter(is_skip).count()
    }
}

/// Says what keeps a cell of these edges and this output from being built.
fn check_cell(edges: &[(Operation, usize)], concat: &[usize]) -> Result<(), String> {
    let num_edges = edges.len();
    if num_edges == 0 || !num_edges.is_multiple_of(EDGES_PER_NODE) {
        return Err(format!("{num_edges} edges (expected {EDGES_PER_NODE} for each node)"));
    }
    for (index, &(operation, source)) in edges.iter().enumerate() {
        let state = NUM_INPUTS + index / EDGES_PER_NODE;
        if source >= state {
            return Err(format!(
                "edge {index} (`{operation}`) feeds state {state} from state {source} (expected a state before {state})"
            ));
        }
        if operation == Operation::None {
            return Err(format!("edge {index} is `none`, which a derived cell cannot use"));
        }
    }
    let states = NUM_INPUTS..NUM_INPUTS + num_edges / EDGES_PER_NODE;
    if concat.is_empty() {
        return Err("its output concatenates no state".to_owned());
    }
    for (position, state) in concat.iter().enumerate() {
        if !states.contains(state) {
            return Err(format!(
                "its output concatenates state {state} (its nodes are states {} to {})",
                states.start,
                states.end - 1
            ));
        }
        if concat[..position].contains(state) {
            return Err(format!("its output concatenates state {state} twice"));
        }
    }
    Ok(())
}

/// The fields of a genotype as they stand in a text, before they are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    pub normal: Vec<(Operation, usize)>,
    pub normal_concat: Vec<usize>,
    pub reduce: Vec<(Operation, usize)>,
    pub reduce_concat: Vec<usize>,
}

impl TryFrom<Fields> for Genotype {
    type Error = GenotypeError;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let genotype = Genotype {
            normal: fields.normal,
            normal_concat: fields.normal_concat,
            reduce: fields.reduce,
            reduce_concat: fields.reduce_concat,
        };
        for cell in CellKind::ALL {
            check_cell(genotype.edges(cell), genotype.concat(cell))
                .map_err(|problem| GenotypeError::InvalidCell { cell, problem })?;
        }
        Ok(genotype)
    }
}

impl FromStr for Genotype {
    type Err = GenotypeError;

    /// Reads the one genotype of a text, in any of the forms that [`text`] knows.
    ///
    /// # Errors
    /// Those of [`text::read_cell`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text::read_cell(text, None)?.genotype)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_cell() -> impl Strategy<Value = (Vec<(Operation, usize)>, Vec<usize>)> {
        (1usize..=6).prop_flat_map(|num_nodes| {
            let operations = prop::sample::select(&Operation::ALL[1..]);
            let edges: Vec<_> =
                (0..2 * num_nodes).map(|index| (operations.clone(), 0..NUM_INPUTS + index / 2)).collect();
            let states: Vec<usize> = (NUM_INPUTS..NUM_INPUTS + num_nodes).collect();
            let concat = prop::sample::subsequence(states, 1..=num_nodes).prop_shuffle();
            (edges, concat)
        })
    }

    prop_compose! {
        /// Any genotype that is valid.
        pub fn any_genotype()(
            (normal, normal_concat) in any_cell(),
            (reduce, reduce_concat) in any_cell(),
        ) -> Genotype {
            Genotype { normal, normal_concat, reduce, reduce_concat }
        }
    }

    proptest! {
        #[test]
        fn json_reads_back_what_it_wrote(genotype in any_genotype()) {
            let json = serde_json::to_string(&genotype).unwrap();
            prop_assert_eq!(json.parse::<Genotype>().unwrap(), genotype);
        }
    }

    /// One node per cell, with `normal` as the edges of the normal cell.
    fn problem_of(normal: &str, normal_concat: &str) -> String {
        let json = format!(
            r#"{{"normal": {normal}, "normal_concat": {normal_concat},
                "reduce": [["max_pool_3x3", 0], ["skip_connect", 1]], "reduce_concat": [2]}}"#
        );
        json.parse::<Genotype>().unwrap_err().to_string()
    }

    #[test]
    fn edge_from_a_later_state_is_refused() {
        assert_eq!(
            problem_of(r#"[["sep_conv_3x3", 0], ["skip_connect", 2]]"#, "[2]"),
            "normal cell: edge 1 (`skip_connect`) feeds state 2 from state 2 (expected a state before 2)"
        );
    }

    #[test]
    fn cell_with_half_a_node_is_refused() {
        assert_eq!(problem_of(r#"[["sep_conv_3x3", 0]]"#, "[2]"), "normal cell: 1 edges (expected 2 for each node)");
    }

    #[test]
    fn none_is_refused_as_an_operation_of_a_derived_cell() {
        let problem = problem_of(r#"[["none", 0], ["skip_connect", 1]]"#, "[2]");
        assert!(problem.contains("edge 0 is `none`"), "{problem}");
    }

    #[test]
    fn output_of_input_missing_or_repeated_states_is_refused() {
        let edges = r#"[["sep_conv_3x3", 0], ["skip_connect", 1]]"#;
        assert!(problem_of(edges, "[]").ends_with("concatenates no state"));
        assert!(problem_of(edges, "[1]").ends_with("state 1 (its nodes are states 2 to 2)"));
        assert!(problem_of(edges, "[2, 2]").ends_with("state 2 twice"));
    }

    #[test]
    fn unknown_operation_in_json_is_reported_with_its_place() {
        let problem = problem_of(r#"[["sep_conv_3x", 0], ["skip_connect", 1]]"#, "[2]");
        assert!(problem.contains("did you mean `sep_conv_3x3`?"), "{problem}");
        assert!(problem.contains("line 1"), "{problem}");
    }
}
