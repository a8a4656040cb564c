//! How the replicas of several ranks stay one: the same start, and gradients averaged over the images of all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::Tensor;

use super::reducer::{Reducer, ReducerOptions};
use crate::optim::FlatParameters;
use crate::trainer::TrainError;
use crate::trainer::replay::CutBehind;
use crate::world::{Communicator, Label, ReduceOp, World, activity};

/// What a replica needs to work with the others.
pub struct RankAverages {
    communicator: Arc<dyn Communicator>,
    /// Of the weights.
    reducer: Reducer,
    /// Time spent waiting for sums after backward.
    exposed: Duration,
}

impl RankAverages {
    /// Gives all ranks the values of rank 0 in `buffers`, and from now on averages the gradients of `weights` over them.
    /// `None` on a single rank. All ranks call this together, as everything that follows.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn join(
        world: &World,
        weights: &FlatParameters,
        options: ReducerOptions,
        buffers: &[&Tensor],
    ) -> Result<Option<Self>, TrainError> {
        if world.size == 1 {
            return Ok(None);
        }
        let communicator = Arc::clone(world.communicator());
        for buffer in buffers {
            communicator.broadcast(buffer, 0, Label::new("broadcast of the state"))?.wait()?;
        }
        let reducer = Reducer::new(weights, Arc::clone(&communicator), options)?;
        Ok(Some(Self { communicator, reducer, exposed: Duration::ZERO }))
    }

    /// Says that the next backward pass is the last before the step.
    pub fn arm(&self) {
        self.reducer.arm();
    }

    /// Says that the next backward pass is that of a recording, which `cut` cuts.
    pub fn arm_recording(&self, cut: CutBehind) {
        self.reducer.arm_recording(cut);
    }

    /// Ends the recording of that pass.
    ///
    /// # Errors
    /// When it could not be cut.
    pub fn end_recording(&self) -> Result<(), TrainError> {
        self.reducer.end_recording()
    }

    /// Sends the first so many buckets of gradients, which a replay has computed.
    pub fn send_up_to(&self, num_buckets: usize) {
        self.reducer.send_up_to(num_buckets);
    }

    /// Waits until the gradients of the weights are those of all ranks.
    ///
    /// # Errors
    /// When the exchange failed.
    pub fn finish(&mut self) -> Result<(), TrainError> {
        let _span = activity::phase("waiting for gradients");
        let start = Instant::now();
        self.reducer.finish()?;
        self.exposed += start.elapsed();
        Ok(())
    }

    /// Lets nothing go on of a backward pass that failed.
    pub fn give_up(&self) {
        self.reducer.give_up();
    }

    /// Replaces `gradients` by their average over ranks.
    ///
    /// # Errors
    /// When the exchange failed.
    pub fn average(&mut self, gradients: &Tensor, label: Label) -> Result<(), TrainError> {
        let _span = activity::phase("waiting for gradients");
        let start = Instant::now();
        self.communicator.all_reduce(gradients, ReduceOp::Average, label)?.wait()?;
        self.exposed += start.elapsed();
        Ok(())
    }

    /// How long steps have waited for sums over ranks that the backward pass did not hide, on the host.
    pub fn exposed(&self) -> Duration {
        self.exposed
    }
}
