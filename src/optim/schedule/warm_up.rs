//! Smaller rates in the first epochs, without which large batches diverge.
//!
//! Source: Goyal et al. (arXiv:1706.02677), section 2.2; the product form is that of the authors' `train_imagenet.py`.

use super::CoursePlace;
use crate::config::{ScheduleUpdate, WarmUpForm};

/// The first epochs of a training.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct WarmUp {
    /// Its length, fewer than the training has.
    pub epochs: usize,
    /// How it meets the schedule.
    pub form: WarmUpForm,
    /// Factor that the rise begins above, 0 or more and below 1.
    pub start: f64,
    /// How often the factor changes.
    pub update: ScheduleUpdate,
}

impl WarmUp {
    /// What the rate of the step at `place` is multiplied by: after `n` of `N` epochs or steps of the warm-up,
    /// `start + (1 - start) * (n + 1) / N`, so that no step is made at 0 and the last is made at the full rate.
    pub fn factor(&self, place: CoursePlace) -> f64 {
        let CoursePlace { epoch, step, steps_per_epoch } = place;
        if epoch >= self.epochs {
            return 1.0;
        }
        let (done, all) = match self.update {
            ScheduleUpdate::Epoch => (epoch, self.epochs),
            ScheduleUpdate::Step => (epoch * steps_per_epoch + step, self.epochs * steps_per_epoch),
        };
        self.start + (1.0 - self.start) * ((done + 1) as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(warm_up: WarmUp, epoch: usize, step: usize) -> f64 {
        warm_up.factor(CoursePlace { epoch, step, steps_per_epoch: 4 })
    }

    #[test]
    fn factor_rises_by_epochs_or_by_steps_to_one() {
        let mut warm_up = WarmUp { epochs: 5, form: WarmUpForm::Product, start: 0.0, update: ScheduleUpdate::Epoch };
        let by_epochs = [(0, 0), (0, 3), (1, 0), (4, 3), (5, 0)].map(|(epoch, step)| factor(warm_up, epoch, step));
        assert_eq!(by_epochs, [0.2, 0.2, 0.4, 1.0, 1.0]);
        warm_up.update = ScheduleUpdate::Step;
        let by_steps = [(0, 0), (0, 3), (2, 1), (4, 3), (9, 0)].map(|(epoch, step)| factor(warm_up, epoch, step));
        assert_eq!(by_steps, [0.05, 0.2, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn rise_begins_above_its_start() {
        let warm_up = WarmUp { epochs: 2, form: WarmUpForm::Ramp, start: 0.5, update: ScheduleUpdate::Epoch };
        assert_eq!((factor(warm_up, 0, 0), factor(warm_up, 1, 0)), (0.75, 1.0));
    }
}
