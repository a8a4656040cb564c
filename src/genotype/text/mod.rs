//! Cells as texts of other programs: what people print, log, save and paste.
//!
//! One reader for all places that take a cell. It knows Python's literals and JSON (`value`), what a cell looks like
//! in them (`cells`, and of NNI's exports `nni`), and where cells stand in a log or a `genotypes.py` (`find`).

mod cells;
mod decode;
mod find;
mod nni;
mod print;
mod value;

pub use decode::decode;
use find::{FoundCell, find_cells};

use super::error::GenotypeError;
use super::genotype::Genotype;

/// The forms that are read, for messages.
pub(super) const FORMS: &str = "read are the Python text Genotype(normal=[('sep_conv_3x3', 0), ...], \
    normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6)), the same as JSON or a Python dict, a log or a \
    genotypes.py with such texts, and the architectures of NNI's DARTS";

/// The cell in `text` that `choice` names, or the only one.
///
/// `choice` is the name that the cell has in the text, `last`, or its number from 1.
///
/// # Errors
/// [`GenotypeError::Syntax`], [`GenotypeError::InvalidCell`] or [`GenotypeError::NoCell`] when there is no cell that can
/// be read, [`GenotypeError::SeveralCells`] when there are several and none is chosen, [`GenotypeError::NoSuchCell`]
/// when the choice names none.
pub fn read_cell(text: &str, choice: Option<&str>) -> Result<NamedCell, GenotypeError> {
    let mut cells = find_cells(text)?;
    let index = match choice {
        Some(choice) => chosen(&cells, choice)?,
        None if are_the_same(cells.iter()) => 0,
        None => return Err(GenotypeError::SeveralCells { listed: listed(&cells) }),
    };
    let FoundCell { name, genotype, .. } = cells.swap_remove(index);
    Ok(NamedCell { genotype: genotype?, name })
}

/// A cell and what its text calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedCell {
    /// The variable or the key that it is assigned to, if there is one.
    pub name: Option<String>,
    /// The cell.
    pub genotype: Genotype,
}

fn are_the_same<'a>(mut cells: impl ExactSizeIterator<Item = &'a FoundCell>) -> bool {
    let is_one = cells.len() == 1;
    let first = cells.next().and_then(|cell| cell.genotype.as_ref().ok());
    is_one || first.is_some_and(|first| cells.all(|cell| cell.genotype.as_ref().is_ok_and(|other| other == first)))
}

fn chosen(cells: &[FoundCell], choice: &str) -> Result<usize, GenotypeError> {
    let named: Vec<usize> = (0..cells.len()).filter(|&index| cells[index].name.as_deref() == Some(choice)).collect();
    match (named.as_slice(), choice.parse::<usize>()) {
        ([first, ..], _) if are_the_same(named.iter().map(|&index| &cells[index])) => Ok(*first),
        // A log that repeats a name has to be asked by number.
        ([_, ..], _) => Err(GenotypeError::SeveralCells { listed: listed(cells) }),
        ([], Ok(number)) if (1..=cells.len()).contains(&number) => Ok(number - 1),
        ([], _) if choice == "last" => Ok(cells.len() - 1),
        ([], _) => Err(GenotypeError::NoSuchCell { choice: choice.to_owned(), listed: listed(cells) }),
    }
}

/// `1 PDARTS (line 3), 2 (line 9)`; of many the first and the last.
fn listed(cells: &[FoundCell]) -> String {
    const SHOWN: usize = 40;
    let entry = |(number, cell): (usize, &FoundCell)| match &cell.name {
        Some(name) => format!("{number} {name} (line {}{})", cell.line, unreadable(cell)),
        None => format!("{number} (line {}{})", cell.line, unreadable(cell)),
    };
    let mut entries: Vec<String> = (1..).zip(cells).map(entry).collect();
    if entries.len() > SHOWN {
        entries.splice(SHOWN / 2..entries.len() - SHOWN / 2, ["...".to_owned()]);
    }
    entries.join(", ")
}

fn unreadable(cell: &FoundCell) -> &'static str {
    if cell.genotype.is_err() { ", cannot be read" } else { "" }
}

/// What the cell is made of, in the words of [`Genotype`]'s fields.
fn checked(fields: super::genotype::Fields) -> Result<Genotype, GenotypeError> {
    fields.try_into()
}

#[cfg(test)]
mod tests;
