//! A step of a retraining that is to be, in every size of its images.

use super::task::TrainTask;
use super::{TrainProgress, TrainRecords, Training};
use crate::config::{TrainConfig, image_size_at};
use crate::trainer::TrainError;
use crate::trainer::parallel::BatchNormOverRanks;
use crate::trainer::rehearsal::{self, Amount, Rehearsal};

impl Training<'_> {
    /// Tries a step in each size of images. All ranks call this together.
    ///
    /// # Errors
    /// Those of [`Training::run`].
    pub fn rehearse(mut self) -> Result<Vec<Rehearsal>, TrainError> {
        let _statistics = BatchNormOverRanks::begin(self.world, self.config.model.batch_norm);
        let mut state = self.new_state().map_err(|error| error.explained(|| self.demand(0)))?;
        state.replicate(self.world, (&self.config.parallel).into())?;
        let (world, config) = (self.world, self.config);
        let parts = parts(config);
        let scored = self.scored_batches();
        let steps_per_epoch = self.data.train_loader.num_steps();
        let data_side = config.data.side();
        let mut task = TrainTask { training: &mut self, state };
        let mut rehearsals = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            rehearsal::begin();
            let weight_step_seconds = rehearsal::time_step(&mut task, part.start, world)?;
            let amount = Amount {
                weight_epochs: part.len(),
                both_epochs: 0,
                steps_per_epoch,
                // Counted once.
                scored_batches: if index == 0 { scored } else { 0 },
            };
            let side = image_size_at(&config.train.image_sizes, part.start).unwrap_or(data_side);
            rehearsals.push(Rehearsal {
                part: format!("epochs {} to {}", part.start + 1, part.end),
                network: format!("{} cells, {} channels, {side} pixels", config.model.cells, config.model.channels),
                weight_step_seconds,
                alpha_step_seconds: None,
                peak_memory_mib: rehearsal::peak_memory(world)?,
                checkpoint_bytes: rehearsal::checkpoint_bytes(&task, &progress(), world)?,
                seconds: amount.seconds(weight_step_seconds, 0.0),
            });
        }
        Ok(rehearsals)
    }

    /// Batches of validation and test in the whole training, each also with averaged weights where there are some.
    fn scored_batches(&self) -> usize {
        let train = &self.config.train;
        let validations = train.epochs.div_ceil(train.validate_every_epochs);
        let tests = if train.test_every_epoch { train.epochs + 1 } else { 1 };
        let valid_steps = self.data.valid_loader.as_ref().map_or(0, |loader| loader.num_steps());
        let networks = if train.ema_decay > 0.0 { 2 } else { 1 };
        networks * (validations * valid_steps + tests * self.data.test_loader.num_steps())
    }
}

fn progress() -> TrainProgress {
    TrainProgress::new(TrainRecords::default())
}

/// The epochs, from 0, that have images of one size.
fn parts(config: &TrainConfig) -> Vec<std::ops::Range<usize>> {
    let end = config.train.epochs;
    let changes = config.train.image_sizes.iter().map(|from| from.epoch).filter(|epoch| (1..end).contains(epoch));
    let starts: Vec<usize> = std::iter::once(0).chain(changes).collect();
    starts.iter().zip(starts.iter().skip(1).chain([&end])).map(|(start, end)| *start..*end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ImageSizeSection;

    #[test]
    fn parts_are_the_epochs_of_each_size() {
        let mut config = TrainConfig::default();
        config.train.epochs = 20;
        assert_eq!(parts(&config), vec![0..20; 1]);
        config.train.image_sizes =
            [(0, 128), (5, 160), (12, 224)].map(|(epoch, size)| ImageSizeSection { epoch, size }).to_vec();
        assert_eq!(parts(&config), [0..5, 5..12, 12..20]);
    }
}
