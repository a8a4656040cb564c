//! The gradients of flat parameters: where backward leaves them, and the buffer that sums them up.
//!
//! Before a backward pass no parameter has a gradient, so autograd leaves each where it was computed, and [`accumulate`] adds
//! many at once to the buffer. On a GPU these are all of a pass, or of ranks all of a bucket. On a CPU, where a call for each
//! costs little and memory that is held for long leaves holes, a hook adds what waits during the pass as well.
//!
//! [`accumulate`]: FlatGradients::accumulate

use std::fmt;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Device, Tensor};

use crate::torch::{GradientHooks, TorchError, accumulate_gradients, drop_gradients};

/// So many gradients wait on a CPU at most.
const MOST_WAITING: usize = 64;

/// One buffer for the gradients of several parameters.
pub struct FlatGradients {
    buffer: Tensor,
    sums: Arc<Mutex<Sums>>,
    /// On a CPU; of clones the first has them.
    _hooks: Option<GradientHooks>,
}

struct Sums {
    parameters: Vec<Tensor>,
    /// The part of the buffer of each parameter, in one dimension.
    parts: Vec<Tensor>,
    /// Places of parameters whose gradients backward has left since the last were added, where hooks tell.
    waiting: Vec<usize>,
    /// Why a hook could not add some.
    failure: Option<TorchError>,
}

impl FlatGradients {
    /// Zeros, `[buffer length]` like `values`, in whose `ranges` the values of `parameters` lie.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn zeros(
        values: &Tensor,
        parameters: Vec<Tensor>,
        ranges: impl Iterator<Item = Range<i64>>,
    ) -> Result<Self, TorchError> {
        let buffer = values.f_zeros_like()?;
        let parts = ranges.map(|range| buffer.f_narrow(0, range.start, range.end - range.start));
        let parts = parts.collect::<Result<_, _>>()?;
        let handles: Vec<Tensor> = parameters.iter().map(Tensor::shallow_clone).collect();
        let sums = Arc::new(Mutex::new(Sums { parameters, parts, waiting: Vec::new(), failure: None }));
        let hooks = match buffer.device() {
            Device::Cpu => {
                let sums = Arc::clone(&sums);
                let ready = move |place| {
                    locked(&sums).wait(place);
                    ControlFlow::Continue(())
                };
                Some(GradientHooks::new(&handles.iter().collect::<Vec<_>>(), ready)?)
            }
            _ => None,
        };
        Ok(Self { buffer, sums, _hooks: hooks })
    }

    /// The buffer. It holds what was accumulated since it was zeroed.
    pub fn buffer(&self) -> &Tensor {
        &self.buffer
    }

    /// The same buffer and the same parameters.
    pub fn shallow_clone(&self) -> Self {
        Self { buffer: self.buffer.shallow_clone(), sums: Arc::clone(&self.sums), _hooks: None }
    }

    /// Adds what backward has left at the parameters of these places in the order of the buffer.
    ///
    /// # Errors
    /// When libtorch refuses, or has refused during the pass.
    pub fn accumulate(&self, places: Range<usize>) -> Result<(), TorchError> {
        locked(&self.sums).accumulate(places)
    }

    /// Drops what a backward pass that failed has left.
    pub fn drop_waiting(&self) {
        locked(&self.sums).drop_waiting();
    }

    /// Sets the buffer to zero and drops what a backward pass that failed has left.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn zero(&self) -> Result<(), TorchError> {
        self.drop_waiting();
        let _ = self.buffer.shallow_clone().f_zero_()?;
        Ok(())
    }
}

impl fmt::Debug for FlatGradients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FlatGradients").field("buffer", &self.buffer).finish_non_exhaustive()
    }
}

fn locked(sums: &Mutex<Sums>) -> MutexGuard<'_, Sums> {
    sums.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sums {
    fn accumulate(&mut self, places: Range<usize>) -> Result<(), TorchError> {
        self.waiting.retain(|place| !places.contains(place));
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        accumulate_gradients(self.parameters[places.clone()].iter().zip(&self.parts[places]))
    }

    /// Backward has left the gradient of this place's parameter there.
    fn wait(&mut self, place: usize) {
        self.waiting.push(place);
        if self.waiting.len() == MOST_WAITING {
            let waiting = mem::take(&mut self.waiting);
            let added =
                accumulate_gradients(waiting.iter().map(|&place| (&self.parameters[place], &self.parts[place])));
            self.failure = self.failure.take().or(added.err());
        }
    }

    fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.failure = None;
        drop_gradients(&self.parameters);
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);
    const NUM_PARAMETERS: usize = MOST_WAITING + 6;

    fn parameters() -> Vec<Tensor> {
        (0..NUM_PARAMETERS).map(|_| Tensor::ones([2], OPTIONS).set_requires_grad(true)).collect()
    }

    /// Of parameters that lie one behind the other, of which the last has so many values in the buffer.
    fn gradients(parameters: &[Tensor], last: i64) -> FlatGradients {
        let ends = (1..=parameters.len() as i64).map(|place| 2 * place);
        let mut ranges: Vec<_> = ends.map(|end| end - 2..end).collect();
        let end = ranges.last_mut().unwrap();
        end.end = end.start + last;
        let values = Tensor::ones([2 * parameters.len() as i64], OPTIONS);
        let handles = parameters.iter().map(Tensor::shallow_clone).collect();
        FlatGradients::zeros(&values, handles, ranges.into_iter()).unwrap()
    }

    /// Each parameter has its place as gradient, the first one in two parts.
    fn backward(parameters: &[Tensor]) {
        let terms = parameters.iter().enumerate().map(|(place, parameter)| parameter * place as f64);
        (Tensor::stack(&terms.collect::<Vec<_>>(), 0).sum(Kind::Float) + parameters[0].exp().sum(Kind::Float))
            .backward();
    }

    #[test]
    fn most_of_what_waits_on_a_cpu_is_added_during_the_pass() {
        let parameters = parameters();
        let gradients = gradients(&parameters, 2);
        for pass in [1.0, 2.0] {
            backward(&parameters);
            let waiting = parameters.iter().filter(|parameter| parameter.grad().defined()).count();
            assert_eq!(waiting, NUM_PARAMETERS - MOST_WAITING);
            gradients.shallow_clone().accumulate(0..NUM_PARAMETERS).unwrap();
            for place in 0..NUM_PARAMETERS {
                let expected = pass * if place == 0 { f64::from(1_f32.exp()) } else { place as f64 };
                assert_eq!(gradients.buffer().double_value(&[2 * place as i64 + 1]), expected);
            }
        }
    }

    #[test]
    fn failure_during_the_pass_is_told_after_it_once() {
        let parameters = parameters();
        let gradients = gradients(&parameters, 1);
        backward(&parameters);
        let message = gradients.accumulate(0..0).unwrap_err().to_string();
        assert!(message.contains("shape"), "{message}");
        gradients.accumulate(0..0).unwrap();
        backward(&parameters);
        gradients.zero().unwrap();
        gradients.accumulate(0..NUM_PARAMETERS).unwrap();
        assert_eq!(gradients.buffer().abs().sum(Kind::Float).double_value(&[]), 0.0);
    }
}
