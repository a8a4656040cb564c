//! How the weights of a forward pass are drawn: samples at which temperature, changes of what size, from which random stream.

/// The draw of one forward pass.
#[derive(Copy, Clone, Debug)]
pub struct Sampling {
    /// How far samples are from a choice of one operation; above 0.
    pub temperature: f64,
    /// How far the weights of operations are changed at most; 0 = not.
    pub perturbation: f64,
    /// Of the random stream: the same for all parts of a step and on all ranks.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, perturbation: 0.0, seed: 0 }
    }
}

/// The temperature of `epoch` (from 0) of `num_epochs`: linear from `initial` in the first to `last` in the last.
///
/// Source: the authors' code of SNAS (arXiv:1812.09926).
pub fn temperature(initial: f64, last: f64, epoch: usize, num_epochs: usize) -> f64 {
    let course = epoch as f64 / num_epochs.saturating_sub(1).max(1) as f64;
    initial + (last - initial) * course
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_is_linear_over_the_epochs_and_that_of_a_single_epoch_is_the_first() {
        let at = |epoch| temperature(1.0, 0.1, epoch, 4);
        assert!((at(0) - 1.0).abs() < 1e-12 && (at(1) - 0.7).abs() < 1e-12 && (at(3) - 0.1).abs() < 1e-12);
        assert_eq!(temperature(1.0, 0.1, 0, 1), 1.0);
    }
}
