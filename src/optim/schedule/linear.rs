//! The authors' schedule on ImageNet: a straight line that would end five epochs early, and a slow tail.
//!
//! Source: `adjust_lr` of the authors' `train_imagenet.py`.

use super::{Schedule, Stretch};

/// Epochs of the tail; a training has more.
const TAIL_EPOCHS: f64 = 5.0;

/// Linear to 0 at five epochs before the end; from there, linear from the last rate before it to 0. Stated for whole
/// epochs.
#[derive(Copy, Clone, Debug)]
pub struct AuthorsLinear;

impl Schedule for AuthorsLinear {
    fn factor(&self, Stretch { done, epochs }: Stretch) -> f64 {
        let (left, line) = (epochs - done, epochs - TAIL_EPOCHS);
        if left > TAIL_EPOCHS { (left - TAIL_EPOCHS) / line } else { left / (line * TAIL_EPOCHS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_five_epochs_early_and_its_last_rate_fades_out() {
        let factors: Vec<f64> =
            (0..10).map(|epoch| AuthorsLinear.factor(Stretch { done: epoch as f64, epochs: 10.0 })).collect();
        let expected = [1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.16, 0.12, 0.08, 0.04];
        for (factor, expected) in factors.iter().zip(expected) {
            assert!((factor - expected).abs() < 1e-15, "{factors:?}");
        }
    }
}
