//! Clipping, the steps of optimizers, running averages of weights.

use tch::{Tensor, no_grad};

use super::comparison::Computed;
use super::values::Values;
use super::{Case, Failure};
use crate::model::NamedTensor;
use crate::optim::{
    Adam, AdamDecay, Ema, FlatParameters, Lamb, Lars, LarsOptions, MomentOptions, Optimizer, ParameterGroups, Sgd,
    SgdOptions, clip_gradient_norm,
};
use crate::torch::{TorchError, values_to_device};

const STEPS: usize = 2;
const LEARNING_RATE: f64 = 0.1;
const WEIGHT_DECAY: f64 = 0.01;
const EMA_DECAY: f64 = 0.9;
/// Below the norm of the gradients.
const CLIP: f64 = 1.0;
const SGD: SgdOptions = SgdOptions { momentum: 0.9, nesterov: true };
const LARS: LarsOptions = LarsOptions { momentum: 0.9, nesterov: false, trust_coefficient: 0.001, epsilon: 1e-8 };
const MOMENTS: MomentOptions = MomentOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

type New = fn(&FlatParameters, &ParameterGroups) -> Result<Box<dyn Optimizer>, TorchError>;

pub fn cases() -> Vec<Case> {
    let optimizers: [(&str, New); 4] = [
        ("SGD", |parameters, groups| Ok(Box::new(Sgd::new(parameters, groups, SGD)?))),
        ("Adam", |parameters, groups| Ok(Box::new(Adam::new(parameters, groups, MOMENTS, AdamDecay::Gradient)?))),
        ("LARS", |parameters, groups| Ok(Box::new(Lars::new(parameters, groups, LARS)?))),
        ("LAMB", |parameters, groups| Ok(Box::new(Lamb::new(parameters, groups, MOMENTS)?))),
    ];
    let steps = |(name, new)| Case::operation(format!("clipped steps of {name}"), move |values| steps(values, new));
    let average = Case::operation("running average of weights", averaged);
    optimizers.map(steps).into_iter().chain([average]).collect()
}

/// The average after some updates, by different shares of the way.
fn averaged(values: &mut Values) -> Result<Computed, Failure> {
    let size = [12, 8, 3, 3];
    let first = values.tensor(&size)?;
    let mut average = Ema::new(EMA_DECAY, &[&first])?;
    for _ in 0..STEPS {
        let share = values_to_device(&[average.begin_update()], values.device)?;
        average.move_averages(&[&values.tensor(&size)?], &share.f_select(0, 0)?)?;
    }
    Ok(Computed::of(average.averages().iter().map(Tensor::f_detach_copy).collect::<Result<_, _>>()?))
}

/// The parameters after some steps.
fn steps(values: &mut Values, new: New) -> Result<Computed, Failure> {
    let shapes: [&[i64]; 3] = [&[12, 8, 3, 3], &[12], &[10, 12]];
    let named = |(index, shape): (usize, &&[i64])| {
        Ok(NamedTensor { name: format!("layer{index}.weight"), tensor: values.leaf(shape)? })
    };
    let tensors = shapes.iter().enumerate().map(named).collect::<Result<Vec<_>, TorchError>>()?;
    let parameters = FlatParameters::flatten(&tensors)?;
    let mut optimizer = new(&parameters, &ParameterGroups::sparing_norms_and_biases(&parameters, WEIGHT_DECAY))?;
    for _ in 0..STEPS {
        for part in parameters.split(parameters.gradients()) {
            let gradient = values.tensor(&part.size())?;
            no_grad(|| part.shallow_clone().f_copy_(&gradient))?;
        }
        let _ = clip_gradient_norm(parameters.gradients(), CLIP)?;
        optimizer.step(&parameters, LEARNING_RATE)?;
    }
    Ok(Computed::of(parameters.tensors().into_iter().map(Tensor::f_detach_copy).collect::<Result<_, _>>()?))
}
