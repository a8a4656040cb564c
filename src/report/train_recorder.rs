//! Records a retraining in its run directory and shows it on the terminal.

use indicatif::MultiProgress;

use super::course::{Course, write_figures};
use super::figures::train_curves;
use super::metrics::Metric;
use super::progress_line::Stretch;
use super::train_summary::TrainSummary;
use crate::config::{TrainConfig, image_size_at};
use crate::run::{RunDirectory, RunError, TrainedCell, write_atomic, write_json_atomic};
use crate::trainer::{
    Checkpoint, CheckpointHeader, Incident, Observer, Scores, TrainEpochRecord, TrainError, TrainObserver,
    TrainProgress, TrainRecords, TrainResult, TrainState, TrainStepRecord,
};
use crate::world::World;

/// The metrics of a retraining.
type TrainMetric<'a> = Metric<&'a TrainStepRecord, &'a TrainEpochRecord>;

/// The observer of rank 0.
pub struct TrainRecorder<'a> {
    config: &'a TrainConfig,
    cell: &'a TrainedCell,
    world: &'a World,
    course: Course<'a>,
}

impl<'a> TrainRecorder<'a> {
    /// Records into `run` from its start, or on from the checkpoint with header `resumed`; progress bars go to `bars`.
    ///
    /// # Errors
    /// When the metrics or the event file cannot be opened.
    pub fn open(
        run: &'a RunDirectory,
        config: &'a TrainConfig,
        cell: &'a TrainedCell,
        world: &'a World,
        resumed: Option<&CheckpointHeader<TrainProgress>>,
        bars: &'a MultiProgress,
    ) -> Result<Self, RunError> {
        let position = resumed.map_or(0, |header| header.metrics_position);
        let first_step = resumed.map_or(0, |header| header.progress.global_step + 1);
        Ok(Self { config, cell, world, course: Course::open(run, &config.run, position, first_step, bars)? })
    }

    /// Writes the result of a complete training: `weights.safetensors`, `weights-ema.safetensors` where weights were
    /// averaged, and `summary.json`, which is returned.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&mut self, mut result: TrainResult) -> Result<TrainSummary, TrainError> {
        self.course.settle_tolerantly()?;
        let summary = TrainSummary::complete(self.config, self.cell, self.world, &result);
        let run = self.course.run();
        let plain = result.state.weights_file()?;
        write_atomic(&run.weights_path("weights"), |writer| writer.write_all(&plain))?;
        let average = result.state.with_average(TrainState::weights_file)?;
        if let Some(average) = average {
            write_atomic(&run.weights_path("weights-ema"), |writer| writer.write_all(&average))?;
        }
        write_json_atomic(&run.summary_path(), &summary)?;
        Ok(summary)
    }

    /// Writes the summary of a training that was stopped by a signal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn stopped(&mut self, progress: &TrainProgress, bad_images: usize) -> Result<TrainSummary, RunError> {
        self.course.line().end();
        let summary = TrainSummary::stopped(self.config, self.cell, self.world, progress, bad_images);
        write_json_atomic(&self.course.run().summary_path(), &summary)?;
        Ok(summary)
    }
}

impl Observer<TrainRecords> for TrainRecorder<'_> {
    fn step(&mut self) {
        self.course.line().advance();
    }

    fn steps(&mut self, record: &TrainStepRecord) -> Result<(), RunError> {
        let figures = format!("train {:.1} %, {:.0} images/s", record.train_top1, record.images_per_second);
        self.course.line().set_figures(figures);
        let scalars = [
            ("train_loss", Some(record.train_loss)),
            ("train_top1", Some(record.train_top1)),
            ("learning_rate", Some(record.learning_rate)),
            ("drop_path", Some(record.drop_path)),
            ("images_per_second", Some(record.images_per_second)),
        ];
        self.course.record(&TrainMetric::Steps(record), "steps", record.step, &scalars)
    }

    fn epoch(&mut self, record: &TrainEpochRecord) -> Result<(), RunError> {
        let text = |name: &str, scores: Option<Scores>| {
            scores.map_or(String::new(), |scores| format!(", {name} {:.2} %", scores.top1))
        };
        tracing::info!(
            "epoch {}/{}: train {:.2} %, loss {:.3}{}{}{}{}, rate {:.4}, drop path {:.2}, {:.0} images/s",
            record.epoch,
            self.config.train.epochs,
            record.train_top1,
            record.train_loss,
            text("valid", record.valid),
            text("valid of the average", record.valid_ema),
            text("test", record.test),
            text("test of the average", record.test_ema),
            record.learning_rate,
            record.drop_path,
            record.images_per_second
        );
        let top1 = |scores: Option<Scores>| scores.map(|scores| scores.top1);
        let scalars = [
            ("train_loss", Some(record.train_loss)),
            ("train_top1", Some(record.train_top1)),
            ("valid_loss", record.valid.map(|scores| scores.loss)),
            ("valid_top1", top1(record.valid)),
            ("valid_ema_top1", top1(record.valid_ema)),
            ("test_top1", top1(record.test)),
            ("test_ema_top1", top1(record.test_ema)),
            ("seconds", Some(record.seconds)),
        ];
        self.course.record(&TrainMetric::Epoch(record), "epochs", record.step, &scalars)
    }

    fn incident(&mut self, incident: &Incident) -> Result<(), RunError> {
        self.course.incident(incident)
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint<TrainProgress>) -> Result<(), RunError> {
        self.course.save(checkpoint)
    }

    fn settle(&mut self) -> Result<(), RunError> {
        self.course.settle()
    }
}

impl TrainObserver for TrainRecorder<'_> {
    fn begins(&mut self, steps_done: u64, steps: u64) {
        let epochs = self.config.train.epochs;
        let stretch = |epoch| Stretch {
            name: format!("epoch {}/{epochs}", epoch + 1),
            num_steps: steps / epochs as u64,
            // Pixels.
            cost: image_size_at(&self.config.train.image_sizes, epoch).unwrap_or(self.config.data.side()).pow(2) as f64,
        };
        self.course.begin_line((0..epochs).map(stretch).collect(), steps_done);
    }

    fn ends(&mut self, progress: &TrainProgress) -> Result<(), RunError> {
        self.course.line().end();
        let curves = vec![("curves.svg".to_owned(), train_curves(self.config, &progress.records.epochs))];
        self.course.write(|run| write_figures(run, curves))
    }
}
