//! How a run went: curves, and of a search its stages with the probabilities of operations.

use maud::{Markup, html};

use super::figure;
use super::quantity::{Unit, duration};
use super::run::{ReportedRun, RunKind, SearchRun};
use crate::report::figures::{search_curves, stage_figures, train_curves};
use crate::trainer::StageRecord;

pub fn course(run: &ReportedRun) -> Markup {
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
    let stages = run.summary.as_ref().map_or(&[][..], |summary| &summary.stages);
    if stages.is_empty() {
        return html! { p.muted { "The table of stages is in summary.json, which a run writes when it ends." } };
    }
    let percent = |value: Option<f64>| value.map_or("–".to_owned(), |value| Unit::Percent.show(value));
    html! {
        div.table tabindex="0" { table {
            thead { tr {
                th { "stage" }
                @for heading in ["cells", "operations", "training top-1", "validation top-1", "time"] {
                    th.number { (heading) }
                }
            } }
            tbody {
                @for (number, StageRecord { cells, operations, train_top1, valid_top1, seconds }) in (1..).zip(stages) {
                    tr {
                        td { (number) }
                        td.number { (cells) }
                        td.number { (operations) }
                        td.number { (percent(Some(*train_top1))) }
                        td.number { (percent(*valid_top1)) }
                        td.number { (duration(*seconds)) }
                    }
                }
            }
        } }
    }
}

fn probabilities(run: &SearchRun, stage: usize) -> Markup {
    let history = run.alphas_of(stage);
    let Some(last) = history.last() else { return html!() };
    // Live operations are the same throughout a stage; what is not of it cannot be drawn with it.
    let history: Vec<_> = history.iter().filter(|file| file.live == last.live).cloned().collect();
    let figures = stage_figures(stage, run.config.search.alpha_start_epoch, &last.live, &last.alphas, &history);
    html! { @for (_, svg) in &figures { (figure(svg)) } }
}
