//! The alphas' gradient at the weights that the next weight step would make.
//!
//! Source: DARTS (arXiv:1806.09055), equations 6 to 8, and its authors' code, which settles what the paper leaves open:
//! the unrolled step has momentum and weight decay and is not clipped, the radius is 0.01 over the norm of the
//! direction, and the network's running statistics see the three passes on training images, not the one on validation
//! images.

use tch::{Device, Kind, Tensor, no_grad};

use super::{ArchitectureStep, StepInputs, Stepped};
use crate::optim::{Optimizer, gradient_norm};
use crate::trainer::search::SearchState;
use crate::trainer::search::buffers::{copy, put_back};
use crate::trainer::search::state::Trained;
use crate::trainer::{StepResult, TrainError};

/// L2 length of the shift of the weights by which the second derivatives are taken.
const SHIFT: f64 = 0.01;

/// Unrolls one step of the weights. The product of second derivatives is a finite difference of gradients. Weights and
/// momentum are afterwards as they were, bit for bit.
#[derive(Copy, Clone, Debug, Default)]
pub struct SecondOrder;

impl ArchitectureStep for SecondOrder {
    fn step(&mut self, state: &mut SearchState, mut inputs: StepInputs<'_, '_>) -> Result<Stepped, TrainError> {
        inputs.weight_images.keep()?;
        let guard = state.guard()?;
        let (weights, momentum) = (copy(state.weights.values())?, copy(state.sgd.momentum())?);
        let outcome = unrolled_gradient(state, &mut inputs, &weights);
        put_back(state.weights.values(), &weights)?;
        put_back(state.sgd.momentum(), &momentum)?;
        let (result, gradient) = outcome?;
        put_back(state.flat_alphas.gradients(), &gradient)?;
        state.step_alphas(guard, &result, inputs.mode)?;
        Ok(Stepped::Alphas(result))
    }
}

/// What the alpha images say of the weights after a step from `weights`, and this rank's share of the alphas' gradient
/// there. Leaves other weights and momentum behind.
fn unrolled_gradient(
    state: &mut SearchState,
    inputs: &mut StepInputs<'_, '_>,
    weights: &Tensor,
) -> Result<(StepResult, Tensor), TrainError> {
    let StepInputs { alpha_images, weight_images, learning_rate, mode } = inputs;
    state.gradients(weight_images, *mode, Trained::WEIGHTS)?;
    state.sgd.step(&state.weights, *learning_rate)?;
    let statistics = copy(state.statistics.values())?;
    let result = state.gradients(alpha_images, *mode, Trained::BOTH)?;
    put_back(state.statistics.values(), &statistics)?;
    let (direct, direction) = (copy(state.flat_alphas.gradients())?, copy(state.weights.gradients())?);
    let radius = SHIFT / gradient_norm(&direction)?.f_double_value(&[])?;
    // The same edges are left out on both sides: else the difference would be one of edges.
    let draw = || Tensor::f_randint(i64::MAX, [1], (Kind::Int64, Device::Cpu))?.f_int64_value(&[0]);
    let seed = (mode.drop_path > 0.0).then(draw).transpose()?;
    let mut shifted = |radius: f64| -> Result<Tensor, TrainError> {
        if let Some(seed) = seed {
            tch::manual_seed(seed);
        }
        put_back(state.weights.values(), &no_grad(|| weights.f_add(&direction.f_mul_scalar(radius)?))?)?;
        state.gradients(weight_images, *mode, Trained::ALPHAS)?;
        copy(state.flat_alphas.gradients())
    };
    let (ahead, behind) = (shifted(radius)?, shifted(-radius)?);
    let implicit = ahead.f_sub(&behind)?.f_mul_scalar(*learning_rate / (2.0 * radius))?;
    Ok((result, direct.f_sub(&implicit)?))
}
