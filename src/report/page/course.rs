//! How a run went: curves, and of a search its stages with the probabilities of operations.

use maud::{Markup, html};

use super::figure;
use super::quantity::{Unit, duration};
use super::run::{ReportedRun, RunKind, SearchRun};
use crate::figures::{Comparison, ComparisonPanel, Line, comparison_svg};
use crate::report::Status;
use crate::report::figures::{search_curves, stage_figures, train_curves};
use crate::search::Stage;
use crate::trainer::StageRecord;

pub fn course(run: &ReportedRun) -> Markup {
    if let RunKind::Search(search) = &run.kind
        && search.config.search.strategy.trains_cells()
    {
        return cells(search);
    }
    let curves = match &run.kind {
        RunKind::Search(run) if !run.epochs.is_empty() => Some(search_curves(&run.config, &run.epochs)),
        RunKind::Training(run) if !run.epochs.is_empty() => Some(train_curves(&run.config, &run.epochs)),
        _ => None,
    };
    html! {
        section {
            h2 { "Curves" }
            @match curves {
                Some(svg) => (figure(&svg)),
                None => p.muted { "No epoch is complete." },
            }
        }
        @if let RunKind::Search(run) = &run.kind { (stages(run)) }
    }
}

/// The cells of a search that trains each.
fn cells(run: &SearchRun) -> Markup {
    let values: Vec<f64> = run.cells.iter().map(|cell| cell.valid_top1().unwrap_or(f64::NAN)).collect();
    let best = values.iter().scan(f64::NAN, |best, value| {
        *best = best.max(*value);
        Some(*best)
    });
    let lines = vec![Line { colour: 1, values: best.collect() }, Line { colour: 0, values: values.clone() }];
    let panel = ComparisonPanel { title: "validation top-1 of each cell and the best so far, %".to_owned(), lines };
    let curves = Comparison { title: "Cells in their order".to_owned(), panels: vec![panel] };
    let number = |number: Option<usize>| number.map_or("–".to_owned(), |number| number.to_string());
    html! {
        section {
            h2 { "Cells" }
            @if run.cells.is_empty() { p.muted { "No cell was evaluated." } }
            @if values.iter().filter(|value| value.is_finite()).count() > 1 { (figure(&comparison_svg(&curves))) }
            div.table tabindex="0" { table {
                thead { tr {
                    th { "cell" }
                    @for heading in ["from", "same as", "validation top-1", "skip connections", "parameters", "multiply-adds", "time"] {
                        th.number { (heading) }
                    }
                } }
                tbody {
                    @for cell in &run.cells {
                        tr {
                            td { (cell.number) }
                            td.number { (number(cell.parent)) }
                            td.number { (number(cell.same_as)) }
                            td.number {
                                @match (cell.valid_top1(), &cell.evaluation.diverged) {
                                    (Some(top1), _) => (Unit::Percent.show(top1)),
                                    (None, Some(_)) => "diverged",
                                    (None, None) => "–",
                                }
                            }
                            td.number { (cell.skip_connects) }
                            td.number { (Unit::Millions.show(cell.parameters as f64)) }
                            td.number { (Unit::Millions.show(cell.multiply_adds as f64)) }
                            td.number { (duration(cell.evaluation.seconds)) }
                        }
                    }
                }
            } }
        }
    }
}

fn stages(run: &SearchRun) -> Markup {
    let num_stages = run.config.search.stages.len();
    let known: Vec<usize> = (1..=num_stages).filter(|stage| !run.alphas_of(*stage).is_empty()).collect();
    html! {
        section {
            h2 { "Stages" }
            (stage_table(run))
            @for &stage in &known {
                details open[known.last() == Some(&stage)] {
                    summary { "Stage " (stage) ": operations of the edges and their probabilities" }
                    (probabilities(run, stage))
                }
            }
        }
    }
}

fn stage_table(run: &SearchRun) -> Markup {
    let stages = stage_records(run);
    if stages.is_empty() {
        return html!();
    }
    let percent = |value: Option<f64>| {
        value.filter(|value| value.is_finite()).map_or("–".to_owned(), |value| Unit::Percent.show(value))
    };
    html! {
        div.table tabindex="0" { table {
            thead { tr {
                th { "stage" }
                @for heading in ["cells", "operations", "training top-1", "validation top-1", "time"] {
                    th.number { (heading) }
                }
            } }
            tbody {
                @for (number, stage) in (1..).zip(&stages) {
                    tr {
                        td { (stage.label(number)) }
                        td.number { (stage.cells) }
                        td.number { (stage.operations) }
                        td.number { (percent(Some(stage.train_top1))) }
                        td.number { (percent(stage.valid_top1)) }
                        td.number { (duration(stage.seconds)) }
                    }
                }
            }
        } }
    }
}

/// Those of the summary; of a search that is not complete, of the epochs that are.
fn stage_records(run: &SearchRun) -> Vec<StageRecord> {
    match &run.summary {
        Some(summary) if summary.status == Status::Complete => summary.stages.clone(),
        _ => {
            let num_begun = run.epochs.iter().map(|epoch| epoch.stage).max().unwrap_or(0);
            let begun = Stage::sequence(&run.config.search).into_iter().take(num_begun);
            begun.map(|stage| StageRecord::new(&stage, &run.epochs)).collect()
        }
    }
}

fn probabilities(run: &SearchRun, stage: usize) -> Markup {
    let history = run.alphas_of(stage);
    let result = run.epochs.iter().filter(|epoch| epoch.stage == stage).find_map(|epoch| epoch.goes_back_to);
    let earlier = history.iter().find(|file| Some(file.epoch) == result);
    let Some(last) = earlier.or(history.last()) else { return html!() };
    // Live operations are the same throughout a stage; what is not of it cannot be drawn with it.
    let history: Vec<_> = history.iter().filter(|file| file.live == last.live).cloned().collect();
    let figures = stage_figures(stage, run.config.search.alpha_start_epoch, &last.live, &last.alphas, &history);
    html! { @for (_, svg) in &figures { (figure(svg)) } }
}
