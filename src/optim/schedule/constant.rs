//! The same rate throughout.

use super::{Schedule, Stretch};

/// Never falls.
#[derive(Copy, Clone, Debug)]
pub struct Constant;

impl Schedule for Constant {
    fn factor(&self, _: Stretch) -> f64 {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_is_one_from_start_to_end() {
        for done in [0.0, 0.5, 249.9] {
            assert_eq!(Constant.factor(Stretch { done, epochs: 250.0 }), 1.0);
        }
    }
}
