//! What a run comes to, in figures: on top of its part of the page, and in the table that compares runs.

use super::quantity::Unit;
use super::run::{ReportedRun, RunKind, SearchRun, TrainingRun};

/// A figure of a run.
pub struct Measure {
    pub name: &'static str,
    pub unit: Unit,
    pub value: Option<f64>,
}

impl ReportedRun {
    /// The same names in the same order for all runs of a kind.
    pub fn measures(&self) -> Vec<Measure> {
        match &self.kind {
            RunKind::Search(run) => run.measures(),
            RunKind::Training(run) => run.measures(),
        }
    }
}

impl SearchRun {
    fn measures(&self) -> Vec<Measure> {
        let summary = self.summary.as_ref();
        let result = summary.and_then(|summary| summary.result.as_ref());
        let seconds = self.epochs.iter().map(|epoch| epoch.seconds).sum();
        let steps = self.last_steps.as_ref().or(self.epochs.last().map(|epoch| &epoch.steps));
        let rate = steps.map(|steps| steps.images_per_second);
        vec![
            measure("supernet top-1", Unit::Percent, self.epochs.iter().rev().find_map(|e| e.valid_top1)),
            measure(
                "best cell's top-1",
                Unit::Percent,
                summary.and_then(|summary| summary.cells.as_ref()?.best_valid_top1),
            ),
            measure("skip connections", Unit::Count, result.map(|cell| cell.skip_connects as f64)),
            measure("parameters", Unit::Millions, result.map(|cell| cell.parameters as f64)),
            measure("multiply-adds", Unit::Millions, result.map(|cell| cell.multiply_adds as f64)),
            measure("time", Unit::Seconds, Some(summary.map_or(seconds, |summary| summary.effort.seconds))),
            measure(
                "images per second",
                Unit::ImagesPerSecond,
                summary.and_then(|summary| summary.effort.images_per_second).or(rate),
            ),
        ]
    }
}

impl TrainingRun {
    fn measures(&self) -> Vec<Measure> {
        let summary = self.summary.as_ref();
        let test = summary.and_then(|summary| summary.test);
        let average = summary.and_then(|summary| summary.test_ema);
        let cost = summary.and_then(|summary| summary.network).map(|network| network.cost);
        let valid = self.epochs.iter().rev().find_map(|epoch| epoch.valid);
        let seconds = self.epochs.iter().map(|epoch| epoch.seconds).sum();
        let steps = self.last_steps.as_ref().or(self.epochs.last().map(|epoch| &epoch.steps));
        let rate = steps.map(|steps| steps.images_per_second);
        vec![
            measure("test top-1", Unit::Percent, test.map(|scores| scores.top1)),
            measure("of averaged weights", Unit::Percent, average.map(|scores| scores.top1)),
            measure("test top-5", Unit::Percent, test.map(|scores| scores.top5)),
            measure("test loss", Unit::Loss, test.map(|scores| scores.loss)),
            measure("validation top-1", Unit::Percent, valid.map(|scores| scores.top1)),
            measure("parameters", Unit::Millions, cost.map(|cost| cost.parameters as f64)),
            measure("multiply-adds", Unit::Millions, cost.map(|cost| cost.multiply_adds as f64)),
            measure("time", Unit::Seconds, Some(summary.map_or(seconds, |summary| summary.effort.seconds))),
            measure(
                "images per second",
                Unit::ImagesPerSecond,
                summary.and_then(|summary| summary.effort.images_per_second).or(rate),
            ),
        ]
    }
}

fn measure(name: &'static str, unit: Unit, value: Option<f64>) -> Measure {
    Measure { name, unit, value: value.filter(|value| value.is_finite()) }
}
