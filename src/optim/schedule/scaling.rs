//! How the learning rate of a recipe grows with the batch.
//!
//! Source: Goyal et al. (arXiv:1706.02677), section 2.1 (linear, for SGD); You et al. (arXiv:1904.00962), section 4
//! (square root, for LAMB).

use crate::config::BatchScaling;

/// What the rate of a recipe for `base_global_batch` is multiplied by for `global_batch`.
pub fn batch_factor(scaling: BatchScaling, global_batch: usize, base_global_batch: usize) -> f64 {
    let ratio = global_batch as f64 / base_global_batch as f64;
    match scaling {
        BatchScaling::Linear => ratio,
        BatchScaling::Sqrt => ratio.sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_grows_with_the_batch_or_its_root() {
        assert_eq!(batch_factor(BatchScaling::Linear, 8192, 256), 32.0);
        assert_eq!(batch_factor(BatchScaling::Sqrt, 4096, 256), 4.0);
        assert_eq!(batch_factor(BatchScaling::Linear, 128, 256), 0.5);
        assert_eq!(batch_factor(BatchScaling::Sqrt, 256, 256), 1.0);
    }
}
