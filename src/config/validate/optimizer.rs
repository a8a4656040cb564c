//! Relations between the keys of a retraining's optimizer and of its schedule.
//!
//! A key that the chosen kind does not read is refused when it is stated as something else than its default: a setting
//! that does nothing would be a setting that the user believes in.

use super::{fraction_below_one, positive, require, zero_or_more};
use crate::config::{
    OptimizerKind, ScheduleKind, ScheduleUpdate, TrainOptimizerSection, TrainScheduleSection, Violation, WarmUpForm,
};

/// Epochs of the tail of the authors' linear schedule.
const LINEAR_TAIL_EPOCHS: usize = 5;

/// `[optimizer]`
pub(super) fn validate_optimizer(optimizer: &TrainOptimizerSection) -> Result<(), Violation> {
    let (rate, least) = (optimizer.learning_rate, optimizer.learning_rate_min);
    positive("optimizer.learning_rate", rate)?;
    zero_or_more("optimizer.learning_rate_min", least)?;
    require(least <= rate, "optimizer.learning_rate_min", || {
        format!("{least} is above optimizer.learning_rate; state 0 to {rate}")
    })?;
    fraction_below_one("optimizer.momentum", optimizer.momentum)?;
    zero_or_more("optimizer.weight_decay", optimizer.weight_decay)?;
    positive("optimizer.trust_coefficient", optimizer.trust_coefficient)?;
    fraction_below_one("optimizer.beta1", optimizer.beta1)?;
    fraction_below_one("optimizer.beta2", optimizer.beta2)?;
    positive("optimizer.epsilon", optimizer.epsilon)?;
    zero_or_more("optimizer.gradient_clip", optimizer.gradient_clip)?;
    require(!optimizer.nesterov || optimizer.momentum > 0.0, "optimizer.nesterov", || {
        "there is no momentum to look ahead along; state optimizer.momentum above 0 or false".to_owned()
    })?;
    refuse_unread_optimizer_keys(optimizer)
}

fn refuse_unread_optimizer_keys(optimizer: &TrainOptimizerSection) -> Result<(), Violation> {
    use OptimizerKind::{Adam, Adamw, Lamb, Lars, Sgd};
    let default = TrainOptimizerSection::default();
    let moments = &[Lamb, Adam, Adamw][..];
    let keys = [
        ("momentum", &[Sgd, Lars][..], optimizer.momentum == default.momentum),
        ("nesterov", &[Sgd, Lars], optimizer.nesterov == default.nesterov),
        ("trust_coefficient", &[Lars], optimizer.trust_coefficient == default.trust_coefficient),
        ("beta1", moments, optimizer.beta1 == default.beta1),
        ("beta2", moments, optimizer.beta2 == default.beta2),
        ("epsilon", &[Lars, Lamb, Adam, Adamw], optimizer.epsilon == default.epsilon),
    ];
    for (key, readers, is_default) in keys {
        require(is_default || readers.contains(&optimizer.kind), format!("optimizer.{key}"), || {
            let readers = readers.iter().map(|kind| format!("{:?}", kind.name())).collect::<Vec<_>>();
            let (kind, readers) = (optimizer.kind.name(), readers.join(", "));
            format!("optimizer.kind = {kind:?} does not read it; leave it out or state one of {readers}")
        })?;
    }
    let scales = optimizer.base_global_batch > 0 || optimizer.batch_scaling == default.batch_scaling;
    require(scales, "optimizer.batch_scaling", || {
        "without optimizer.base_global_batch nothing is scaled; state the batch that the learning rate is for"
            .to_owned()
    })
}

/// `[schedule]` of a training of `epochs`.
pub(super) fn validate_schedule(
    schedule: &TrainScheduleSection,
    optimizer: &TrainOptimizerSection,
    epochs: usize,
) -> Result<(), Violation> {
    positive("schedule.power", schedule.power)?;
    positive("schedule.gamma", schedule.gamma)?;
    require(schedule.gamma <= 1.0, "schedule.gamma", || {
        format!("{} would raise the rate; state a number above 0 and up to 1", schedule.gamma)
    })?;
    fraction_below_one("schedule.warmup_start", schedule.warmup_start)?;
    let warmup = schedule.warmup_epochs;
    require(warmup < epochs, "schedule.warmup_epochs", || {
        format!("{warmup} epochs leave nothing of train.epochs = {epochs}; state 0 to {}", epochs - 1)
    })?;
    refuse_unread_schedule_keys(schedule)?;
    let ramp = if schedule.warmup == WarmUpForm::Ramp { warmup } else { 0 };
    match schedule.kind {
        ScheduleKind::Step => validate_milestones(&schedule.milestones, ramp, epochs),
        ScheduleKind::Linear => validate_linear(schedule, epochs - ramp),
        ScheduleKind::Constant => require(optimizer.learning_rate_min == 0.0, "optimizer.learning_rate_min", || {
            "schedule.kind = \"constant\" never falls to it; leave it out or state another schedule".to_owned()
        }),
        ScheduleKind::Cosine | ScheduleKind::Polynomial => Ok(()),
    }
}

fn validate_milestones(milestones: &[usize], ramp: usize, epochs: usize) -> Result<(), Violation> {
    let key = "schedule.milestones";
    require(!milestones.is_empty(), key, || {
        "a step schedule needs one; state epochs, or kind = \"constant\"".to_owned()
    })?;
    require(milestones.is_sorted_by(|one, next| one < next), key, || {
        format!("{milestones:?} do not ascend; state each epoch once, in order")
    })?;
    let fits = |epoch: &usize| *epoch > ramp && *epoch < epochs;
    require(milestones.iter().all(fits), key, || {
        format!("{milestones:?} are not all within the schedule; state epochs from {} to {}", ramp + 1, epochs - 1)
    })
}

/// The authors' schedule over `epochs`.
fn validate_linear(schedule: &TrainScheduleSection, epochs: usize) -> Result<(), Violation> {
    require(epochs > LINEAR_TAIL_EPOCHS, "schedule.kind", || {
        format!(
            "\"linear\" has a tail of {LINEAR_TAIL_EPOCHS} epochs, of {epochs}; state more train.epochs, or \
             \"polynomial\" with schedule.power = 1"
        )
    })?;
    require(schedule.update == ScheduleUpdate::Epoch, "schedule.update", || {
        "\"linear\" is stated for whole epochs; state \"epoch\", or kind = \"polynomial\" with power = 1".to_owned()
    })
}

fn refuse_unread_schedule_keys(schedule: &TrainScheduleSection) -> Result<(), Violation> {
    let default = TrainScheduleSection::default();
    let kind = schedule.kind;
    let keys = [
        ("milestones", kind == ScheduleKind::Step, schedule.milestones == default.milestones, "kind = \"step\""),
        ("gamma", kind == ScheduleKind::Step, schedule.gamma == default.gamma, "kind = \"step\""),
        ("power", kind == ScheduleKind::Polynomial, schedule.power == default.power, "kind = \"polynomial\""),
        ("warmup", schedule.warmup_epochs > 0, schedule.warmup == default.warmup, "warmup_epochs above 0"),
        (
            "warmup_update",
            schedule.warmup_epochs > 0,
            schedule.warmup_update == default.warmup_update,
            "warmup_epochs above 0",
        ),
        (
            "warmup_start",
            schedule.warmup_epochs > 0,
            schedule.warmup_start == default.warmup_start,
            "warmup_epochs above 0",
        ),
    ];
    for (key, is_read, is_default, reader) in keys {
        require(is_read || is_default, format!("schedule.{key}"), || {
            format!("it is read with schedule.{reader} only; state that or leave it out")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::{BatchScaling, OptimizerKind, ScheduleKind, ScheduleUpdate, Settings, TrainConfig, WarmUpForm};

    fn with(change: impl FnOnce(&mut TrainConfig)) -> Result<(), String> {
        let mut config = TrainConfig::default();
        config.train.epochs = 90;
        change(&mut config);
        config.validate().map_err(|violation| violation.to_string())
    }

    #[test]
    fn recipes_of_the_papers_are_valid() {
        let valid = [
            with(|config| {
                config.schedule.kind = ScheduleKind::Linear;
                (config.schedule.warmup_epochs, config.schedule.warmup) = (5, WarmUpForm::Product);
            }),
            with(|config| {
                (config.optimizer.kind, config.optimizer.trust_coefficient) = (OptimizerKind::Lars, 0.001);
                config.optimizer.no_decay_on_norm_and_bias = true;
                (config.optimizer.base_global_batch, config.optimizer.gradient_clip) = (256, 0.0);
                (config.schedule.kind, config.schedule.update) = (ScheduleKind::Polynomial, ScheduleUpdate::Step);
                (config.schedule.warmup_epochs, config.schedule.warmup_update) = (5, ScheduleUpdate::Step);
            }),
            with(|config| {
                (config.optimizer.kind, config.optimizer.epsilon) = (OptimizerKind::Lamb, 1e-6);
                (config.optimizer.base_global_batch, config.optimizer.batch_scaling) = (512, BatchScaling::Sqrt);
            }),
            with(|config| {
                (config.optimizer.nesterov, config.schedule.kind) = (true, ScheduleKind::Step);
                config.schedule.warmup_epochs = 5;
            }),
        ];
        for outcome in valid {
            assert_eq!(outcome, Ok(()));
        }
    }

    #[test]
    fn refuses_keys_that_the_kind_does_not_read() {
        let refused = [
            with(|config| (config.optimizer.kind, config.optimizer.nesterov) = (OptimizerKind::Adam, true)),
            with(|config| (config.optimizer.kind, config.optimizer.momentum) = (OptimizerKind::Lamb, 0.5)),
            with(|config| config.optimizer.trust_coefficient = 0.02),
            with(|config| config.optimizer.beta2 = 0.99),
            with(|config| config.optimizer.epsilon = 1e-6),
            with(|config| config.optimizer.batch_scaling = BatchScaling::Sqrt),
            with(|config| config.schedule.milestones = vec![4]),
            with(|config| config.schedule.gamma = 0.5),
            with(|config| config.schedule.power = 1.0),
            with(|config| config.schedule.warmup = WarmUpForm::Product),
            with(|config| config.schedule.warmup_update = ScheduleUpdate::Step),
            with(|config| config.schedule.warmup_start = 0.1),
            with(|config| {
                (config.schedule.kind, config.optimizer.learning_rate_min) = (ScheduleKind::Constant, 0.001);
            }),
        ];
        let keys = refused.map(|outcome| outcome.unwrap_err().split(':').next().unwrap_or_default().to_owned());
        let expected = [
            "optimizer.nesterov",
            "optimizer.momentum",
            "optimizer.trust_coefficient",
            "optimizer.beta2",
            "optimizer.epsilon",
            "optimizer.batch_scaling",
            "schedule.milestones",
            "schedule.gamma",
            "schedule.power",
            "schedule.warmup",
            "schedule.warmup_update",
            "schedule.warmup_start",
            "optimizer.learning_rate_min",
        ];
        assert_eq!(keys, expected);
        assert_eq!(
            with(|config| config.optimizer.beta1 = 0.5).unwrap_err(),
            "optimizer.beta1: optimizer.kind = \"sgd\" does not read it; leave it out or state one of \"lamb\", \
             \"adam\", \"adamw\""
        );
    }

    #[test]
    fn refuses_schedules_that_do_not_fit_the_training() {
        let step = |milestones: &[usize]| {
            with(|config| {
                (config.schedule.kind, config.schedule.milestones) = (ScheduleKind::Step, milestones.to_vec());
                config.schedule.warmup_epochs = 5;
            })
        };
        let refused = [
            (step(&[]), "schedule.milestones: a step schedule needs one; state epochs, or kind = \"constant\""),
            (step(&[30, 30]), "schedule.milestones: [30, 30] do not ascend; state each epoch once, in order"),
            (step(&[5, 30]), "schedule.milestones: [5, 30] are not all within the schedule; state epochs from 6 to 89"),
            (
                step(&[30, 90]),
                "schedule.milestones: [30, 90] are not all within the schedule; state epochs from 6 to 89",
            ),
            (
                with(|config| config.schedule.warmup_epochs = 90),
                "schedule.warmup_epochs: 90 epochs leave nothing of train.epochs = 90; state 0 to 89",
            ),
            (
                with(|config| (config.schedule.kind, config.train.epochs) = (ScheduleKind::Linear, 5)),
                "schedule.kind: \"linear\" has a tail of 5 epochs, of 5; state more train.epochs, or \"polynomial\" with \
                 schedule.power = 1",
            ),
            (
                with(|config| {
                    (config.schedule.kind, config.schedule.update) = (ScheduleKind::Linear, ScheduleUpdate::Step);
                }),
                "schedule.update: \"linear\" is stated for whole epochs; state \"epoch\", or kind = \"polynomial\" with \
                 power = 1",
            ),
            (
                with(|config| (config.optimizer.nesterov, config.optimizer.momentum) = (true, 0.0)),
                "optimizer.nesterov: there is no momentum to look ahead along; state optimizer.momentum above 0 or false",
            ),
        ];
        for (outcome, expected) in refused {
            assert_eq!(outcome.unwrap_err(), expected);
        }
    }
}
