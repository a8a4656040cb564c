//! A running average of the weights, which often tests better than the weights themselves.
//!
//! Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging* (1992); the warm-up is that of
//! TensorFlow's `ExponentialMovingAverage`.

use tch::{Tensor, no_grad};

use crate::torch::TorchError;

/// Averages of flat buffers: those of the weights and of the statistics of one network.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    averages: Vec<Tensor>,
    num_updates: u64,
}

impl Ema {
    /// Starts with the values of `buffers`; `decay` is below 1.
    ///
    /// # Errors
    /// When libtorch has no memory for the averages.
    pub fn new(decay: f64, buffers: &[&Tensor]) -> Result<Self, TorchError> {
        let averages = buffers.iter().map(|buffer| buffer.f_detach_copy()).collect::<Result<_, _>>()?;
        Ok(Self { decay, averages, num_updates: 0 })
    }

    /// Counts one more update, and says by which share of the way it moves the averages: `1 - decay`, or more while few
    /// updates have been made.
    pub fn begin_update(&mut self) -> f64 {
        self.num_updates += 1;
        let updates = self.num_updates as f64;
        1.0 - self.decay.min((1.0 + updates) / (10.0 + updates))
    }

    /// Moves each average towards its buffer by `share` of the way, a scalar on their device: always the same work.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn move_averages(&self, buffers: &[&Tensor], share: &Tensor) -> Result<(), TorchError> {
        no_grad(|| {
            for (average, buffer) in self.averages.iter().zip(buffers) {
                let share = share.f_to_kind(buffer.kind())?;
                let _ = average.shallow_clone().f_lerp_tensor_(buffer, &share)?;
            }
            Ok(())
        })
    }

    /// Exchanges the averages with the values of `buffers`: twice restores both.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory for a copy.
    pub fn exchange(&mut self, buffers: &[&Tensor]) -> Result<(), TorchError> {
        no_grad(|| {
            for (average, buffer) in self.averages.iter().zip(buffers) {
                let values = buffer.f_zeros_like()?;
                values.shallow_clone().f_copy_(buffer)?;
                buffer.shallow_clone().f_copy_(average)?;
                average.shallow_clone().f_copy_(&values)?;
            }
            Ok(())
        })
    }

    /// The averages, in the order of the buffers.
    pub fn averages(&self) -> &[Tensor] {
        &self.averages
    }

    /// Steps averaged over.
    pub fn num_updates(&self) -> u64 {
        self.num_updates
    }

    /// Sets the number of steps, when averages are restored from a checkpoint.
    pub fn set_num_updates(&mut self, num_updates: u64) {
        self.num_updates = num_updates;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_follows_quickly_at_first_and_slowly_later() {
        let mut value = Tensor::from_slice(&[0.0f64]);
        let mut ema = Ema::new(0.9, &[&value]).unwrap();
        let _ = value.fill_(1.0);
        let mut expected = 0.0;
        for step in 1..=200 {
            let share = Tensor::from(ema.begin_update());
            ema.move_averages(&[&value], &share).unwrap();
            let decay = f64::min(0.9, (1.0 + f64::from(step)) / (10.0 + f64::from(step)));
            expected = decay * expected + (1.0 - decay);
            assert!((ema.averages()[0].double_value(&[0]) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn exchanging_twice_changes_nothing() {
        let mut value = Tensor::from_slice(&[1.0f64]);
        let mut ema = Ema::new(0.5, &[&value]).unwrap();
        let _ = value.fill_(2.0);
        ema.exchange(&[&value]).unwrap();
        assert_eq!((value.double_value(&[0]), ema.averages()[0].double_value(&[0])), (1.0, 2.0));
        ema.exchange(&[&value]).unwrap();
        assert_eq!((value.double_value(&[0]), ema.averages()[0].double_value(&[0])), (2.0, 1.0));
    }
}
