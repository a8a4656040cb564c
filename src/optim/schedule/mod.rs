//! The learning rate as a closed form of the place in a training: no schedule depends on how the run came there.
//!
//! One shape a file; each goes from 1 to its end, and [`LearningRate`] puts it between the initial rate and the least
//! one, behind or under a warm-up.

mod constant;
mod cosine;
mod linear;
mod polynomial;
mod scaling;
mod step;
mod warm_up;

pub use constant::Constant;
pub use cosine::Cosine;
pub use linear::AuthorsLinear;
pub use polynomial::Polynomial;
pub use scaling::batch_factor;
pub use step::StepDecay;
pub use warm_up::WarmUp;

use crate::config::{ScheduleUpdate, WarmUpForm};

/// A stretch of training and how much of it is done, in epochs: whole ones where the rate changes once an epoch.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Epochs done, below `epochs`.
    pub done: f64,
    /// Epochs in all.
    pub epochs: f64,
}

impl Stretch {
    /// The share that is done.
    pub fn progress(self) -> f64 {
        self.done / self.epochs
    }
}

/// A shape over a stretch of training.
pub trait Schedule: std::fmt::Debug + Send + Sync {
    /// What is left of the way from the initial rate (1) to the least (0).
    fn factor(&self, stretch: Stretch) -> f64;
}

/// A step of a training, both counted from 0.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CoursePlace {
    /// Complete epochs.
    pub epoch: usize,
    /// Complete steps of the epoch under way, below `steps_per_epoch`.
    pub step: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
}

impl CoursePlace {
    /// Epochs that are done before this step, as `update` sees them.
    fn epochs_done(self, update: ScheduleUpdate) -> f64 {
        match update {
            ScheduleUpdate::Epoch => self.epoch as f64,
            ScheduleUpdate::Step => self.epoch as f64 + self.step as f64 / self.steps_per_epoch as f64,
        }
    }
}

/// The learning rate of every step of a training.
#[derive(Debug)]
pub struct LearningRate {
    /// Where the schedule begins.
    pub initial: f64,
    /// Where it ends, unless it stays above.
    pub minimum: f64,
    /// Epochs of the training.
    pub num_epochs: usize,
    /// How it gets there.
    pub schedule: Box<dyn Schedule>,
    /// How often the schedule changes the rate.
    pub update: ScheduleUpdate,
    /// How the first epochs differ.
    pub warm_up: Option<WarmUp>,
}

impl LearningRate {
    /// From `initial` by `schedule` to `minimum`, changed once an epoch.
    pub fn per_epoch(initial: f64, minimum: f64, num_epochs: usize, schedule: impl Schedule + 'static) -> Self {
        Self {
            initial,
            minimum,
            num_epochs,
            schedule: Box::new(schedule),
            update: ScheduleUpdate::Epoch,
            warm_up: None,
        }
    }

    /// The rate of the step at `place`.
    pub fn at(&self, place: CoursePlace) -> f64 {
        let done = place.epochs_done(self.update);
        let epochs = self.num_epochs as f64;
        match &self.warm_up {
            None => self.scheduled(Stretch { done, epochs }),
            Some(warm_up) => {
                let length = warm_up.epochs as f64;
                let factor = warm_up.factor(place);
                match warm_up.form {
                    WarmUpForm::Product => self.scheduled(Stretch { done, epochs }) * factor,
                    WarmUpForm::Ramp if place.epoch < warm_up.epochs => self.initial * factor,
                    WarmUpForm::Ramp => self.scheduled(Stretch { done: done - length, epochs: epochs - length }),
                }
            }
        }
    }

    fn scheduled(&self, stretch: Stretch) -> f64 {
        self.minimum + (self.initial - self.minimum) * self.schedule.factor(stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(epoch: usize, step: usize) -> CoursePlace {
        CoursePlace { epoch, step, steps_per_epoch: 10 }
    }

    #[test]
    fn rate_stays_within_an_epoch_or_changes_with_every_step() {
        let mut rate = LearningRate::per_epoch(1.0, 0.0, 4, Polynomial { power: 1.0 });
        assert_eq!((rate.at(place(1, 0)), rate.at(place(1, 9))), (0.75, 0.75));
        rate.update = ScheduleUpdate::Step;
        assert_eq!((rate.at(place(0, 0)), rate.at(place(1, 5))), (1.0, 0.625));
        assert!((rate.at(place(3, 9)) - 0.025).abs() < 1e-15);
    }

    #[test]
    fn minimum_is_where_the_schedule_ends() {
        let rate = LearningRate::per_epoch(0.5, 0.1, 4, Polynomial { power: 1.0 });
        assert!((rate.at(place(2, 0)) - 0.3).abs() < 1e-15);
    }

    #[test]
    fn behind_a_ramp_the_schedule_takes_the_epochs_that_are_left() {
        let mut rate = LearningRate::per_epoch(1.0, 0.0, 12, Polynomial { power: 1.0 });
        rate.update = ScheduleUpdate::Step;
        rate.warm_up = Some(WarmUp { epochs: 2, form: WarmUpForm::Ramp, start: 0.0, update: ScheduleUpdate::Step });
        assert_eq!(rate.at(place(0, 0)), 0.05);
        assert_eq!(rate.at(place(1, 9)), 1.0);
        assert_eq!(rate.at(place(2, 0)), 1.0);
        assert_eq!(rate.at(place(7, 0)), 0.5);
    }

    /// The rates of the authors' `train_imagenet.py` with its defaults: the scheduler's rate, times (epoch + 1) / 5 in the
    /// first five of 250 epochs.
    #[test]
    fn warm_up_of_the_authors_multiplies_the_rate_that_already_falls() {
        let mut rate = LearningRate::per_epoch(0.5, 0.0, 250, AuthorsLinear);
        rate.warm_up = Some(WarmUp { epochs: 5, form: WarmUpForm::Product, start: 0.0, update: ScheduleUpdate::Epoch });
        let expected = [
            (0, 0.5 * 245.0 / 245.0 / 5.0),
            (3, 0.5 * 242.0 / 245.0 * 4.0 / 5.0),
            (4, 0.5 * 241.0 / 245.0),
            (5, 0.5 * 240.0 / 245.0),
            (244, 0.5 * 1.0 / 245.0),
            (245, 0.5 * 5.0 / (245.0 * 5.0)),
            (249, 0.5 * 1.0 / (245.0 * 5.0)),
        ];
        for (epoch, expected) in expected {
            assert!((rate.at(place(epoch, 3)) - expected).abs() < 1e-15, "epoch {epoch}");
        }
    }
}
