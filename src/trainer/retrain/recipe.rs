//! From the configuration to an optimizer, and to what every step is made with.

use super::mixing::{Mixing, MixingOptions};
use crate::config::{
    OptimizerKind, ScheduleKind, TrainConfig, TrainOptimizerSection, TrainScheduleSection, TrainSection, WarmUpForm,
};
use crate::optim::{
    Adam, AdamDecay, AuthorsLinear, Constant, Cosine, CoursePlace, FlatParameters, Lamb, Lars, LarsOptions,
    LearningRate, MomentOptions, Optimizer, ParameterGroups, Polynomial, Schedule, Sgd, SgdOptions, StepDecay, WarmUp,
    batch_factor,
};
use crate::torch::TorchError;
use crate::trainer::derive_seed;

/// What one step of a training is made with.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct StepSettings {
    /// Of the weights.
    pub learning_rate: f64,
    /// Probability to leave out a branch.
    pub drop_path: f64,
    /// What is done to the images.
    pub mixing: Option<Mixing>,
}

impl StepSettings {
    /// Those of the step at `place`, which depend on nothing else.
    pub fn new(config: &TrainConfig, place: CoursePlace) -> Self {
        let TrainSection { drop_path, epochs, mixup_alpha, cutmix_alpha, .. } = config.train;
        let seed = derive_seed(config.run.seed, "mixing", &[place.epoch as u64, place.step as u64]);
        Self {
            learning_rate: learning_rate(config).at(place),
            drop_path: drop_path * place.epoch as f64 / epochs as f64,
            mixing: MixingOptions { mixup_alpha, cutmix_alpha }.draw(seed),
        }
    }
}

/// The optimizer that `config` asks for, of `weights`.
///
/// # Errors
/// When libtorch has no memory for its state.
pub(super) fn optimizer(
    config: &TrainOptimizerSection,
    weights: &FlatParameters,
) -> Result<Box<dyn Optimizer>, TorchError> {
    let TrainOptimizerSection { momentum, nesterov, weight_decay, epsilon, beta1, beta2, trust_coefficient, .. } =
        *config;
    let groups = match config.no_decay_on_norm_and_bias {
        true => ParameterGroups::sparing_norms_and_biases(weights, weight_decay),
        false => ParameterGroups::uniform(weights, weight_decay),
    };
    let moments = MomentOptions { beta1, beta2, epsilon };
    Ok(match config.kind {
        OptimizerKind::Sgd => Box::new(Sgd::new(weights, &groups, SgdOptions { momentum, nesterov })?),
        OptimizerKind::Lars => {
            let options = LarsOptions { momentum, nesterov, trust_coefficient, epsilon };
            Box::new(Lars::new(weights, &groups, options)?)
        }
        OptimizerKind::Lamb => Box::new(Lamb::new(weights, &groups, moments)?),
        OptimizerKind::Adam => Box::new(Adam::new(weights, &groups, moments, AdamDecay::Gradient)?),
        OptimizerKind::Adamw => Box::new(Adam::new(weights, &groups, moments, AdamDecay::Values)?),
    })
}

/// The learning rate of every step of a training.
fn learning_rate(config: &TrainConfig) -> LearningRate {
    let (optimizer, schedule) = (&config.optimizer, &config.schedule);
    let factor = match optimizer.base_global_batch {
        0 => 1.0,
        base => batch_factor(optimizer.batch_scaling, config.train.global_batch, base),
    };
    LearningRate {
        initial: optimizer.learning_rate * factor,
        minimum: optimizer.learning_rate_min * factor,
        num_epochs: config.train.epochs,
        schedule: shape(schedule),
        update: schedule.update,
        warm_up: (schedule.warmup_epochs > 0).then_some(WarmUp {
            epochs: schedule.warmup_epochs,
            form: schedule.warmup,
            start: schedule.warmup_start,
            update: schedule.warmup_update,
        }),
    }
}

fn shape(config: &TrainScheduleSection) -> Box<dyn Schedule> {
    match config.kind {
        ScheduleKind::Cosine => Box::new(Cosine),
        ScheduleKind::Linear => Box::new(AuthorsLinear),
        ScheduleKind::Polynomial => Box::new(Polynomial { power: config.power }),
        ScheduleKind::Constant => Box::new(Constant),
        ScheduleKind::Step => {
            // The configuration counts epochs of the training, the schedule those that a ramp leaves.
            let before = if config.warmup == WarmUpForm::Ramp { config.warmup_epochs } else { 0 };
            let milestones = config.milestones.iter().map(|&epoch| epoch as f64 - before as f64).collect();
            Box::new(StepDecay { milestones, gamma: config.gamma })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BatchScaling, ScheduleUpdate};

    fn rate(config: &TrainConfig, epoch: usize, step: usize) -> f64 {
        learning_rate(config).at(CoursePlace { epoch, step, steps_per_epoch: 4 })
    }

    #[test]
    fn default_is_the_cosine_over_epochs() {
        let config = TrainConfig::default();
        for epoch in [0, 1, 300, 599] {
            let expected = 0.025 * 0.5 * (1.0 + (std::f64::consts::PI * epoch as f64 / 600.0).cos());
            assert!((rate(&config, epoch, 3) - expected).abs() < 1e-17);
        }
    }

    #[test]
    fn rates_grow_with_the_batch_over_the_base() {
        let mut config = TrainConfig::default();
        (config.train.global_batch, config.train.epochs) = (4096, 10);
        (config.optimizer.learning_rate, config.optimizer.learning_rate_min) = (0.1, 0.01);
        config.optimizer.base_global_batch = 256;
        let rates = learning_rate(&config);
        assert!((rates.initial - 1.6).abs() < 1e-12 && (rates.minimum - 0.16).abs() < 1e-12);
        config.optimizer.batch_scaling = BatchScaling::Sqrt;
        assert!((rate(&config, 0, 0) - 0.4).abs() < 1e-12);
    }

    #[test]
    fn milestones_count_epochs_of_the_training_under_either_warm_up() {
        let mut config = TrainConfig::default();
        (config.train.epochs, config.optimizer.learning_rate) = (90, 1.0);
        (config.schedule.kind, config.schedule.milestones) = (ScheduleKind::Step, vec![30, 60]);
        config.schedule.warmup_epochs = 5;
        config.schedule.warmup_update = ScheduleUpdate::Step;
        for warmup in [WarmUpForm::Ramp, WarmUpForm::Product] {
            config.schedule.warmup = warmup;
            let rates = [(0, 0), (4, 3), (29, 0), (30, 0), (60, 0)].map(|(epoch, step)| rate(&config, epoch, step));
            for (rate, expected) in rates.iter().zip([0.05, 1.0, 1.0, 0.1, 0.01]) {
                assert!((rate - expected).abs() < 1e-12, "{warmup:?}: {rates:?}");
            }
        }
    }
}
