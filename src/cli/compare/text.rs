//! What a person reads at the end of an experiment.

use std::path::Path;

use crate::cli::output::note_files;
use crate::cli::table::Table;
use crate::report::{ComparedStrategy, Comparison, Spread, duration};

/// The table, what its tests mean, and what to look at next.
pub fn report(root: &Path, comparison: &Comparison) -> String {
    let mut files = vec![("report.html", ""), ("results.json", ""), ("results.txt", "")];
    // In each a folder for every seed, with a search and a training.
    files
        .extend(comparison.strategies.iter().map(|strategy| (strategy.name.as_str(), "its runs: seedN/search, train")));
    format!("{}\n{}", table(comparison), note_files(root, &files))
}

/// A line for each strategy, then what the tests say.
pub fn table(comparison: &Comparison) -> String {
    let mut table = Table::new(&[&[
        "strategy",
        "test top-1, %",
        "valid top-1, %",
        "runs",
        "parameters, M",
        "skips",
        "search, each",
        "difference",
        "p (permutation)",
        "p (Welch)",
    ]]);
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let spread = |spread: Option<Spread>, scale: f64, digits: usize| {
        spread.map_or("-".to_owned(), |Spread { mean, deviation, .. }| {
            let deviation = deviation.map_or(String::new(), |deviation| format!(" ± {:.digits$}", deviation / scale));
            format!("{:.digits$}{deviation}", mean / scale)
        })
    };
    for strategy in &comparison.strategies {
        let ComparedStrategy { name, test_top1, valid_top1, parameters, skip_connects, search_seconds, test, .. } =
            strategy;
        let p = |value: Option<f64>| value.map_or("-".to_owned(), |p| format!("{p:.4}"));
        table.row([
            name.clone(),
            spread(*test_top1, 1.0, 2),
            spread(*valid_top1, 1.0, 2),
            format!("{}/{}", strategy.complete, strategy.planned),
            spread(*parameters, 1e6, 3),
            spread(*skip_connects, 1.0, 1),
            search_seconds.map_or("-".to_owned(), |seconds| duration(seconds.mean)),
            number(test.as_ref().map(|test| test.difference), 2),
            p(test.as_ref().and_then(|test| test.permutation_p)),
            p(test.as_ref().and_then(|test| test.welch_p)),
        ]);
    }
    format!(
        "{table}\nMeans with standard deviations over runs that differ in their seeds. Differences are from {}, p values \
         two-sided.\n",
        comparison.reference
    )
}
