//! Steps whose numbers are infinite or not numbers: how they are found, and how they are told.
//!
//! Ranks average their gradients, so what is not finite on one is not finite on all: every rank finds it in the same step
//! without asking the others, before anything is stepped.

use std::fmt;

use tch::{Device, Tensor, no_grad};

use super::tally::StepKind;
use super::{StepResult, TrainError};
use crate::optim::{FlatParameters, FlatStatistics};
use crate::torch::TorchError;

/// A step that was not taken because its gradient is not finite. Parameters, optimizers and statistics are those before
/// it.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFinite {
    /// What it would have stepped.
    pub steps: StepKind,
    /// This rank's mean loss.
    pub loss: f64,
    /// The first tensor whose gradient is not finite; none where only the norm of all is too large.
    pub tensor: Option<String>,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = self.tensor.as_deref().unwrap_or("all tensors together");
        write!(f, "the gradient of {tensor} is not finite at a loss of {}", self.loss)
    }
}

/// Looks after one step: finds what is not finite, and undoes what the forward pass has done by then.
pub(super) struct StepGuard {
    statistics: Tensor,
    /// Of the statistics before the step; none where nobody looks.
    before: Option<Tensor>,
}

impl StepGuard {
    /// Before the forward pass of a step. To look costs a wait for the device in every step, unless it is the CPU: only
    /// done there, and where it is `wanted`.
    pub fn begin(statistics: &FlatStatistics, wanted: bool) -> Result<Self, TorchError> {
        let statistics = statistics.values().shallow_clone();
        let looks = wanted || statistics.device() == Device::Cpu;
        let before = looks.then(|| no_grad(|| statistics.f_detach_copy())).transpose()?;
        Ok(Self { statistics, before })
    }

    /// When the gradients of `parameters`, with this `norm`, are those of all ranks.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`]; the statistics are then as before.
    pub fn check(
        self,
        steps: StepKind,
        parameters: &FlatParameters,
        norm: &Tensor,
        result: &StepResult,
    ) -> Result<(), TrainError> {
        let Some(before) = self.before else { return Ok(()) };
        if norm.f_double_value(&[])?.is_finite() {
            return Ok(());
        }
        let mut statistics = self.statistics;
        no_grad(|| statistics.f_copy_(&before))?;
        let mut tensor = None;
        for ((name, _), gradient) in parameters.named_shapes().zip(parameters.split(parameters.gradients())) {
            if gradient.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                tensor = Some(name.to_owned());
                break;
            }
        }
        Err(TrainError::NotFinite(NotFinite { steps, loss: result.mean_loss()?, tensor }))
    }
}

/// Where and how a run came to numbers that are not finite; its text is the message that ends the run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{}: start a new run with a lower {section}.learning_rate or a lower {section}.gradient_clip, or go on with --resume \
     and --set run.on_divergence=rewind (or skip)", self.fact(), section = site.section
)]
pub struct Divergence {
    /// Which loss, where, and the section to change.
    pub site: DivergenceSite,
    /// Mean loss, over all ranks.
    pub loss: f64,
    /// Ranks on which the loss is not finite; empty where that is not known.
    pub ranks: Vec<usize>,
    /// The first tensor whose gradient is not finite, where it was looked for.
    pub tensor: Option<String>,
    /// Steps of the whole run.
    pub step: u64,
}

/// What a kind of step is called in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DivergenceSite {
    /// As in `training`.
    pub what: &'static str,
    /// As in `stage 2, epoch 1`.
    pub place: String,
    /// The section of the configuration with its learning rate.
    pub section: &'static str,
}

impl Divergence {
    /// What happened, without advice.
    pub fn fact(&self) -> String {
        let Self { site: DivergenceSite { what, place, .. }, loss, ranks, tensor, step } = self;
        // Found at once, or when sums were looked at.
        let (at, gradient) = match tensor {
            Some(tensor) => ("at", format!(" (the first gradient that is not finite: {tensor})")),
            None => ("by", String::new()),
        };
        if loss.is_finite() {
            return format!("the {what} gradient became infinite or NaN in {place}, {at} step {step}{gradient}");
        }
        let ranks: Vec<String> = ranks.iter().map(ToString::to_string).collect();
        let ranks = match ranks.len() {
            0 => String::new(),
            1 => format!(" on rank {}", ranks[0]),
            _ => format!(" on ranks {}", ranks.join(", ")),
        };
        format!("the {what} loss became {loss}{ranks} in {place}, {at} step {step}{gradient}")
    }
}
