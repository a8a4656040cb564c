//! A power of what is left: 1 is a straight line, 2 is what LARS is used with.
//!
//! Source: You, Gitman and Ginsburg (arXiv:1708.03888), section 5.

use super::{Schedule, Stretch};

/// From 1 to the 0 that the end would reach.
#[derive(Copy, Clone, Debug)]
pub struct Polynomial {
    /// Above 0.
    pub power: f64,
}

impl Schedule for Polynomial {
    fn factor(&self, stretch: Stretch) -> f64 {
        (1.0 - stretch.progress()).powf(self.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_is_the_power_of_the_share_that_is_left() {
        let factor = |power, done| Polynomial { power }.factor(Stretch { done, epochs: 8.0 });
        assert_eq!((factor(2.0, 0.0), factor(2.0, 4.0), factor(2.0, 6.0), factor(2.0, 8.0)), (1.0, 0.25, 0.0625, 0.0));
        assert_eq!((factor(1.0, 2.0), factor(0.5, 6.0)), (0.75, 0.5));
    }
}
