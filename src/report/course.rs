//! What the records of a search and of a retraining have in common: metrics, TensorBoard events, the progress line,
//! figures and checkpoints of one run.

use indicatif::MultiProgress;
use serde::Serialize;

use super::progress_line::{ProgressLine, Stretch};

use crate::run::{EventWriter, JsonLog, RunDirectory, RunError, write_atomic};
use crate::trainer::{Checkpoint, Progress, Records};

/// Checkpoints that are kept; the one before the newest serves when that is lost.
pub const KEPT_CHECKPOINTS: usize = 2;

/// A line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Metric<'a, S, E> {
    Steps(&'a S),
    Epoch(&'a E),
}

/// Named values; those that are `None` are left out.
pub(super) type Scalars<'a> = &'a [(&'a str, Option<f64>)];

/// The records of one run, open for more.
pub(super) struct Course<'a> {
    run: &'a RunDirectory,
    metrics: JsonLog,
    events: EventWriter,
    bars: &'a MultiProgress,
    line: ProgressLine,
}

impl<'a> Course<'a> {
    /// Records into `run` after the first `metrics_position` bytes of its metrics, from step `first_step` on.
    pub fn open(
        run: &'a RunDirectory,
        metrics_position: u64,
        first_step: u64,
        bars: &'a MultiProgress,
    ) -> Result<Self, RunError> {
        let metrics = run.open_metrics(metrics_position)?;
        let events = run.open_events(first_step)?;
        Ok(Self { run, metrics, events, bars, line: ProgressLine::hidden() })
    }

    pub fn run(&self) -> &RunDirectory {
        self.run
    }

    /// Shows how far the run is, of `stretches`, of which `steps_done` steps are behind.
    pub fn begin_line(&mut self, stretches: Vec<Stretch>, steps_done: u64) {
        self.line = ProgressLine::begin(self.bars, stretches, steps_done);
    }

    /// What is shown.
    pub fn line(&mut self) -> &mut ProgressLine {
        &mut self.line
    }

    pub fn append<S: Serialize, E: Serialize>(&mut self, metric: &Metric<'_, S, E>) -> Result<(), RunError> {
        self.metrics.append(metric)
    }

    /// Adds `scalars` as `group/name` to the TensorBoard events.
    pub fn add_scalars(&mut self, group: &str, step: u64, scalars: Scalars<'_>) -> Result<(), RunError> {
        for (name, value) in scalars {
            if let Some(value) = value {
                self.events.add_scalar(&format!("{group}/{name}"), step, *value)?;
            }
        }
        self.events.flush()
    }

    /// Writes each figure, a file name and its SVG.
    pub fn write_figures(&self, figures: Vec<(String, String)>) -> Result<(), RunError> {
        for (name, svg) in figures {
            write_atomic(&self.run.figure_path(&name), |writer| writer.write_all(svg.as_bytes()))?;
        }
        Ok(())
    }

    /// Saves a checkpoint under its place in the run; removes old ones.
    pub fn save<R: Records>(&mut self, mut checkpoint: Checkpoint<Progress<R>>) -> Result<(), RunError> {
        checkpoint.header.metrics_position = self.metrics.position()?;
        let Progress { epoch, step, records, .. } = &checkpoint.header.progress;
        let path = self.run.checkpoint_path(records.stage(), *epoch, *step as u64);
        let bytes = checkpoint.to_bytes();
        write_atomic(&path, |writer| writer.write_all(&bytes?))?;
        self.run.prune_checkpoints(KEPT_CHECKPOINTS)
    }
}
