//! Learning-rate schedules as closed forms of the epoch.

/// Cosine from `initial` in epoch 0 towards `minimum`, which epoch `num_epochs` would reach.
///
/// Source: SGDR (arXiv:1608.03983), equation 5, without restarts.
pub fn cosine(initial: f64, minimum: f64, epoch: usize, num_epochs: usize) -> f64 {
    let progress = epoch as f64 / num_epochs as f64;
    minimum + 0.5 * (initial - minimum) * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_starts_at_initial_halves_midway_and_ends_at_minimum() {
        assert_eq!(cosine(0.025, 0.0, 0, 25), 0.025);
        assert!((cosine(0.1, 0.02, 10, 20) - 0.06).abs() < 1e-12);
        assert!(cosine(0.025, 0.001, 25, 25) - 0.001 < 1e-12);
    }
}
