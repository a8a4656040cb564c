//! The dropout on skip connections over the epochs of a stage.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 3.3 ("search space regularization").

use crate::config::SkipDropoutSchedule;

/// The rate in `epoch` (from 0) of a stage of `num_epochs` epochs whose alphas train from `alpha_start_epoch` on.
///
/// `authors`: the authors' code, which falls linearly while the weights warm up, jumps back to `initial` when the
/// alphas start and then decays as `exp(-0.2 t)`. `paper`: one linear fall over the stage, as the text describes a
/// rate that "gradually decays".
pub fn skip_dropout(
    schedule: SkipDropoutSchedule,
    initial: f64,
    epoch: usize,
    num_epochs: usize,
    alpha_start_epoch: usize,
) -> f64 {
    let linear = || initial * (num_epochs as f64 - epoch as f64 - 1.0) / num_epochs as f64;
    match schedule {
        SkipDropoutSchedule::Paper => linear(),
        SkipDropoutSchedule::Authors if epoch < alpha_start_epoch => linear(),
        SkipDropoutSchedule::Authors => initial * (-0.2 * (epoch - alpha_start_epoch) as f64).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_schedule_jumps_back_when_alphas_start() {
        let rate = |epoch| skip_dropout(SkipDropoutSchedule::Authors, 0.4, epoch, 25, 10);
        assert!((rate(0) - 0.4 * 24.0 / 25.0).abs() < 1e-12);
        assert!((rate(9) - 0.4 * 15.0 / 25.0).abs() < 1e-12);
        assert!((rate(10) - 0.4).abs() < 1e-12);
        assert!((rate(24) - 0.4 * (-0.2f64 * 14.0).exp()).abs() < 1e-12);
    }

    #[test]
    fn paper_schedule_never_grows_and_ends_at_zero() {
        let rate = |epoch| skip_dropout(SkipDropoutSchedule::Paper, 0.7, epoch, 25, 10);
        assert!((1..25).all(|epoch| rate(epoch) < rate(epoch - 1)));
        assert_eq!(rate(24), 0.0);
    }
}
