//! The cell that was found, or is trained.

use maud::{Markup, html};

use super::figure;
use super::run::{ReportedRun, RunKind};
use crate::report::figures::genotype_figures;

pub fn cell(run: &ReportedRun) -> Markup {
    let Some(genotype) = run.genotype() else { return html!() };
    html! {
        section {
            h2 { "Cell" }
            (origin(run))
            @for (_, svg) in genotype_figures(genotype) { (figure(&svg)) }
            details {
                summary { "As Python text" }
                pre { (genotype.to_string()) }
            }
        }
    }
}

/// Why it is this cell.
fn origin(run: &ReportedRun) -> Markup {
    match &run.kind {
        RunKind::Search(search) => match &search.genotypes {
            Some(file) => html! { p { "The result is " (file.result.why) "." } },
            None => html!(),
        },
        RunKind::Training(training) => match &training.cell {
            Some(cell) => html! {
                p {
                    "Called " strong { (cell.name) }
                    @if let Some(origin) = &cell.provenance {
                        ", found on " (origin.dataset) " with seed " (origin.seed) " in " code { (origin.run) }
                    }
                    "."
                }
            },
            None => html!(),
        },
    }
}
