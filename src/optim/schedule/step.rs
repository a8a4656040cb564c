//! A constant rate that falls by a factor at milestones.
//!
//! Source: Goyal et al. (arXiv:1706.02677), section 5.1: by 10 at epochs 30, 60 and 80 of 90.

use super::{Schedule, Stretch};

/// One factor for each milestone that is behind.
#[derive(Clone, Debug)]
pub struct StepDecay {
    /// Epochs of the stretch, ascending.
    pub milestones: Vec<f64>,
    /// What each multiplies the rate by, above 0 and up to 1.
    pub gamma: f64,
}

impl Schedule for StepDecay {
    fn factor(&self, stretch: Stretch) -> f64 {
        let passed = self.milestones.iter().filter(|&&epoch| epoch <= stretch.done).count();
        self.gamma.powi(passed as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_falls_with_the_epoch_of_each_milestone() {
        let schedule = StepDecay { milestones: vec![30.0, 60.0, 80.0], gamma: 0.1 };
        let factor = |done| schedule.factor(Stretch { done, epochs: 90.0 });
        for (done, expected) in [(0.0, 1.0), (29.9, 1.0), (30.0, 0.1), (59.0, 0.1), (60.5, 0.01), (89.0, 0.001)] {
            assert!((factor(done) - expected).abs() < 1e-15, "after {done} epochs");
        }
    }
}
