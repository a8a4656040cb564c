//! Forward and backward passes that a GPU repeats without being told every kernel: each kind of pass runs once as it is, is
//! recorded the second time, and replayed from then on.
//!
//! What a replay reads and writes stands where it stood when it was recorded: parameters, statistics and gradients in their flat
//! buffers, a step's images in tensors that are kept here. All passes of a state share the memory for what is between: they are
//! replayed one after the other, and what a pass leaves is copied behind it.

use std::collections::HashMap;
use std::hash::Hash;

use tch::{Device, Kind, Tensor, no_grad};

use super::TrainError;
use crate::torch::{Graph, gpu_kernels_serve, synchronises_batch_norm};

/// The recorded passes of one state, by their kind `K`.
#[derive(Debug)]
pub(super) struct Replays<K> {
    /// The GPU; none where nothing is recorded.
    device: Option<usize>,
    passes: HashMap<(K, usize, Shapes), Option<Recorded>>,
    launches: u64,
}

/// Sizes and types of a pass's inputs.
type Shapes = Vec<(Vec<i64>, Kind)>;

#[derive(Debug)]
struct Recorded {
    graph: Graph,
    inputs: Vec<Tensor>,
    outputs: Passed,
}

/// What a pass leaves beside gradients.
#[derive(Debug)]
pub(super) struct Passed {
    /// The mean loss, a scalar without gradient.
    pub loss: Tensor,
    /// `[N, classes]`, without gradient.
    pub logits: Tensor,
}

impl Passed {
    fn copied(&self) -> Result<Self, TrainError> {
        no_grad(|| Ok(Self { loss: self.loss.f_detach_copy()?, logits: self.logits.f_detach_copy()? }))
    }
}

impl<K> Default for Replays<K> {
    fn default() -> Self {
        Self { device: None, passes: HashMap::new(), launches: 0 }
    }
}

/// Whether this process can record passes: its own GPU kernels compute them, and BatchNorm asks no other ranks.
pub(super) fn replays_serve() -> bool {
    gpu_kernels_serve() && !synchronises_batch_norm()
}

impl<K: Copy + Eq + Hash> Replays<K> {
    /// On `device`, if it is a GPU and `wanted`.
    pub fn on(device: Device, wanted: bool) -> Self {
        let device = match device {
            Device::Cuda(index) if wanted => Some(index),
            _ => None,
        };
        Self { device, ..Self::default() }
    }

    /// Whether passes are recorded.
    pub fn is_on(&self) -> bool {
        self.device.is_some()
    }

    /// Kernels and copies of all passes that were replayed so far.
    pub fn launches(&self) -> u64 {
        self.launches
    }

    /// What `pass` leaves of `inputs`, computed or replayed. Passes of one kind, for one of so many parts of a step, on inputs of
    /// one shape queue the same work, and draw what they draw with `probability`. Nothing of it may wait for the device.
    ///
    /// # Errors
    /// Those of `pass`. Where CUDA refuses to record it, it is computed, with a warning, and nothing is recorded any more.
    pub fn run(
        &mut self,
        (kind, num_parts): (K, usize),
        inputs: &[&Tensor],
        probability: f64,
        pass: impl Fn(&[&Tensor]) -> Result<Passed, TrainError>,
    ) -> Result<Passed, TrainError> {
        let Some(device) = self.device else { return pass(inputs) };
        let shapes = inputs.iter().map(|input| (input.size(), input.kind())).collect();
        let key = (kind, num_parts, shapes);
        match self.passes.get(&key) {
            // The first of a kind: libraries make their choices and take their memory.
            None => {
                self.passes.insert(key, None);
                return pass(inputs);
            }
            Some(None) => match Recorded::new(device, self.shares(), inputs, &pass) {
                Ok(recorded) => {
                    tracing::debug!("recorded a CUDA graph of {} nodes", recorded.graph.size());
                    self.passes.insert(key.clone(), Some(recorded));
                }
                Err(error) => {
                    tracing::warn!("no step is replayed as a CUDA graph from now on, which is slower: {error}");
                    self.device = None;
                    self.passes.clear();
                    return pass(inputs);
                }
            },
            Some(Some(_)) => {}
        }
        match self.passes.get(&key) {
            Some(Some(recorded)) => {
                self.launches += recorded.graph.size() as u64;
                recorded.replay(inputs, probability)
            }
            _ => pass(inputs),
        }
    }

    /// Whose memory another pass can be recorded in.
    fn shares(&self) -> Option<&Graph> {
        self.passes.values().flatten().map(|recorded| &recorded.graph).next()
    }
}

impl Recorded {
    fn new(
        device: usize,
        shares: Option<&Graph>,
        inputs: &[&Tensor],
        pass: impl Fn(&[&Tensor]) -> Result<Passed, TrainError>,
    ) -> Result<Self, TrainError> {
        let kept = no_grad(|| inputs.iter().map(|input| input.f_detach_copy()).collect::<Result<Vec<_>, _>>())?;
        let (graph, outputs) = Graph::record(device, shares, || pass(&kept.iter().collect::<Vec<_>>()))?;
        Ok(Self { graph, inputs: kept, outputs })
    }

    fn replay(&self, inputs: &[&Tensor], probability: f64) -> Result<Passed, TrainError> {
        no_grad(|| -> Result<(), TrainError> {
            for (kept, input) in self.inputs.iter().zip(inputs) {
                kept.shallow_clone().f_copy_(input)?;
            }
            Ok(())
        })?;
        self.graph.replay(probability)?;
        // The next replay writes over them.
        self.outputs.copied()
    }
}
