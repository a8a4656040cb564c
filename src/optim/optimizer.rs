//! What all optimizers have in common: a step, and what of them a checkpoint keeps.

use std::fmt::Debug;

use tch::Tensor;

use super::FlatParameters;
use crate::torch::{TorchError, values_to_device};

/// Numbers of a step that the host knows, such as its learning rate.
pub type StepNumbers = Vec<f64>;

/// Steps one set of flat parameters.
///
/// Nothing in a step waits for the device: the learning rate and the counters are known to the host, norms stay tensors. A step is
/// in two halves, so that a GPU can be told the second one once and repeat it.
pub trait Optimizer: Debug {
    /// Counts one more step, and says what it depends on beside what is in buffers: the same quantities at every step.
    fn begin_step(&mut self, learning_rate: f64) -> StepNumbers;

    /// The rest of the step, along the gradients of `parameters`: it queues the same work at every step. `numbers` are those that
    /// [`begin_step`](Self::begin_step) has given, `[count]` in double precision on the parameters' device.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    fn move_parameters(&self, parameters: &FlatParameters, numbers: &Tensor) -> Result<(), TorchError>;

    /// One step at `learning_rate` along the gradients of `parameters`.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    fn step(&mut self, parameters: &FlatParameters, learning_rate: f64) -> Result<(), TorchError> {
        let numbers = self.begin_step(learning_rate);
        self.move_parameters(parameters, &values_to_device(&numbers, parameters.values().device())?)
    }

    /// The buffers that a continuation needs, `[buffer length]` each, under names that are unique within the optimizer.
    fn state(&self) -> Vec<(&'static str, &Tensor)>;

    /// The numbers that a continuation needs, by name.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Sets the counter `name` when state is restored from a checkpoint; other names are none of this optimizer's.
    fn set_counter(&mut self, name: &str, value: u64) {
        let _ = (name, value);
    }
}
