//! Records a search in its run directory and shows it on the terminal.

use indicatif::MultiProgress;

use super::course::{Course, write_figures, write_genotypes};
use super::figures::{search_curves, stage_figures};
use super::metrics::Metric;
use super::progress_line::Stretch;
use super::search_summary::SearchSummary;
use crate::config::{SearchConfig, SearchSection};
use crate::genotype::{Alphas, Switches, operation_shares};
use crate::run::{AlphasFile, GenotypeFile, Provenance, RunDirectory, RunError, write_json_atomic};
use crate::search::Stage;
use crate::trainer::{
    Checkpoint, CheckpointHeader, Incident, Observer, SearchEpochRecord, SearchObserver, SearchProgress, SearchRecords,
    SearchResult, SearchStepRecord,
};
use crate::world::World;

/// The metrics of a search.
type SearchMetric<'a> = Metric<&'a SearchStepRecord, &'a SearchEpochRecord>;

/// The observer of rank 0.
pub struct SearchRecorder<'a> {
    config: &'a SearchConfig,
    world: &'a World,
    course: Course<'a>,
    /// Whether the terminal shows how far the search is.
    shows_line: bool,
}

impl<'a> SearchRecorder<'a> {
    /// Records into `run` from its start, or on from the checkpoint with header `resumed`; progress bars go to `bars`.
    ///
    /// # Errors
    /// When the metrics or the event file cannot be opened.
    pub fn open(
        run: &'a RunDirectory,
        config: &'a SearchConfig,
        world: &'a World,
        resumed: Option<&CheckpointHeader<SearchProgress>>,
        bars: &'a MultiProgress,
    ) -> Result<Self, RunError> {
        let position = resumed.map_or(0, |header| header.metrics_position);
        let first_step = resumed.map_or(0, |header| header.progress.global_step + 1);
        let course = Course::open(run, &config.run, position, first_step, bars)?;
        Ok(Self { config, world, course, shows_line: false })
    }

    /// Writes the result of a complete search: `genotype.json`, its figures and `summary.json`. Returns both files'
    /// contents.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(
        &mut self,
        result: &SearchResult,
        config_digest: &str,
    ) -> Result<(GenotypeFile, SearchSummary), RunError> {
        self.course.settle_tolerantly()?;
        let dataset = self.config.data.dataset.to_string();
        let provenance = Provenance::now(self.course.run().root(), &dataset, self.config.run.seed, config_digest);
        let genotypes = GenotypeFile::new(&result.variants, self.config.search.max_skip_connects, Some(provenance))
            .within(&self.config.cost_limits());
        if let Some(chosen) = genotypes.result()
            && !self.config.cost_limits().allow_cell(&chosen.variant.genotype)
        {
            tracing::warn!("the result is {}", genotypes.result.why);
        }
        write_genotypes(self.course.run(), &genotypes)?;
        let summary = SearchSummary::complete(result, &genotypes, &self.config.run, self.world);
        write_json_atomic(&self.course.run().summary_path(), &summary)?;
        Ok((genotypes, summary))
    }

    /// Writes the summary of a search that was stopped by a signal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn stopped(&mut self, progress: &SearchProgress, bad_images: usize) -> Result<SearchSummary, RunError> {
        self.course.line().end();
        let summary = SearchSummary::stopped(progress, bad_images, &self.config.run, self.world);
        write_json_atomic(&self.course.run().summary_path(), &summary)?;
        Ok(summary)
    }
}

impl Observer<SearchRecords> for SearchRecorder<'_> {
    fn step(&mut self) {
        self.course.line().advance();
    }

    fn steps(&mut self, record: &SearchStepRecord) -> Result<(), RunError> {
        let figures = format!("train {:.1} %, {:.0} images/s", record.train_top1, record.images_per_second);
        self.course.line().set_figures(figures);
        let scalars = [
            ("train_loss", Some(record.train_loss)),
            ("train_top1", Some(record.train_top1)),
            ("alpha_loss", record.alpha_loss),
            ("alpha_top1", record.alpha_top1),
            ("learning_rate", Some(record.learning_rate)),
            ("skip_dropout", Some(record.skip_dropout)),
            ("images_per_second", Some(record.images_per_second)),
        ];
        self.course.record(&SearchMetric::Steps(record), "steps", record.step, &scalars)
    }

    fn epoch(&mut self, record: &SearchEpochRecord) -> Result<(), RunError> {
        let valid = record.valid_top1.map_or(String::new(), |top1| format!(", valid {top1:.2} %"));
        tracing::info!(
            "stage {} epoch {}/{}: train {:.2} %, loss {:.3}{valid}, rate {:.4}, skip dropout {:.2}, {:.0} images/s",
            record.stage,
            record.epoch,
            self.config.search.epochs,
            record.train_top1,
            record.train_loss,
            record.learning_rate,
            record.skip_dropout,
            record.images_per_second
        );
        if let Some(earlier) = record.goes_back_to {
            tracing::info!(
                "stage {} ends with epoch {}: the loss's curvature in the alphas has grown by more than \
                 search.eigenvalue_stop = {}; its result is that of epoch {earlier}",
                record.stage,
                record.epoch,
                self.config.search.eigenvalue_stop
            );
        }
        let scalars = [
            ("train_loss", Some(record.train_loss)),
            ("train_top1", Some(record.train_top1)),
            ("alpha_loss", record.alpha_loss),
            ("alpha_top1", record.alpha_top1),
            ("valid_loss", record.valid_loss),
            ("valid_top1", record.valid_top1),
            ("normal_entropy", Some(record.normal_entropy)),
            ("reduction_entropy", Some(record.reduction_entropy)),
            ("penalty", record.penalty),
            ("eigenvalue", record.eigenvalue),
            ("seconds", Some(record.seconds)),
        ];
        self.course.record(&SearchMetric::Epoch(record), "epochs", record.step, &scalars)
    }

    fn incident(&mut self, incident: &Incident) -> Result<(), RunError> {
        self.course.incident(incident)
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint<SearchProgress>) -> Result<(), RunError> {
        self.course.save(checkpoint)
    }

    fn settle(&mut self) -> Result<(), RunError> {
        self.course.settle()
    }
}

impl SearchObserver for SearchRecorder<'_> {
    fn stage_begins(&mut self, stage: &Stage, steps_done: u64, steps: u64) {
        let (number, num_stages) = (stage.index + 1, self.config.search.stages.len());
        tracing::info!(
            "stage {number}/{num_stages}: {} cells, {} operations an edge, {} epochs",
            stage.num_cells,
            stage.num_operations,
            self.config.search.epochs
        );
        let steps_done = stage.index as u64 * steps + steps_done;
        if self.shows_line {
            // The stage before may have ended early.
            self.course.line().skip_to(steps_done);
        } else {
            self.shows_line = true;
            let steps_per_epoch = steps / self.config.search.epochs as u64;
            self.course.begin_line(stretches(&self.config.search, steps_per_epoch), steps_done);
        }
    }

    fn alphas(&mut self, alphas: &AlphasFile) -> Result<(), RunError> {
        self.course.line().set_shares(leading_operations(alphas));
        self.course.write(|run| run.write_alphas(alphas))
    }

    fn stage_ends(&mut self, progress: &SearchProgress, switches: &Switches, alphas: &Alphas) -> Result<(), RunError> {
        let stage = progress.records.stages.len();
        if stage == self.config.search.stages.len() {
            self.course.line().end();
        }
        let config = self.config;
        self.course.write(|run| {
            let num_epochs = progress.records.epochs.iter().filter(|epoch| epoch.stage == stage).count();
            let paths = (1..=num_epochs).map(|epoch| run.alphas_path(stage, epoch));
            let history = paths.map(|path| AlphasFile::read(&path)).collect::<Result<Vec<_>, _>>()?;
            write_figures(run, stage_figures(stage, config.search.alpha_start_epoch, switches, alphas, &history))?;
            let curves = search_curves(config, &progress.records.epochs);
            write_figures(run, vec![("curves.svg".to_owned(), curves)])
        })
    }
}

/// Operations whose shares are shown.
const NUM_LEADING: usize = 2;
/// What a step of the alphas costs beside one of the weights.
const ALPHA_STEP_COST: f64 = 0.7;

/// The epochs of all stages. A step costs about as much as its supernet has operations; each edge's sum counts as one.
fn stretches(search: &SearchSection, steps_per_epoch: u64) -> Vec<Stretch> {
    let num_stages = search.stages.len();
    let of_stage = |stage: Stage| {
        let size = (stage.num_cells * (stage.num_operations + 1)) as f64;
        (0..search.epochs).map(move |epoch| Stretch {
            name: format!("stage {}/{num_stages}, epoch {}/{}", stage.index + 1, epoch + 1, search.epochs),
            num_steps: steps_per_epoch,
            cost: size * if epoch < search.alpha_start_epoch { 1.0 } else { 1.0 + ALPHA_STEP_COST },
        })
    };
    Stage::sequence(search).into_iter().flat_map(of_stage).collect()
}

/// As in `sep_conv_3x3 34 %, dil_conv_5x5 21 %`: the largest shares in the normal cell, on average over its edges.
fn leading_operations(file: &AlphasFile) -> String {
    let shares = operation_shares(&file.live.normal, &file.alphas.normal);
    let shown = shares.iter().take(NUM_LEADING).map(|(operation, share)| format!("{operation} {:.0} %", 100.0 * share));
    shown.collect::<Vec<_>>().join(", ")
}
