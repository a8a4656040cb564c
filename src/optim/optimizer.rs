//! What all optimizers have in common: a step, and what of them a checkpoint keeps.

use std::fmt::Debug;

use tch::Tensor;

use super::FlatParameters;

/// Steps one set of flat parameters.
///
/// Nothing in a step waits for the device: the learning rate and the counters are known to the host, norms stay tensors.
pub trait Optimizer: Debug {
    /// One step at `learning_rate` along the gradients of `parameters`.
    fn step(&mut self, parameters: &FlatParameters, learning_rate: f64);

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
