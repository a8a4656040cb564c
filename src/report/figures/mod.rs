//! The figures of runs, from their records.

mod search;
mod train;

pub use search::{genotype_figures, search_curves, stage_figures};
pub use train::train_curves;

use crate::figures::{Panel, Series};

/// The curve of `value` over `records` of epochs, each at its `place` from 0; gaps where there is no record or no value.
fn series<R>(name: &str, records: &[R], place: impl Fn(&R) -> usize, value: impl Fn(&R) -> Option<f64>) -> Series {
    let length = records.iter().map(|record| place(record) + 1).max().unwrap_or(0);
    let mut values = vec![f64::NAN; length];
    for record in records {
        values[place(record)] = value(record).unwrap_or(f64::NAN);
    }
    Series { name: name.to_owned(), values }
}

fn panel(title: &str, thin: bool, series: Vec<Series>) -> Panel {
    Panel { title: title.to_owned(), series, thin }
}
