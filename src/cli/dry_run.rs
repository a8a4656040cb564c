//! `--dry-run` of `pdarts search` and `pdarts train`: what a run would take, found out by its own first steps.
//!
//! Everything is as in a run up to the first step of each part; nothing is left behind.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::Serialize;

use super::output;
use super::ranks::agree;
use super::run_arguments::check_apart;
use super::table::Table;
use crate::config::{DatasetName, RunSection};
use crate::report::duration;
use crate::run::{RunDirectory, free_bytes};
use crate::trainer::Rehearsal;
use crate::world::{DeviceName, World};

/// A line of metrics with its points for TensorBoard.
const BYTES_OF_A_RECORD: u64 = 1500;
/// Alphas and the like after an epoch.
const BYTES_OF_AN_EPOCH: u64 = 16_000;
/// Figures, the page, the log, and what else does not grow.
const BYTES_OF_A_RUN: u64 = 4_000_000;

/// What a run is to do, as far as disk and clock are concerned.
pub struct RunToBe {
    /// When it writes records and checkpoints, and how many of these it keeps.
    pub section: RunSection,
    /// Where it would go.
    pub root: PathBuf,
    pub images: Vec<Images>,
    /// Of the whole run.
    pub epochs: usize,
    pub steps: usize,
    /// Files of weights at the end.
    pub num_weight_files: u64,
    /// Runs like this one, one after the other.
    pub num_runs: usize,
    /// Cells of which nothing is left but a line, where each run trains one; otherwise 0.
    pub num_cells: usize,
}

/// Images of a run.
#[derive(Clone, Serialize)]
pub struct Images {
    /// As in `to train weights`.
    pub purpose: &'static str,
    pub count: usize,
}

#[derive(Serialize)]
struct Forecast {
    device: String,
    ranks: usize,
    threads: usize,
    images: Vec<Images>,
    parts: Vec<Rehearsal>,
    runs: usize,
    seconds: f64,
    disk_bytes: u64,
    free_bytes: u64,
    folder: PathBuf,
}

/// Refuses a place where the run's folder could not be made or would be among the images, before anything is computed. All
/// ranks call this together.
pub fn check_place(root: &Path, (dataset, dir): (DatasetName, &Path), world: &World) -> anyhow::Result<()> {
    let check = || {
        check_apart(root, dataset, dir)?;
        Ok(RunDirectory::check_vacant(root).map(drop)?)
    };
    agree(world, if world.is_root() { check() } else { Ok(()) })
}

/// Compares with the disk what the steps of `parts` lead to expect, and prints it. All ranks call this together.
///
/// # Errors
/// When there is not enough room.
pub fn conclude(run: RunToBe, parts: Vec<Rehearsal>, world: &World, as_json: bool) -> anyhow::Result<()> {
    let forecast = agree(world, if world.is_root() { run.forecast(parts, world).map(Some) } else { Ok(None) })?;
    match forecast {
        Some(forecast) if as_json => output::print_json(&forecast),
        Some(forecast) => Ok(output::print(forecast.text())?),
        None => Ok(()),
    }
}

impl RunToBe {
    fn forecast(&self, parts: Vec<Rehearsal>, world: &World) -> anyhow::Result<Forecast> {
        let folder = RunDirectory::check_vacant(&self.root)?;
        let (disk, free) = (self.disk_bytes(&parts), free_bytes(&folder)?);
        if disk > free {
            return Err(anyhow!(
                "{} has {} left, the run is to take {}: free some space or choose another --out",
                folder.display(),
                mib(free),
                mib(disk)
            ));
        }
        Ok(Forecast {
            device: DeviceName(world.device).to_string(),
            ranks: world.size,
            threads: world.threads,
            images: self.images.clone(),
            seconds: parts.iter().map(|part| part.seconds).sum::<f64>() * self.num_runs as f64,
            parts,
            runs: self.num_runs,
            disk_bytes: disk,
            free_bytes: free,
            folder,
        })
    }

    /// Checkpoints that are there at a time, of those that the run can write.
    fn num_checkpoints(&self, parts: &[Rehearsal]) -> u64 {
        let RunSection { keep_checkpoints, keep_best_checkpoint, checkpoint_every_epochs, .. } = self.section;
        let after_epochs = match keep_best_checkpoint {
            // Any could be the best so far.
            true => self.epochs,
            // The last of a part is followed by one in any case.
            false => self.epochs / checkpoint_every_epochs.max(1) + parts.len(),
        };
        let seconds = parts.iter().map(|part| part.seconds).sum::<f64>();
        let within_epochs = match self.section.checkpoint_every_minutes {
            0.0 => 0,
            minutes => ((seconds / (60.0 * minutes)).ceil() as usize).min(self.steps),
        };
        (keep_checkpoints.min(after_epochs + within_epochs) + usize::from(keep_best_checkpoint)) as u64
    }

    /// The checkpoints that are kept and the one that is being written, weights, records.
    fn disk_bytes(&self, parts: &[Rehearsal]) -> u64 {
        if self.num_cells > 0 {
            return BYTES_OF_A_RUN + self.num_cells as u64 * BYTES_OF_A_RECORD;
        }
        let checkpoint = parts.iter().map(|part| part.checkpoint_bytes).max().unwrap_or(0);
        let records = (self.steps / self.section.log_every_steps.max(1) + self.epochs) as u64 * BYTES_OF_A_RECORD;
        let files = (self.num_checkpoints(parts) + 1 + self.num_weight_files) * checkpoint;
        (files + records + self.epochs as u64 * BYTES_OF_AN_EPOCH + BYTES_OF_A_RUN) * self.num_runs as u64
    }
}

impl Forecast {
    fn text(&self) -> String {
        let mut table = Table::new(&[&["part", "network", "weight step", "alpha step", "memory", "whole part"]]);
        let seconds = |seconds: f64| format!("{seconds:.3} s");
        for part in &self.parts {
            table.row([
                part.part.clone(),
                part.network.clone(),
                seconds(part.weight_step_seconds),
                part.alpha_step_seconds.map_or("-".to_owned(), seconds),
                part.peak_memory_mib.map_or("-".to_owned(), |peak| format!("{peak:.0} MiB")),
                duration(part.seconds),
            ]);
        }
        let images = self.images.iter().map(|Images { purpose, count }| format!("{count} {purpose}"));
        let images = images.collect::<Vec<_>>().join(", ");
        let runs = if self.runs > 1 { format!(" ({} runs)", self.runs) } else { String::new() };
        format!(
            "{table}\nimages: {images}\nranks: {} on {}, {} threads each\ndisk: {} of {} left in {}\nwhole run: about {}{runs}\n\
             Nothing was written.",
            self.ranks,
            self.device,
            self.threads,
            mib(self.disk_bytes),
            mib(self.free_bytes),
            self.folder.display(),
            duration(self.seconds)
        )
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1u64 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_those_that_are_kept_of_those_that_are_written() {
        let part = |seconds| Rehearsal {
            part: String::new(),
            network: String::new(),
            weight_step_seconds: 0.1,
            alpha_step_seconds: None,
            peak_memory_mib: None,
            checkpoint_bytes: 1,
            seconds,
        };
        // Two parts of 10 epochs, an hour in all.
        let parts = [part(1800.0), part(1800.0)];
        let count = |change: fn(&mut RunSection)| {
            let mut section = RunSection { checkpoint_every_minutes: 0.0, ..RunSection::default() };
            change(&mut section);
            let run = RunToBe {
                section,
                root: PathBuf::new(),
                images: Vec::new(),
                epochs: 20,
                steps: 200,
                num_weight_files: 0,
                num_runs: 1,
                num_cells: 0,
            };
            run.num_checkpoints(&parts)
        };
        assert_eq!(count(|_| {}), 2);
        assert_eq!(count(|run| run.keep_checkpoints = usize::MAX), 22);
        assert_eq!(count(|run| (run.keep_checkpoints, run.checkpoint_every_epochs) = (usize::MAX, 7)), 4);
        assert_eq!(count(|run| (run.keep_checkpoints, run.checkpoint_every_minutes) = (usize::MAX, 10.0)), 28);
        assert_eq!(count(|run| (run.keep_checkpoints, run.checkpoint_every_minutes) = (usize::MAX, 1e-6)), 222);
        assert_eq!(count(|run| (run.keep_checkpoints, run.keep_best_checkpoint) = (usize::MAX, true)), 21);
    }
}
