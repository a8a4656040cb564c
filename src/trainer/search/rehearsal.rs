//! One step of each kind in every stage of a search that is to be.

use std::time::Instant;

use tch::Kind;

use super::task::StageTask;
use super::{Search, SearchProgress};
use crate::config::SearchSection;
use crate::genotype::Switches;
use crate::search::Stage;
use crate::trainer::TrainError;
use crate::trainer::parallel::BatchNormOverRanks;
use crate::trainer::rehearsal::{self, Amount, Rehearsal};

impl Search<'_> {
    /// Tries every stage in its size, with operations as fresh alphas leave them. All ranks call this together.
    ///
    /// # Errors
    /// Those of [`Search::run`].
    pub fn rehearse(mut self) -> Result<Vec<Rehearsal>, TrainError> {
        let stages = Stage::sequence(&self.config.search);
        let _statistics = BatchNormOverRanks::begin(self.world, self.config.model.batch_norm);
        let mut switches = Switches::full(&self.config.search.operations)?;
        let mut rehearsals = Vec::new();
        for stage in &stages {
            let (rehearsal, kept) = self.rehearse_stage(stage, &switches, stage.index + 1 == stages.len())?;
            rehearsals.push(rehearsal);
            switches = kept;
        }
        Ok(rehearsals)
    }

    /// What the stage takes, and the operations that are left after it.
    fn rehearse_stage(
        &mut self,
        stage: &Stage,
        switches: &Switches,
        is_last: bool,
    ) -> Result<(Rehearsal, Switches), TrainError> {
        let (world, search) = (self.world, &self.config.search);
        rehearsal::begin();
        let state = self.new_state(stage, switches, Kind::Float);
        let mut state = state.map_err(|error| error.explained(|| self.demand(stage, switches, 0)))?;
        state.replicate(world, (&self.config.parallel).into())?;
        let amount = self.amount(search);
        let mut task = StageTask { search: self, stage, switches: switches.clone(), state };
        let (rests, trains) = (amount.weight_epochs > 0, amount.both_epochs > 0);
        let first_trained = search.alpha_start_epoch;
        let weights = if rests { Some(rehearsal::time_step(&mut task, 0, world)?) } else { None };
        let both = if trains { Some(rehearsal::time_step(&mut task, first_trained, world)?) } else { None };
        // Without epochs of one kind alone the two kinds of step are taken to be alike.
        let weight_step_seconds = weights.or(both.map(|both| both / 2.0)).unwrap_or(0.0);
        let alpha_step_seconds = both.map(|both| (both - weight_step_seconds).max(0.0));
        let num_measurements = search.num_measurements();
        let measurement_seconds = if num_measurements > 0 { time_measurement(&task)? } else { 0.0 };
        let progress = SearchProgress::start(switches.clone());
        let rehearsal = Rehearsal {
            part: format!("stage {}", stage.index + 1),
            network: format!("{} cells, {} operations an edge", stage.num_cells, stage.num_operations),
            weight_step_seconds,
            alpha_step_seconds,
            peak_memory_mib: rehearsal::peak_memory(world)?,
            checkpoint_bytes: rehearsal::checkpoint_bytes(&task, &progress, world)?,
            seconds: amount.seconds(weight_step_seconds, alpha_step_seconds.unwrap_or(0.0))
                + num_measurements as f64 * measurement_seconds,
        };
        let kept = switches.drop_weakest(&task.state.alphas()?, stage.keep, is_last)?;
        Ok((rehearsal, kept))
    }

    /// Of any stage.
    fn amount(&self, search: &SearchSection) -> Amount {
        let validations = search.epochs.div_ceil(search.validate_every_epochs);
        let weight_epochs = search.alpha_start_epoch.min(search.epochs);
        Amount {
            weight_epochs,
            both_epochs: search.epochs - weight_epochs,
            steps_per_epoch: self.data.weight_loader.num_steps(),
            scored_batches: validations * self.data.valid_loader.num_steps(),
        }
    }
}

/// Seconds of a measurement of the curvature.
fn time_measurement(task: &StageTask<'_, '_>) -> Result<f64, TrainError> {
    let start = Instant::now();
    // A signal is asked for again behind it.
    let _ = task.eigenvalue()?;
    Ok(start.elapsed().as_secs_f64())
}
