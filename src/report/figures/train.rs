//! The figures of a retraining, from its records.

use super::{panel, series};
use crate::config::TrainConfig;
use crate::figures::{Curves, Series, Stage, curves_svg};
use crate::trainer::TrainEpochRecord;

/// Accuracy, loss and schedules over the epochs that are recorded; curves of what was never measured are left out.
pub fn train_curves(config: &TrainConfig, epochs: &[TrainEpochRecord]) -> String {
    let series = |name: &str, value: fn(&TrainEpochRecord) -> Option<f64>| {
        let series = series(name, epochs, |record| record.epoch - 1, value);
        series.values.iter().any(|value| value.is_finite()).then_some(series)
    };
    let panel = |title: &str, thin: bool, series: Vec<Option<Series>>| {
        panel(title, thin, series.into_iter().flatten().collect())
    };
    curves_svg(&Curves {
        title: format!("Training on {}", config.data.dataset),
        stages: vec![Stage { name: "training".to_owned(), num_epochs: config.train.epochs }],
        panels: vec![
            panel(
                "top-1, %",
                false,
                vec![
                    series("training", |epoch| Some(epoch.train_top1)),
                    series("validation", |epoch| epoch.valid.map(|scores| scores.top1)),
                    series("validation, average", |epoch| epoch.valid_ema.map(|scores| scores.top1)),
                    series("test", |epoch| epoch.test.map(|scores| scores.top1)),
                    series("test, average", |epoch| epoch.test_ema.map(|scores| scores.top1)),
                ],
            ),
            panel(
                "loss",
                false,
                vec![
                    series("training", |epoch| Some(epoch.train_loss)),
                    series("validation", |epoch| epoch.valid.map(|scores| scores.loss)),
                    series("test", |epoch| epoch.test.map(|scores| scores.loss)),
                ],
            ),
            panel("drop path", true, vec![series("drop path", |epoch| Some(epoch.drop_path))]),
            panel("learning rate", true, vec![series("learning rate", |epoch| Some(epoch.learning_rate))]),
        ],
    })
}
