//! When a stage of a search ends early: the rule behind `search.eigenvalue_stop`.
//!
//! Source: Zela et al., *Understanding and Robustifying Differentiable Architecture Search* (arXiv:1909.09656), section 5, and
//! their code, which settles where the means lie and when they begin to count.

use super::SearchSection;

/// Measurements that a mean is taken of, and how many lie between two means that are compared.
const WINDOW: usize = 5;
const DISTANCE: usize = 4;
/// Epochs of alphas to which no stage goes back.
const SETTLING_EPOCHS: usize = 10;

impl SearchSection {
    /// Whether the curvature is measured after `epoch` (from 0).
    pub fn measures_eigenvalue(&self, epoch: usize) -> bool {
        let alpha_epochs = (epoch + 1).saturating_sub(self.alpha_start_epoch);
        alpha_epochs > 0
            && self.eigenvalue_every_epochs > 0
            && alpha_epochs.is_multiple_of(self.eigenvalue_every_epochs)
    }

    /// How often it is measured in a stage.
    pub fn num_measurements(&self) -> usize {
        (0..self.epochs).filter(|&epoch| self.measures_eigenvalue(epoch)).count()
    }

    /// Epochs of the shortest stage that can end early; measurements are taken.
    pub(super) fn shortest_early_stage(&self) -> usize {
        let first = (SETTLING_EPOCHS + 1).div_ceil(self.eigenvalue_every_epochs) - 1;
        let num_measurements = (first + WINDOW / 2 + DISTANCE + 1).max(WINDOW + DISTANCE);
        self.alpha_start_epoch.saturating_add(num_measurements.saturating_mul(self.eigenvalue_every_epochs))
    }

    /// Which of the `eigenvalues` measured in a stage so far is the last before they began to grow: nothing unless the mean of the
    /// newest ones has grown by more than `eigenvalue_stop` above an earlier one, whose middle is the answer.
    pub fn last_before_growth(&self, eigenvalues: &[f64]) -> Option<usize> {
        let newest = eigenvalues.len().checked_sub(WINDOW)?;
        let earlier = newest.checked_sub(DISTANCE)?;
        let mean_from = |start: usize| eigenvalues[start..start + WINDOW].iter().sum::<f64>() / WINDOW as f64;
        let last = earlier + WINDOW / 2;
        let has_settled = (last + 1).saturating_mul(self.eigenvalue_every_epochs) > SETTLING_EPOCHS;
        let has_grown = self.eigenvalue_stop > 0.0 && mean_from(newest) > self.eigenvalue_stop * mean_from(earlier);
        (has_settled && has_grown).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(every: usize, stop: f64) -> SearchSection {
        SearchSection {
            alpha_start_epoch: 5,
            eigenvalue_every_epochs: every,
            eigenvalue_stop: stop,
            ..SearchSection::default()
        }
    }

    #[test]
    fn measurements_come_at_equal_intervals_of_epochs_with_alphas() {
        let measured =
            |every| (0..15).filter(|&epoch| search(every, 0.0).measures_eigenvalue(epoch)).collect::<Vec<_>>();
        assert_eq!((measured(0), measured(4)), (vec![], vec![8, 12]));
        assert_eq!(measured(1), (5..15).collect::<Vec<_>>());
        assert_eq!(search(4, 0.0).num_measurements(), 5);
    }

    #[test]
    fn growth_is_noticed_by_means_of_five_that_lie_four_apart() {
        // Means of the first and of the last five: 0.1 and (0.1 + 4 * 0.2) / 5 = 0.18.
        let eigenvalues = [0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2];
        assert_eq!(search(4, 1.3).last_before_growth(&eigenvalues), Some(2));
        assert_eq!(search(4, 1.9).last_before_growth(&eigenvalues), None);
        assert_eq!(search(4, 0.0).last_before_growth(&eigenvalues), None);
        assert_eq!(search(4, 1.3).last_before_growth(&eigenvalues[..8]), None);
        // The third epoch of alphas comes too early.
        assert_eq!(search(1, 1.3).last_before_growth(&eigenvalues), None);
        assert_eq!(search(4, 1.3).last_before_growth(&[0.2; 25]), None);
    }

    #[test]
    fn shortest_stage_is_the_first_that_ends_when_the_curvature_grows_all_the_time() {
        for every in 1..=12 {
            let search = search(every, 1.01);
            let growing: Vec<f64> = (0..40).map(|number| 1.1f64.powi(number)).collect();
            let count = (0..40).find(|&count| search.last_before_growth(&growing[..count]).is_some()).unwrap();
            assert_eq!(search.shortest_early_stage(), 5 + count * every, "{every}");
        }
    }
}
