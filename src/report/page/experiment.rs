//! The page of a whole experiment: the table of its strategies, and where its runs are.

use std::path::Path;

use maud::{Markup, html};

use super::quantity::{Unit, duration};
use super::{absolute, link};
use crate::report::{ComparedRun, ComparedStrategy, Comparison, Spread, Status};

/// The part of the page below its heading; `folder` is that of the page.
pub fn experiment(comparison: &Comparison, folder: &Path) -> Markup {
    html! {
        section {
            h2 { "Strategies" }
            @if comparison.status != Status::Complete {
                p.note { "Not all runs are complete: the table is of those that are." }
            }
            (table(comparison))
            p.muted {
                "Means with standard deviations over runs that differ in their seeds. p is the probability of a difference from "
                (comparison.reference) " at least as large by chance: by an exact permutation test and by Welch's t test, both "
                "two-sided. The least p of the permutation test with so many runs stands in brackets."
            }
        }
        @for strategy in &comparison.strategies {
            section {
                h2 { (strategy.name) }
                (runs(strategy, folder))
            }
        }
    }
}

fn spread(unit: Unit, spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |Spread { mean, deviation, .. }| unit.show_spread(mean, deviation))
}

fn table(comparison: &Comparison) -> Markup {
    let p = |value: Option<f64>| value.map_or("–".to_owned(), |p| format!("{p:.4}"));
    let row = |strategy: &ComparedStrategy| {
        let test = strategy.test.as_ref();
        let least = test.and_then(|test| test.least_permutation_p).map_or(String::new(), |p| format!(" ({p:.4})"));
        [
            format!("{} of {}", strategy.complete, strategy.planned),
            spread(Unit::Percent, strategy.test_top1),
            spread(Unit::Percent, strategy.valid_top1),
            spread(Unit::Millions, strategy.parameters),
            spread(Unit::Millions, strategy.multiply_adds),
            spread(Unit::Count, strategy.skip_connects),
            spread(Unit::Seconds, strategy.search_seconds),
            spread(Unit::Seconds, strategy.train_seconds),
            test.map_or("–".to_owned(), |test| format!("{:+.2}", test.difference)),
            p(test.and_then(|test| test.permutation_p)) + &least,
            p(test.and_then(|test| test.welch_p)),
        ]
    };
    let headings = [
        "runs",
        "test top-1",
        "validation top-1",
        "parameters",
        "multiply-adds",
        "skip connections",
        "search",
        "training",
        "difference",
        "p, permutation",
        "p, Welch",
    ];
    html! {
        div.table tabindex="0" { table {
            thead { tr { th { "strategy" } @for heading in headings { th.number { (heading) } } } }
            tbody {
                @for strategy in &comparison.strategies {
                    tr { td.run { (strategy.name) } @for cell in row(strategy) { td.number { (cell) } } }
                }
            }
        } }
    }
}

fn runs(strategy: &ComparedStrategy, folder: &Path) -> Markup {
    let url = |run: &ComparedRun, part: &str| {
        link::relative_url(folder, &absolute(&run.folder).join(part).join("report.html"))
    };
    html! {
        @if strategy.runs.is_empty() { p.muted { "No run is complete." } }
        @else {
            div.table tabindex="0" { table {
                thead { tr {
                    th { "seed" }
                    @for heading in ["test top-1", "validation top-1", "parameters", "skip connections", "search", "training"] {
                        th.number { (heading) }
                    }
                    th { "pages" }
                } }
                tbody {
                    @for run in &strategy.runs {
                        tr {
                            td { (run.seed) }
                            td.number { (Unit::Percent.show(run.test_top1)) }
                            td.number { (run.valid_top1.map_or("–".to_owned(), |top1| Unit::Percent.show(top1))) }
                            td.number { (run.parameters.map_or("–".to_owned(), |count| Unit::Millions.show(count as f64))) }
                            td.number { (run.skip_connects) }
                            td.number { (duration(run.search_seconds)) }
                            td.number { (duration(run.train_seconds)) }
                            td { a href=(url(run, "search")) { "search" } " " a href=(url(run, "train")) { "training" } }
                        }
                    }
                }
            } }
        }
    }
}
