//! The part of the page that is one run's.

use std::path::Path;

use maud::{Markup, html};

use super::measures::Measure;
use super::run::{ReportedRun, RunKind, Standing};
use super::{PageError, absolute, cell, course, files, link, place, settings};
use crate::trainer::Incident;

/// Heading, figures and all sections of `run`, the `index`-th of the page, which is saved in `folder`.
pub fn article(run: &ReportedRun, index: usize, is_one_of_several: bool, folder: &Path) -> Result<Markup, PageError> {
    let settings = settings::settings(run)?;
    Ok(html! {
        article id={ "run" (index) } {
            header {
                p.kind { (kind(run)) }
                @if is_one_of_several { h2 { (run.name) } } @else { h1 { (run.name) } }
                (standing(run))
                @for sentence in incidents(run.incidents()) { p.note { (sentence) } }
                @for note in &run.notes { p.note { (note) } }
            }
            (measures(&run.measures()))
            (cell::cell(run))
            (course::course(run))
            (place::place(run))
            (settings)
            (files::files(run, folder))
        }
    })
}

/// `Search on cifar10`.
fn kind(run: &ReportedRun) -> String {
    let of_stages = |count: usize| if count == 1 { "one stage".to_owned() } else { format!("{count} stages") };
    match &run.kind {
        RunKind::Search(search) if search.config.search.strategy.trains_cells() => {
            format!("Search on {} by {}, seed {}", run.dataset(), search.config.search.strategy, run.seed())
        }
        RunKind::Search(search) => {
            let stages = of_stages(search.config.search.stages.len());
            format!("Search on {}, {stages}, seed {}", run.dataset(), run.seed())
        }
        RunKind::Training(_) => format!("Training on {}, seed {}", run.dataset(), run.seed()),
    }
}

/// Whether it has ended, and what to do if not.
fn standing(run: &ReportedRun) -> Markup {
    let resume = || html! { code { (run.resume_command()) } };
    match &run.standing {
        Standing::Complete => html! { p.muted { "Complete." } },
        Standing::Stopped => html! {
            p.note { "Stopped by a signal " (reached(run)) ". It goes on with " (resume()) "." }
        },
        Standing::Running { writer } => html! {
            p.note { "Under way " (reached(run)) " (" (writer) "). This page is of the moment it was made." }
        },
        Standing::NotEnded { last_message } => html! {
            p.note {
                "It has not ended, or has failed, " (reached(run)) ": there is no summary.json. It goes on with "
                (resume()) "."
                @if let Some(message) = last_message { br; "The last it said: " (message) }
            }
        },
    }
}

/// What became of steps that were not finite: a sentence on those that were dropped, and one on going back.
fn incidents(incidents: &[Incident]) -> Vec<String> {
    let (mut dropped, mut rewound) = (Vec::new(), Vec::new());
    for incident in incidents {
        match incident {
            Incident::Dropped { what, .. } => dropped.push(what),
            Incident::Rewound { what, .. } => rewound.push(what),
        }
    }
    let of_steps = dropped.last().map(|last| match dropped.len() {
        1 => format!("1 step was dropped: {last}."),
        count => format!("{count} steps were dropped; the last: {last}."),
    });
    let of_rewinds = rewound.last().map(|last| match rewound.len() {
        1 => format!("It went back to a checkpoint once: {last}."),
        count => format!("It went back to a checkpoint {count} times; the last time: {last}."),
    });
    of_steps.into_iter().chain(of_rewinds).collect()
}

/// How far it has come.
fn reached(run: &ReportedRun) -> String {
    let in_stage = |stage, epoch, of| format!("in stage {stage} after epoch {epoch} of {of}");
    match &run.kind {
        RunKind::Search(run) if run.config.search.strategy.trains_cells() => {
            run.cells.last().map(|last| format!("after cell {} of {}", last.number, run.config.evaluation.candidates))
        }
        RunKind::Search(run) => {
            run.epochs.last().map(|last| in_stage(last.stage, last.epoch, run.config.search.epochs))
        }
        RunKind::Training(run) => {
            run.epochs.last().map(|last| format!("after epoch {} of {}", last.epoch, run.config.train.epochs))
        }
    }
    .unwrap_or_else(|| "before the end of its first epoch".to_owned())
}

fn measures(measures: &[Measure]) -> Markup {
    html! {
        dl.measures {
            @for Measure { name, unit, value } in measures {
                @if let Some(value) = value { div { dt { (name) } dd { (unit.show(*value)) } } }
            }
        }
    }
}

/// A link to a file or folder of `run` in a page in `folder`.
pub fn link_to(run: &ReportedRun, name: &str, folder: &Path) -> String {
    link::relative_url(folder, &absolute(&run.root).join(name))
}
