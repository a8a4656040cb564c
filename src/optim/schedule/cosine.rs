//! Half a period of a cosine: slow at both ends.
//!
//! Source: SGDR (arXiv:1608.03983), equation 5, without restarts.

use super::{Schedule, Stretch};

/// From 1 to the 0 that the end would reach.
#[derive(Copy, Clone, Debug)]
pub struct Cosine;

impl Schedule for Cosine {
    fn factor(&self, stretch: Stretch) -> f64 {
        0.5 * (1.0 + (std::f64::consts::PI * stretch.progress()).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_starts_at_one_halves_midway_and_ends_at_zero() {
        let factor = |done| Cosine.factor(Stretch { done, epochs: 20.0 });
        assert_eq!(factor(0.0), 1.0);
        assert!((factor(10.0) - 0.5).abs() < 1e-15);
        assert!((factor(5.0) - (0.5 + 0.5f64.sqrt() / 2.0)).abs() < 1e-15);
        assert!(factor(20.0) < 1e-15);
    }
}
