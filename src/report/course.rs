//! What the records of a search and of a retraining have in common: metrics, TensorBoard events, the progress line,
//! figures and checkpoints of one run.

use indicatif::MultiProgress;
use serde::Serialize;

use super::figures::genotype_figures;
use super::metrics::Metric;
use super::progress_line::{ProgressLine, Stretch};
use super::tolerance::Tolerance;
use crate::config::RunSection;
use crate::run::{
    CheckpointWriter, EventWriter, GenotypeFile, JsonLog, RunDirectory, RunError, write_atomic, write_json_atomic,
};
use crate::trainer::{Checkpoint, Incident, Progress, Records};

/// Named values; those that are `None` are left out.
pub(super) type Scalars<'a> = &'a [(&'a str, Option<f64>)];

/// The records of one run, open for more.
pub(super) struct Course<'a> {
    run: &'a RunDirectory,
    config: &'a RunSection,
    metrics: JsonLog,
    events: EventWriter,
    checkpoints: CheckpointWriter,
    tolerance: Tolerance,
    bars: &'a MultiProgress,
    line: ProgressLine,
}

impl<'a> Course<'a> {
    /// Records into `run` after the first `metrics_position` bytes of its metrics, from step `first_step` on.
    pub fn open(
        run: &'a RunDirectory,
        config: &'a RunSection,
        metrics_position: u64,
        first_step: u64,
        bars: &'a MultiProgress,
    ) -> Result<Self, RunError> {
        let metrics = run.open_metrics(metrics_position)?;
        let events = run.open_events(first_step)?;
        let (checkpoints, tolerance) = (CheckpointWriter::default(), Tolerance::new(config.max_failed_checkpoints));
        Ok(Self { run, config, metrics, events, checkpoints, tolerance, bars, line: ProgressLine::hidden() })
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

    /// Appends a line to the metrics and the `scalars`, as `group/name`, to the TensorBoard events of `step`.
    ///
    /// # Errors
    /// When they cannot be written and none may be lost.
    pub fn record<S: Serialize, E: Serialize>(
        &mut self,
        metric: &Metric<S, E>,
        group: &str,
        step: u64,
        scalars: Scalars<'_>,
    ) -> Result<(), RunError> {
        let outcome = self.metrics.append(metric).and_then(|()| self.add_scalars(group, step, scalars));
        self.tolerance.record(outcome)
    }

    /// Warns of what was not planned, and appends it to the metrics.
    ///
    /// # Errors
    /// When it cannot be written and nothing may be lost.
    pub fn incident(&mut self, incident: &Incident) -> Result<(), RunError> {
        tracing::warn!("{incident}");
        if let Incident::Rewound { step, to_step, .. } = incident {
            self.line.go_back(step - 1 - to_step);
        }
        let outcome = self.metrics.append(&Metric::<(), ()>::Incident(incident.clone()));
        self.tolerance.record(outcome)
    }

    fn add_scalars(&mut self, group: &str, step: u64, scalars: Scalars<'_>) -> Result<(), RunError> {
        for (name, value) in scalars {
            if let Some(value) = value {
                self.events.add_scalar(&format!("{group}/{name}"), step, *value)?;
            }
        }
        self.events.flush()
    }

    /// Writes what `write` does, which the run can do without.
    ///
    /// # Errors
    /// When it cannot be written and nothing may be lost.
    pub fn write(&mut self, write: impl FnOnce(&RunDirectory) -> Result<(), RunError>) -> Result<(), RunError> {
        let outcome = write(self.run);
        self.tolerance.record(outcome)
    }

    /// Begins to save a checkpoint under its place in the run, once the one before is written; old ones are removed.
    ///
    /// # Errors
    /// When too many in a row could not be written.
    pub fn save<R: Records>(&mut self, mut checkpoint: Checkpoint<Progress<R>>) -> Result<(), RunError> {
        self.settle_tolerantly()?;
        let position = self.metrics.position();
        let Progress { epoch, step, records, .. } = &checkpoint.header.progress;
        let mut file = self.run.checkpoint_file(records.stage(), *epoch, *step as u64, self.config.keep_checkpoints);
        file.is_best = self.config.keep_best_checkpoint && *step == 0 && records.last_is_best();
        let begun = position.and_then(|position| {
            checkpoint.header.metrics_position = position;
            self.checkpoints.begin(file, || checkpoint.into_bytes())
        });
        match begun {
            Ok(()) => Ok(()),
            Err(error) => self.tolerance.checkpoint(Err(error)),
        }
    }

    /// Waits for the checkpoint under way.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn settle(&mut self) -> Result<(), RunError> {
        self.checkpoints.finish().unwrap_or(Ok(()))
    }

    /// Waits for the checkpoint under way, which the run may have to do without.
    ///
    /// # Errors
    /// When too many in a row could not be written.
    pub fn settle_tolerantly(&mut self) -> Result<(), RunError> {
        match self.checkpoints.finish() {
            Some(outcome) => self.tolerance.checkpoint(outcome),
            None => Ok(()),
        }
    }
}

/// Writes `genotype.json` and the figures of its result.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write_genotypes(run: &RunDirectory, genotypes: &GenotypeFile) -> Result<(), RunError> {
    write_json_atomic(&run.genotype_path(), genotypes)?;
    match genotypes.result() {
        Some(chosen) => write_figures(run, genotype_figures(&chosen.variant.genotype)),
        None => Ok(()),
    }
}

/// Writes each figure, a file name and its SVG.
///
/// # Errors
/// When one cannot be written.
pub(super) fn write_figures(run: &RunDirectory, figures: Vec<(String, String)>) -> Result<(), RunError> {
    for (name, svg) in figures {
        write_atomic(&run.figure_path(&name), |writer| writer.write_all(svg.as_bytes()))?;
    }
    Ok(())
}
