//! A part of a network whose forward pass backward can compute again instead of keeping its activations.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::Tensor;

use super::{NamedTensor, ParameterStore};
use crate::torch::{Part, TorchError, checkpoint};

/// `T` with the tensors that it registered.
#[derive(Debug)]
pub struct Checkpointed<T> {
    /// Backward passes, which outlive the borrow of a forward pass, use it too, on a GPU from another thread.
    part: Arc<Mutex<T>>,
    parameters: Vec<Tensor>,
    statistics: Vec<Tensor>,
}

impl<T: Send + 'static> Checkpointed<T> {
    /// What `build` makes of `store`.
    pub fn new(store: &mut ParameterStore, build: impl FnOnce(&mut ParameterStore) -> T) -> Self {
        let (num_parameters, num_statistics) = (store.trainable().len(), store.statistics().len());
        let part = Arc::new(Mutex::new(build(store)));
        let handles =
            |named: &[NamedTensor]| named.iter().map(|named| named.tensor.shallow_clone()).collect::<Vec<_>>();
        Self {
            part,
            parameters: handles(&store.trainable()[num_parameters..]),
            statistics: handles(&store.statistics()[num_statistics..]),
        }
    }

    /// The part itself.
    pub fn part(&self) -> MutexGuard<'_, T> {
        lock(&self.part)
    }

    /// `forward` of the part and `inputs`; with `computes_again`, backward calls it a second time and nothing but the
    /// inputs is kept until then: see [`checkpoint`].
    ///
    /// Gradients of one tensor that stands among the inputs twice are added in their order.
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn forward(
        &self,
        inputs: &[&Tensor],
        computes_again: bool,
        forward: impl Fn(&T, &[Tensor]) -> Result<Tensor, TorchError> + Send + 'static,
    ) -> Result<Tensor, TorchError> {
        if !computes_again {
            let inputs: Vec<Tensor> = inputs.iter().map(|input| input.shallow_clone()).collect();
            return forward(&self.part(), &inputs);
        }
        let part = Arc::clone(&self.part);
        let tensors = Part { inputs, parameters: &self.parameters, statistics: &self.statistics };
        checkpoint(tensors, move |inputs| forward(&lock(&part), inputs))
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // A forward pass changes nothing of it but tensors.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
