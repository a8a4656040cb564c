//! Several runs beside each other: figures with mean and deviation over seeds, curves on common axes, and the settings
//! in which they differ. Searches are compared with searches, trainings with trainings.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, PreEscaped, html};

use super::run::{ReportedRun, RunKind, Standing};
use super::settings::shown;
use super::{PageError, figure};
use crate::figures::{Comparison, ComparisonPanel, Line, comparison_svg, series_colour};
use crate::report::Spread;

/// A run with its place on the page.
type Placed<'a> = (usize, &'a ReportedRun);

pub fn comparison(runs: &[ReportedRun]) -> Result<Markup, PageError> {
    let is_search = |run: &ReportedRun| matches!(run.kind, RunKind::Search(_));
    let (searches, trainings): (Vec<Placed>, Vec<Placed>) =
        runs.iter().enumerate().partition(|(_, run)| is_search(run));
    Ok(html! {
        div.compared {
            (compared("Searches", &searches)?)
            (compared("Trainings", &trainings)?)
        }
    })
}

fn compared(heading: &str, runs: &[Placed]) -> Result<Markup, PageError> {
    if runs.is_empty() {
        return Ok(html!());
    }
    let groups = groups(runs)?;
    Ok(html! {
        section {
            h2 { (heading) }
            (table(&groups))
            @if runs.len() > 1 {
                (figure(&curves(heading, runs)))
                (differences(runs)?)
            }
        }
    })
}

/// Runs that differ in their seeds alone stand together.
fn groups<'a>(runs: &[Placed<'a>]) -> Result<Vec<Vec<Placed<'a>>>, PageError> {
    let mut groups: Vec<(String, Vec<Placed>)> = Vec::new();
    for &(place, run) in runs {
        let recipe = run.recipe()?;
        match groups.iter_mut().find(|(known, _)| *known == recipe) {
            Some((_, group)) => group.push((place, run)),
            None => groups.push((recipe, vec![(place, run)])),
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

fn table(groups: &[Vec<Placed>]) -> Markup {
    let all = || groups.iter().flatten();
    let num_measures = all().next().map_or(0, |(_, run)| run.measures().len());
    let is_known = |index: &usize| all().any(|(_, run)| run.measures()[*index].value.is_some());
    let columns: Vec<usize> = (0..num_measures).filter(is_known).collect();
    let names: Vec<&str> = all().next().map_or(Vec::new(), |(_, run)| run.measures().iter().map(|m| m.name).collect());
    html! {
        div.table tabindex="0" { table {
            thead { tr {
                th { "run" } th.number { "seed" }
                @for &column in &columns { th.number { (names[column]) } }
            } }
            tbody {
                @for group in groups {
                    @for (place, run) in group { (row(*place, run, &columns)) }
                    @if group.len() > 1 { (mean(group, &columns)) }
                }
            }
        } }
    }
}

fn row(place: usize, run: &ReportedRun, columns: &[usize]) -> Markup {
    let measures = run.measures();
    let standing = match run.standing {
        Standing::Complete => "",
        Standing::Stopped => " stopped",
        Standing::Running { .. } => " under way",
        Standing::NotEnded { .. } => " not ended",
    };
    html! {
        tr {
            td.run { (swatch(place)) a href={ "#run" (place) } { (run.name) } span.muted { (standing) } }
            td.number { (run.seed()) }
            @for &column in columns {
                td.number { (measures[column].value.map_or("–".to_owned(), |value| measures[column].unit.show(value))) }
            }
        }
    }
}

/// Mean and deviation over the runs of `group` that are complete, each seed once.
fn mean(group: &[Placed], columns: &[usize]) -> Markup {
    let complete: BTreeMap<u64, &ReportedRun> =
        group.iter().filter(|(_, run)| run.standing == Standing::Complete).map(|(_, run)| (run.seed(), *run)).collect();
    if complete.len() < 2 {
        return html!();
    }
    let shown = |column: usize| -> Option<String> {
        let measures = complete.values().map(|run| run.measures().swap_remove(column));
        let unit = measures.clone().next()?.unit;
        let values: Vec<f64> = measures.filter_map(|measure| measure.value).collect();
        Spread::of(&values).map(|Spread { mean, deviation, .. }| unit.show_spread(mean, deviation))
    };
    html! {
        tr.mean {
            td.run { "mean of " (complete.len()) " seeds" } td {}
            @for &column in columns { td.number { (shown(column).unwrap_or("–".to_owned())) } }
        }
    }
}

/// The colour of a run's lines.
fn swatch(place: usize) -> Markup {
    let colour = series_colour(place);
    let svg = format!(
        r#"<svg class="swatch" aria-hidden="true" viewBox="0 0 14 6"><path d="M0 3H14" stroke="{colour}" stroke-width="3"/></svg>"#
    );
    PreEscaped(svg)
}

/// What is measured after each epoch of a run.
struct Course {
    train_top1: Vec<f64>,
    valid_top1: Vec<f64>,
    train_loss: Vec<f64>,
}

impl Course {
    fn of(run: &ReportedRun) -> Self {
        match &run.kind {
            RunKind::Search(run) => Self {
                train_top1: run.epochs.iter().map(|epoch| epoch.train_top1).collect(),
                valid_top1: run.epochs.iter().map(|epoch| epoch.valid_top1.unwrap_or(f64::NAN)).collect(),
                train_loss: run.epochs.iter().map(|epoch| epoch.train_loss).collect(),
            },
            RunKind::Training(run) => Self {
                train_top1: run.epochs.iter().map(|epoch| epoch.train_top1).collect(),
                valid_top1: run.epochs.iter().map(|epoch| epoch.valid.map_or(f64::NAN, |valid| valid.top1)).collect(),
                train_loss: run.epochs.iter().map(|epoch| epoch.train_loss).collect(),
            },
        }
    }
}

fn curves(heading: &str, runs: &[Placed]) -> String {
    let panel = |title: &str, values: fn(&Course) -> &Vec<f64>| {
        let line = |&(place, run): &Placed| Line { colour: place, values: values(&Course::of(run)).clone() };
        ComparisonPanel { title: title.to_owned(), lines: runs.iter().map(line).collect() }
    };
    let panels = [
        panel("training top-1, %", |course| &course.train_top1),
        panel("validation top-1, %", |course| &course.valid_top1),
        panel("training loss", |course| &course.train_loss),
    ];
    let is_known = |panel: &ComparisonPanel| panel.lines.iter().flat_map(|line| &line.values).any(|v| v.is_finite());
    comparison_svg(&Comparison {
        title: format!("{heading}: epoch by epoch"),
        panels: panels.into_iter().filter(is_known).collect(),
    })
}

/// A row for each key that is not the same in all runs.
fn differences(runs: &[Placed]) -> Result<Markup, PageError> {
    let mut keys = BTreeSet::new();
    let mut defaults = BTreeMap::new();
    let mut values: Vec<BTreeMap<String, Option<String>>> = Vec::new();
    for (_, run) in runs {
        let changes = run.changes()?;
        keys.extend(changes.iter().map(|change| change.key.clone()));
        defaults.extend(changes.iter().map(|change| (change.key.clone(), change.default.clone())));
        values.push(changes.into_iter().map(|change| (change.key, change.value)).collect());
    }
    let value = |run: usize, key: &str| values[run].get(key).or_else(|| defaults.get(key)).cloned().flatten();
    keys.retain(|key| (1..runs.len()).any(|run| value(run, key) != value(0, key)));
    Ok(html! {
        h3 { "Settings in which they differ" }
        @if keys.is_empty() { p.muted { "None." } }
        @else {
            div.table tabindex="0" { table {
                thead { tr { th { "key" } @for (place, run) in runs { th { (swatch(*place)) (run.name) } } } }
                tbody {
                    @for key in &keys {
                        tr {
                            td { code { (key) } }
                            @for run in 0..runs.len() { td { (shown(value(run, key).as_deref())) } }
                        }
                    }
                }
            } }
        }
    })
}
