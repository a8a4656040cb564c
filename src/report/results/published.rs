//! What papers report, as rows of the table.

use super::ResultRow;
use crate::genotype::GenotypeError;
use crate::genotype::library::{PublishedCell, PublishedResults, published_cells};

/// Results of a cell that its authors have not published.
const WITHOUT_A_CELL: (&str, PublishedResults) = (
    "P-DARTS, searched on CIFAR-100 (cell not published)",
    PublishedResults {
        cifar10_error_percent: Some(2.62),
        cifar100_error_percent: Some(15.92),
        cifar10_parameters_millions: Some(3.6),
        imagenet_top1_error_percent: Some(24.7),
        imagenet_top5_error_percent: Some(7.5),
        imagenet_parameters_millions: Some(5.1),
        imagenet_multiply_adds_millions: Some(577.0),
    },
);

/// A row for each data set that a cell has a published error on. Sizes are counted here, and so left out where there is no
/// cell to count.
pub(super) fn published_rows() -> Result<Vec<ResultRow>, GenotypeError> {
    let mut rows: Vec<ResultRow> = published_cells()?.iter().flat_map(rows_of).collect();
    let (title, results) = &WITHOUT_A_CELL;
    rows.extend(reported(title, results));
    Ok(rows)
}

fn rows_of(cell: &PublishedCell) -> Vec<ResultRow> {
    let counted = &cell.counted;
    let mut rows = reported(&cell.title, &cell.published);
    for row in &mut rows {
        let (parameters, multiply_adds) = match row.evaluated_on.as_deref() {
            Some("cifar10") => (counted.cifar10_parameters, Some(counted.cifar10_multiply_adds)),
            Some("cifar100") => (counted.cifar100_parameters, None),
            _ => (counted.imagenet_parameters, Some(counted.imagenet_multiply_adds)),
        };
        (row.parameters, row.multiply_adds) = (Some(parameters), multiply_adds);
    }
    rows
}

fn reported(title: &str, results: &PublishedResults) -> Vec<ResultRow> {
    let errors = [
        ("cifar10", results.cifar10_error_percent, None),
        ("cifar100", results.cifar100_error_percent, None),
        ("imagenet", results.imagenet_top1_error_percent, results.imagenet_top5_error_percent),
    ];
    let row = |(dataset, error_percent, error_top5_percent): (&str, Option<f64>, Option<f64>)| ResultRow {
        cell: title.to_owned(),
        published: true,
        evaluated_on: Some(dataset.to_owned()),
        error_percent,
        error_top5_percent,
        ..ResultRow::default()
    };
    errors.into_iter().filter(|(_, error, _)| error.is_some()).map(row).collect()
}
