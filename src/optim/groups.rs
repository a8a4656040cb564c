//! Parameter groups: which tensors share settings.
//!
//! Large-batch recipes decay no scale and shift of a BatchNorm and no bias, and give them no layer-wise rate of their
//! own. Source: Goyal et al. (arXiv:1706.02677), section 5.1; Jia et al. (arXiv:1807.11205), section 3.2.

use tch::{Kind, TchError, Tensor, no_grad};

use super::FlatParameters;

/// Settings of a group's tensors.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct ParameterGroup {
    /// For messages.
    pub name: &'static str,
    /// Share of a value that is added to its gradient (SGD, LARS, Adam) or to its step (LAMB, AdamW).
    pub weight_decay: f64,
    /// Whether LARS and LAMB scale the step of each of its tensors by that tensor's norm.
    pub adapts: bool,
}

/// The groups of one set of flat parameters.
#[derive(Clone, Debug)]
pub struct ParameterGroups {
    groups: Vec<ParameterGroup>,
    /// Of each tensor, in the order of the buffer.
    group_of_tensor: Vec<usize>,
}

impl ParameterGroups {
    /// All tensors alike.
    pub fn uniform(parameters: &FlatParameters, weight_decay: f64) -> Self {
        Self::by_name(parameters, vec![ParameterGroup { name: "all", weight_decay, adapts: true }], |_, _| 0)
    }

    /// Weights of convolutions and linear layers decay and adapt; scales, shifts and biases, the tensors of one
    /// dimension, do neither.
    pub fn sparing_norms_and_biases(parameters: &FlatParameters, weight_decay: f64) -> Self {
        let groups = vec![
            ParameterGroup { name: "weights", weight_decay, adapts: true },
            ParameterGroup { name: "norms and biases", weight_decay: 0.0, adapts: false },
        ];
        Self::by_name(parameters, groups, |_, shape| usize::from(shape.len() <= 1))
    }

    /// `group_of` says by name and shape which of `groups` a tensor belongs to; a number beyond them stands for the last.
    pub fn by_name(
        parameters: &FlatParameters,
        groups: Vec<ParameterGroup>,
        group_of: impl Fn(&str, &[i64]) -> usize,
    ) -> Self {
        let last = groups.len().saturating_sub(1);
        let group_of_tensor = parameters.named_shapes().map(|(name, shape)| group_of(name, shape).min(last)).collect();
        Self { groups, group_of_tensor }
    }

    /// The group of each tensor, in the order of the buffer.
    pub fn of_tensors(&self) -> impl Iterator<Item = &ParameterGroup> {
        self.group_of_tensor.iter().map(|&group| &self.groups[group])
    }

    /// What each value of the buffer decays by.
    ///
    /// # Errors
    /// When libtorch has no memory for it.
    pub fn weight_decay(&self, parameters: &FlatParameters) -> Result<WeightDecay, TchError> {
        let mut rates = self.of_tensors().map(|group| group.weight_decay);
        let first = rates.next().unwrap_or(0.0);
        if rates.all(|rate| rate == first) {
            return Ok(WeightDecay::Uniform(first));
        }
        let buffer = parameters.values().f_zeros_like()?;
        no_grad(|| {
            let views = parameters.split(&buffer).into_iter();
            views.zip(self.of_tensors()).try_for_each(|(mut view, group)| view.f_fill_(group.weight_decay).map(drop))
        })?;
        Ok(WeightDecay::PerValue(buffer))
    }

    /// Weight decay of each tensor, `[tensors]` in double precision.
    pub(super) fn decay_of_tensors(&self, parameters: &FlatParameters) -> Result<Tensor, TchError> {
        let rates: Vec<f64> = self.of_tensors().map(|group| group.weight_decay).collect();
        Tensor::f_from_slice(&rates)?.f_to_device(parameters.values().device())
    }

    /// Which tensors adapt, `[tensors]`.
    pub(super) fn adapting_tensors(&self, parameters: &FlatParameters) -> Result<Tensor, TchError> {
        let adapts: Vec<bool> = self.of_tensors().map(|group| group.adapts).collect();
        Tensor::f_from_slice(&adapts)?.f_to_kind(Kind::Bool)?.f_to_device(parameters.values().device())
    }
}

/// Weight decay over a flat buffer.
#[derive(Debug)]
pub enum WeightDecay {
    /// The same for all values.
    Uniform(f64),
    /// `[buffer length]`.
    PerValue(Tensor),
}

impl WeightDecay {
    /// `values` times their decay, `[buffer length]`.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn of(&self, values: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Uniform(rate) => values.f_mul_scalar(*rate),
            Self::PerValue(rates) => values.f_mul(rates),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::NamedTensor;

    fn parameters() -> FlatParameters {
        let named = |name: &str, shape: &[i64]| NamedTensor {
            name: name.into(),
            tensor: Tensor::ones(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true),
        };
        let tensors = [
            named("stem.0.weight", &[4, 3, 3, 3]),
            named("stem.1.weight", &[4]),
            named("stem.1.bias", &[4]),
            named("classifier.weight", &[10, 4]),
            named("classifier.bias", &[10]),
        ];
        FlatParameters::flatten(&tensors).unwrap()
    }

    #[test]
    fn norms_and_biases_are_told_from_weights() {
        let parameters = parameters();
        let groups = ParameterGroups::sparing_norms_and_biases(&parameters, 1e-4);
        let decays: Vec<f64> = groups.of_tensors().map(|group| group.weight_decay).collect();
        assert_eq!(decays, [1e-4, 0.0, 0.0, 1e-4, 0.0]);
        assert!(groups.of_tensors().all(|group| group.adapts == (group.weight_decay > 0.0)));
    }

    #[test]
    fn decay_reaches_the_values_of_its_group_only() {
        let parameters = parameters();
        let spared = ParameterGroups::sparing_norms_and_biases(&parameters, 0.5).weight_decay(&parameters).unwrap();
        let decayed = parameters.split(&spared.of(parameters.values()).unwrap());
        let sums: Vec<f64> = decayed.iter().map(|tensor| tensor.sum(Kind::Double).double_value(&[])).collect();
        assert_eq!(sums, [54.0, 0.0, 0.0, 20.0, 0.0]);
    }

    #[test]
    fn groups_can_be_made_of_names() {
        let parameters = parameters();
        let group = |name, weight_decay| ParameterGroup { name, weight_decay, adapts: false };
        let groups = vec![group("head", 1.0), group("rest", 2.0)];
        let groups = ParameterGroups::by_name(&parameters, groups, |name, _| usize::from(!name.starts_with("class")));
        let names: Vec<&str> = groups.of_tensors().map(|group| group.name).collect();
        assert_eq!(names, ["rest", "rest", "rest", "head", "head"]);
    }

    #[test]
    fn equal_rates_are_one_number() {
        let parameters = parameters();
        let groups = ParameterGroups::uniform(&parameters, 3e-4);
        assert!(matches!(groups.weight_decay(&parameters).unwrap(), WeightDecay::Uniform(rate) if rate == 3e-4));
        let groups = ParameterGroups::sparing_norms_and_biases(&parameters, 0.0);
        assert!(matches!(groups.weight_decay(&parameters).unwrap(), WeightDecay::Uniform(rate) if rate == 0.0));
    }
}
