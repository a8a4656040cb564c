//! A table of text in aligned columns.

use std::fmt;

use super::error::escaped;

/// Between two columns.
const GAP: &str = "  ";

/// Columns as wide as their widest cell: the first to the left, the others (numbers) to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table under headings, each of as many lines as the others.
    pub fn new(headings: &[&[&str]]) -> Self {
        let row = |line: &&[&str]| line.iter().map(|&text| text.to_owned()).collect();
        Self { rows: headings.iter().map(row).collect() }
    }

    /// Adds a row of as many cells as there are headings. Names of files in them are shown in one line.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escaped(&cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join(GAP).trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[&["cell", "skips", ""]]);
        table.row(["PDARTS_C10", "2", "x"].map(str::to_owned));
        table.row(["ä", "10000000", ""].map(str::to_owned));
        table.row(["a\nb", "1", ""].map(str::to_owned));
        let expected = "cell           skips\nPDARTS_C10         2  x\nä           10000000\na\\nb               1\n";
        assert_eq!(table.to_string(), expected);
    }
}
