//! What can be wrong with a genotype, with switches or with alphas, each in one line.

use super::cell::CellKind;
use super::operation::Operation;

/// An error of the `genotype` module.
#[derive(Debug, thiserror::Error)]
pub enum GenotypeError {
    /// A name that is not among the known ones.
    #[error("unknown {what} `{name}`;{} known: {known}", did_you_mean(nearest))]
    UnknownName {
        /// What was looked up, such as `operation`.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The known name most like it, if any is.
        nearest: Option<String>,
        /// All known names, separated by commas.
        known: String,
    },
    /// A text in which a cell is written wrongly.
    #[error("genotype text, line {line}, column {column}: {problem}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What was expected and what stands there.
        problem: String,
    },
    /// No text at all.
    #[error("it is {found}, not a text with a cell")]
    NotText {
        /// What it looks like.
        found: &'static str,
    },
    /// A text without a cell.
    #[error("no cell in it: {found}; {forms}")]
    NoCell {
        /// What is there instead.
        found: String,
        /// The forms that are read.
        forms: &'static str,
    },
    /// A text that would take too long to look through.
    #[error("it has {found}: give a shorter text, with the cell alone")]
    TooMuch {
        /// What there is too much of.
        found: &'static str,
    },
    /// A text with several cells, of which none was chosen.
    #[error("it has several cells: {listed}; choose one by its name or number behind a colon, as in FILE:NAME")]
    SeveralCells {
        /// Their numbers, names and lines.
        listed: String,
    },
    /// A choice that names none of a text's cells.
    #[error("it has no cell `{choice}`; it has {listed}")]
    NoSuchCell {
        /// What was asked for.
        choice: String,
        /// Numbers, names and lines of those it has.
        listed: String,
    },
    /// Embedded JSON that is not what it should be.
    #[error("genotype JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A cell of a genotype that no network can be built from.
    #[error("{cell} cell: {problem}")]
    InvalidCell {
        /// The cell.
        cell: CellKind,
        /// What is wrong, where, and what would be right.
        problem: String,
    },
    /// Live operations that are no choice: none on an edge, twice the same, or not 14 edges.
    #[error("live operations of a cell: {0}")]
    InvalidSwitches(String),
    /// Alphas that do not belong to the switches, or are not finite.
    #[error("alphas of the {cell} cell: {problem}")]
    InvalidAlphas {
        /// The cell.
        cell: CellKind,
        /// What is wrong and where.
        problem: String,
    },
    /// A stage that is to keep more operations than it has, or none.
    #[error("edge {edge} of the {cell} cell has {live} live operations: cannot keep {keep} (keep 1 to {live})")]
    Keep {
        /// The cell.
        cell: CellKind,
        /// The edge's index.
        edge: usize,
        /// Operations to keep.
        keep: usize,
        /// Operations live.
        live: usize,
    },
    /// An edge without an operation that a final cell could use.
    #[error(
        "edge {edge} of the {cell} cell has only `{}` left: no cell can be derived (keep more operations in the earlier stages)",
        Operation::None
    )]
    OnlyNone {
        /// The cell.
        cell: CellKind,
        /// The edge's index.
        edge: usize,
    },
}

impl GenotypeError {
    /// The error for `name`, with the nearest of the `known` names.
    pub(super) fn unknown_name<'a>(what: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        /// A longer name is no slip for a known one.
        const LONGEST: usize = 100;
        let known: Vec<&str> = known.into_iter().collect();
        let nearest = known
            .iter()
            .filter(|_| name.len() <= LONGEST)
            .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
            .min()
            // Further away than a third of the name is another word, not a slip.
            .filter(|(distance, candidate)| 3 * distance <= candidate.len())
            .map(|(_, candidate)| candidate.to_owned());
        GenotypeError::UnknownName { what, name: name.to_owned(), nearest, known: known.join(", ") }
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!(" did you mean `{name}`?"))
}
