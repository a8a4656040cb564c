//! Records a search that trains single cells in its run directory.

use std::path::Path;

use super::course::write_genotypes;
use super::metrics::CellMetric;
use super::search_summary::SearchSummary;
use crate::config::SearchConfig;
use crate::genotype::{Variant, variant_within};
use crate::run::{EventWriter, GenotypeFile, JsonLog, Provenance, RunDirectory, RunError, write_json_atomic};
use crate::trainer::{CellObserver, CellRecord, best_of};
use crate::world::World;

/// The observer of rank 0.
pub struct CellRecorder<'a> {
    run: &'a RunDirectory,
    config: &'a SearchConfig,
    world: &'a World,
    metrics: JsonLog,
    events: EventWriter,
}

impl<'a> CellRecorder<'a> {
    /// Records into `run` behind the cells that it holds, which are returned.
    ///
    /// # Errors
    /// When the metrics or the event file cannot be opened, and where a line of the metrics is damaged.
    pub fn open(
        run: &'a RunDirectory,
        config: &'a SearchConfig,
        world: &'a World,
    ) -> Result<(Self, Vec<CellRecord>), RunError> {
        let path = run.metrics_path();
        // This cuts off what a killed process has left of a line.
        let metrics = JsonLog::open(&path)?;
        let records = read_records(&path)?;
        let events = run.open_events(records.len() as u64 + 1)?;
        Ok((Self { run, config, world, metrics, events }, records))
    }

    /// Writes the result of a complete search: `genotype.json`, its figures and `summary.json`. Returns both files'
    /// contents.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(
        &mut self,
        records: &[CellRecord],
        config_digest: &str,
    ) -> Result<(GenotypeFile, SearchSummary), RunError> {
        let (run, limit) = (self.run, self.config.search.max_skip_connects);
        let dataset = self.config.data.dataset.to_string();
        let provenance = Provenance::now(run.root(), &dataset, self.config.run.seed, config_digest);
        let best = best_of(records);
        let variants: Vec<Variant> = best.iter().map(|record| Variant::of(limit, record.genotype.clone())).collect();
        let mut genotypes = GenotypeFile::new(&variants, limit, Some(provenance));
        if let (Some(best), Some(_)) = (best, variant_within(&variants, limit)) {
            genotypes.result.why = why(best, records.len());
        }
        write_genotypes(run, &genotypes)?;
        let summary = self.write_summary(records, Some(&genotypes))?;
        Ok((genotypes, summary))
    }

    /// Writes the summary of a search that was stopped by a signal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn stopped(&mut self, records: &[CellRecord]) -> Result<SearchSummary, RunError> {
        self.write_summary(records, None)
    }

    fn write_summary(&self, records: &[CellRecord], result: Option<&GenotypeFile>) -> Result<SearchSummary, RunError> {
        let summary =
            SearchSummary::of_cells(records, self.config.evaluation.candidates, result, &self.config.run, self.world);
        write_json_atomic(&self.run.summary_path(), &summary)?;
        Ok(summary)
    }
}

impl CellObserver for CellRecorder<'_> {
    fn cell(&mut self, record: &CellRecord) -> Result<(), RunError> {
        let valid = match (record.valid_top1(), &record.evaluation.diverged, record.same_as) {
            (_, _, Some(same)) => format!("as cell {same}"),
            (Some(top1), ..) => format!("valid {top1:.2} %"),
            (None, Some(what), _) => what.clone(),
            (None, None, None) => "not trained".to_owned(),
        };
        let parent = record.parent.map_or(String::new(), |parent| format!(" from cell {parent}"));
        tracing::info!(
            "cell {}/{}{parent}: {valid}, {} skip connections, {:.2} M parameters, {:.1} s",
            record.number,
            self.config.evaluation.candidates,
            record.skip_connects,
            record.parameters as f64 / 1e6,
            record.evaluation.seconds
        );
        self.metrics.append(&CellMetric::Cell(record))?;
        // The line is all that a killed search goes on from.
        self.metrics.position()?;
        if let Some(top1) = record.valid_top1() {
            self.events.add_scalar("cells/valid_top1", record.number as u64, top1)?;
        }
        self.events.flush()
    }
}

/// The cells in the metrics at `path`.
fn read_records(path: &Path) -> Result<Vec<CellRecord>, RunError> {
    let read = |cause| RunError::Read { path: path.to_owned(), cause };
    let text = std::fs::read_to_string(path).map_err(read)?;
    let cell = |(index, line): (usize, &str)| {
        let problem = |error| format!("line {} is not of an evaluated cell ({error})", index + 1);
        match serde_json::from_str(line) {
            Ok(CellMetric::Cell(record)) => Ok(record),
            Err(error) => Err(RunError::Config { path: path.to_owned(), problem: problem(error) }),
        }
    };
    text.lines().enumerate().map(cell).collect()
}

fn why(best: &CellRecord, num_cells: usize) -> String {
    match best.valid_top1() {
        None if num_cells == 1 => "the one cell that was drawn; nothing was trained".to_owned(),
        None => "the first cell: no training of any came to a result".to_owned(),
        Some(top1) => format!("cell {} of {num_cells}, the best on the validation images: {top1:.2} %", best.number),
    }
}
