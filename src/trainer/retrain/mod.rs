//! The retraining of a cell, from fresh weights to its accuracy on the test set.
//!
//! Read from here: this file goes from start to end, `task` says what steps and epochs do, and the common loop
//! (`trainer/epoch.rs`) calls it. Source: P-DARTS (arXiv:1904.12760), section 4.3; the order of things is that of the
//! authors' code. Differs from it where it scores the test set after every epoch: here that happens once, at the end,
//! unless the configuration wants it otherwise.

mod data;
mod mixing;
mod observer;
mod progress;
mod recipe;
mod rehearsal;
mod state;
mod task;

pub use data::TrainData;
pub use mixing::{MixedBatch, Mixing, MixingOptions};
pub use observer::TrainObserver;
pub use progress::{Scores, TrainEpochRecord, TrainProgress, TrainRecords, TrainStepRecord};
pub use recipe::StepSettings;
pub use state::TrainState;

use crate::config::{DivergencePolicy, TrainConfig};
use crate::trainer::accumulate::describe_batch;
use crate::trainer::bad_images::count_bad_images;
use crate::trainer::checkpoint::{ResumePoint, hash_values};
use crate::trainer::epoch::{EpochLoop, Plan};
use crate::trainer::error::{BatchSection, MemoryDemand};
use crate::trainer::parallel::BatchNormOverRanks;
use crate::trainer::stop::{Signal, StopSignal};
use crate::trainer::{TrainError, derive_seed};
use crate::weights::StateDict;
use crate::world::{World, activity};
use task::{BothScores, TrainTask};

/// A retraining.
pub struct Training<'a> {
    /// What to do.
    pub config: &'a TrainConfig,
    /// Where.
    pub world: &'a World,
    /// On what, and the network.
    pub data: &'a TrainData,
    /// Weights and statistics to begin with, instead of fresh ones.
    pub initial: Option<&'a StateDict>,
    /// Where the configuration that a user has written states the batch.
    pub section: BatchSection,
    /// When to stop early.
    pub stop: StopSignal,
    /// Who records it.
    pub observer: &'a mut dyn TrainObserver,
}

/// How a retraining ended.
pub enum TrainEnd {
    /// By a signal; the checkpoint is of the same moment, or of the end of the training when its test was cut short.
    Stopped {
        /// The signal's number.
        signal: Signal,
        /// How far it came.
        progress: Box<TrainProgress>,
        /// See [`TrainResult::bad_images`].
        bad_images: usize,
    },
    /// With a trained network.
    Complete(Box<TrainResult>),
}

/// What a retraining came to.
pub struct TrainResult {
    /// All epochs.
    pub progress: TrainProgress,
    /// The trained network.
    pub state: TrainState,
    /// Of the last epoch's weights on the test set.
    pub test: Scores,
    /// Of the averaged weights.
    pub test_ema: Option<Scores>,
    /// SHA-256 of weights and statistics, the same on all ranks.
    pub weights_hash: String,
    /// Different images that could not be read and were replaced by others, on all ranks since the last start.
    pub bad_images: usize,
}

/// How a training ended that is not tested.
pub(in crate::trainer) enum Trained {
    /// By a signal.
    Stopped(Signal),
    /// After its last epoch.
    Complete {
        /// On the images that were left for validation.
        valid: Option<Scores>,
        /// See [`TrainResult::weights_hash`].
        weights_hash: String,
    },
}

/// How the epochs of a training ended.
enum EpochsEnd {
    Stopped(Signal, TrainProgress),
    Complete(TrainProgress, Box<TrainState>),
}

impl<'a> Training<'a> {
    /// Runs the training from its start or from `resume` to its end or to a stop signal.
    ///
    /// # Errors
    /// When loading, libtorch or recording fails, and when the loss diverges. What was checkpointed stays.
    pub fn run(mut self, resume: Option<&ResumePoint<TrainProgress>>) -> Result<TrainEnd, TrainError> {
        let (progress, state) = match self.run_epochs(resume)? {
            EpochsEnd::Complete(progress, state) => (progress, *state),
            EpochsEnd::Stopped(signal, progress) => return self.stopped(signal, progress),
        };
        self.observer.ends(&progress)?;
        let _span = activity::phase("test");
        let test_loader = &self.data.test_loader;
        let mut task = TrainTask { training: &mut self, state };
        let BothScores { plain: test, ema: test_ema } = match task.score(test_loader)? {
            Ok(scores) => scores,
            Err(signal) => {
                // As the loop does: what the run goes on from has to be on the disk.
                task.training.observer.settle()?;
                return task.training.stopped(signal, progress);
            }
        };
        let (bad_images, state) = (task.training.count_bad_images()?, task.state);
        let weights_hash = hash_values(&[state.weights.values(), state.statistics.values()])?;
        Ok(TrainEnd::Complete(Box::new(TrainResult { progress, state, test, test_ema, weights_hash, bad_images })))
    }

    /// Runs the training from its start to its end or to a stop signal, without the test images.
    ///
    /// # Errors
    /// Those of [`Training::run`].
    pub(in crate::trainer) fn train(mut self) -> Result<Trained, TrainError> {
        let (progress, state) = match self.run_epochs(None)? {
            EpochsEnd::Complete(progress, state) => (progress, *state),
            EpochsEnd::Stopped(signal, _) => return Ok(Trained::Stopped(signal)),
        };
        let valid = progress.records.epochs.last().and_then(|epoch| epoch.valid);
        let weights_hash = hash_values(&[state.weights.values(), state.statistics.values()])?;
        Ok(Trained::Complete { valid, weights_hash })
    }

    fn run_epochs(&mut self, resume: Option<&ResumePoint<TrainProgress>>) -> Result<EpochsEnd, TrainError> {
        let _statistics = BatchNormOverRanks::begin(self.world, self.config.model.batch_norm);
        let mut state = self.new_state().map_err(|error| error.explained(|| self.demand(0)))?;
        let mut progress = TrainProgress::new(TrainRecords::default());
        if let Some(ResumePoint { checkpoint, path }) = resume {
            checkpoint.restore(&mut state, path, self.world)?;
            progress = checkpoint.header.progress.clone();
        }
        state.replicate(self.world, (&self.config.parallel).into())?;
        self.begin(&progress);
        let plan = self.plan();
        let mut task = TrainTask { training: self, state };
        Ok(match EpochLoop::new(plan, &mut task, &mut progress).run()? {
            Some(signal) => EpochsEnd::Stopped(signal, progress),
            None => EpochsEnd::Complete(progress, Box::new(task.state)),
        })
    }

    fn stopped(&self, signal: Signal, progress: TrainProgress) -> Result<TrainEnd, TrainError> {
        Ok(TrainEnd::Stopped { signal, progress: Box::new(progress), bad_images: self.count_bad_images()? })
    }

    fn count_bad_images(&self) -> Result<usize, TrainError> {
        Ok(count_bad_images(&self.data.bad_images, self.world)?)
    }

    /// What needs memory in `epoch` (from 0).
    fn demand(&self, epoch: usize) -> MemoryDemand {
        let TrainConfig { model, train, .. } = self.config;
        MemoryDemand {
            place: format!("epoch {}", epoch + 1),
            network: format!("a network of {} cells and {} channels", model.cells, model.channels),
            batch: describe_batch(train.global_batch, train.accumulate_steps, self.world),
            section: self.section,
        }
    }

    /// The network with weights drawn afresh, or with those it is to begin with.
    fn new_state(&self) -> Result<TrainState, TrainError> {
        tch::manual_seed(derive_seed(self.config.run.seed, "network", &[]));
        let mut state = TrainState::new(self.data.network.clone(), self.config, self.world.device, self.initial)?;
        state.checks_steps = self.config.run.on_divergence == DivergencePolicy::Skip;
        state.replay(self.config.obstacle_to_graphs(self.world.size));
        Ok(state)
    }

    /// What holds for all epochs.
    fn plan(&self) -> Plan<'a> {
        Plan {
            world: self.world,
            stop: self.stop.clone(),
            run: &self.config.run,
            parallel: &self.config.parallel,
            num_epochs: self.config.train.epochs,
            steps_per_epoch: self.data.train_loader.num_steps(),
            config_digest: &self.data.run_digest,
        }
    }

    fn begin(&mut self, progress: &TrainProgress) {
        let steps_per_epoch = self.data.train_loader.num_steps();
        let done = progress.epoch * steps_per_epoch + progress.step;
        self.observer.begins(done as u64, (self.config.train.epochs * steps_per_epoch) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DeviceChoice, Settings};
    use crate::genotype::library;
    use crate::run::RunError;
    use crate::trainer::{Checkpoint, Incident, Observer};

    const SIGTERM: Signal = 15;

    /// A signal comes when the epochs are over.
    struct Stopping {
        stop: StopSignal,
        /// What it was told, in order.
        told: Vec<&'static str>,
    }

    impl Observer<TrainRecords> for Stopping {
        fn step(&mut self) {}

        fn steps(&mut self, _: &TrainStepRecord) -> Result<(), RunError> {
            Ok(())
        }

        fn epoch(&mut self, _: &TrainEpochRecord) -> Result<(), RunError> {
            Ok(())
        }

        fn incident(&mut self, _: &Incident) -> Result<(), RunError> {
            Ok(())
        }

        fn checkpoint(&mut self, _: Checkpoint<TrainProgress>) -> Result<(), RunError> {
            self.told.push("checkpoint");
            Ok(())
        }

        fn settle(&mut self) -> Result<(), RunError> {
            self.told.push("settle");
            Ok(())
        }
    }

    impl TrainObserver for Stopping {
        fn begins(&mut self, _: u64, _: u64) {}

        fn ends(&mut self, _: &TrainProgress) -> Result<(), RunError> {
            self.told.push("ends");
            self.stop.request(SIGTERM);
            Ok(())
        }
    }

    #[test]
    fn signal_during_the_test_leaves_the_last_checkpoint_on_the_disk() {
        let network = ["model.channels=4", "model.cells=4"];
        let course = ["data.dataset=photodigits", "data.limit=40", "train.global_batch=8", "train.epochs=1"];
        let settings: Vec<_> = network.iter().chain(&course).map(|&text| text.to_owned()).collect();
        let config = TrainConfig::from_overrides(&settings).unwrap();
        let world = World::single(DeviceChoice::Cpu, 1).unwrap();
        let data = TrainData::load(&config, &library::find("PDARTS_C10").unwrap().genotype, &world).unwrap();
        assert!(data.test_loader.num_steps() > 1, "a signal is looked for between two steps");
        let stop = StopSignal::default();
        let mut observer = Stopping { stop: stop.clone(), told: Vec::new() };
        let training = Training {
            config: &config,
            world: &world,
            data: &data,
            initial: None,
            section: BatchSection::Train,
            stop,
            observer: &mut observer,
        };
        let TrainEnd::Stopped { signal, progress, .. } = training.run(None).unwrap() else { panic!("not stopped") };
        assert_eq!((signal, progress.epoch), (SIGTERM, 1));
        assert_eq!(observer.told, ["checkpoint", "ends", "settle"]);
    }
}
