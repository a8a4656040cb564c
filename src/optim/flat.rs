//! All tensors of a group as views into one buffer, their gradients summed in another.
//!
//! Zeroing, clipping, stepping, hashing and saving then work on whole buffers, and a range of the gradient can be
//! all-reduced without a copy. Tensors start at multiples of 64 bytes; the gaps stay zero.

use std::ops::Range;

use tch::{Device, Kind, Tensor, no_grad};

use super::gradients::FlatGradients;
use crate::model::NamedTensor;
use crate::torch::TorchError;

const ALIGNMENT_BYTES: usize = 64;

/// Trainable tensors laid out in one buffer, with their gradients.
#[derive(Debug)]
pub struct FlatParameters {
    values: Tensor,
    gradients: FlatGradients,
    tensors: Vec<Tensor>,
    names: Vec<String>,
    views: Vec<View>,
    num_parameters: usize,
}

impl FlatParameters {
    /// Moves `tensors` into one buffer, in their order; the layers that hold them see no difference.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn flatten(tensors: &[NamedTensor]) -> Result<Self, TorchError> {
        let (values, views) = move_into_one_buffer(tensors)?;
        let handles = || tensors.iter().map(|named| named.tensor.shallow_clone()).collect();
        let gradients = FlatGradients::zeros(&values, handles(), views.iter().map(View::range))?;
        let num_parameters = tensors.iter().map(|named| named.tensor.numel()).sum();
        let names = tensors.iter().map(|named| named.name.clone()).collect();
        Ok(Self { values, gradients, tensors: handles(), names, views, num_parameters })
    }

    /// All values, `[buffer length]`, with zeros in the gaps.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// All gradients, `[buffer length]`, with zeros in the gaps: those of backward passes whose gradients were accumulated.
    pub fn gradients(&self) -> &Tensor {
        self.gradients.buffer()
    }

    /// What sums the gradients up, for who accumulates those of some parameters before the others are there.
    pub fn flat_gradients(&self) -> &FlatGradients {
        &self.gradients
    }

    /// The tensors, in the order of the buffer.
    pub fn tensors(&self) -> Vec<&Tensor> {
        self.tensors.iter().collect()
    }

    /// Name and shape of each tensor, in the order of the buffer.
    pub fn named_shapes(&self) -> impl Iterator<Item = (&str, &[i64])> {
        self.names.iter().map(String::as_str).zip(self.views.iter().map(|view| view.shape.as_slice()))
    }

    /// Each tensor begins at a multiple of so many values, and so would another behind the last.
    pub fn alignment(&self) -> i64 {
        alignment(self.values.kind())
    }

    /// Where each tensor lies in the buffer, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<i64>> {
        self.views.iter().map(View::range)
    }

    /// The parts of `buffer`, which has the layout of [`values`](Self::values), that belong to the single tensors.
    pub fn split(&self, buffer: &Tensor) -> Vec<Tensor> {
        self.views.iter().map(|view| view.of(buffer)).collect()
    }

    /// The number of parameters, without the gaps.
    pub fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    /// Sets all gradients to zero, in place.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn zero_gradients(&mut self) -> Result<(), TorchError> {
        self.gradients.zero()
    }

    /// Adds the gradients of the backward pass that has ended to [`gradients`](Self::gradients).
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn accumulate_gradients(&self) -> Result<(), TorchError> {
        self.gradients.accumulate(0..self.tensors.len())
    }

    /// Drops what a backward pass that failed has left and [`gradients`](Self::gradients) does not have.
    pub fn drop_gradients(&self) {
        self.gradients.drop_waiting();
    }

    /// Says whether backward computes gradients for these parameters.
    pub fn set_trained(&self, trained: bool) {
        for tensor in &self.tensors {
            let _ = tensor.set_requires_grad(trained);
        }
    }
}

/// Statistics (running means and variances) laid out in one buffer.
#[derive(Debug)]
pub struct FlatStatistics {
    values: Tensor,
    views: Vec<View>,
}

impl FlatStatistics {
    /// Moves `tensors` into one buffer, in their order.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn flatten(tensors: &[NamedTensor]) -> Result<Self, TorchError> {
        let (values, views) = move_into_one_buffer(tensors)?;
        Ok(Self { values, views })
    }

    /// All values, `[buffer length]`, with zeros in the gaps.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The parts of `buffer`, which has the layout of [`values`](Self::values), that belong to the single tensors.
    pub fn split(&self, buffer: &Tensor) -> Vec<Tensor> {
        self.views.iter().map(|view| view.of(buffer)).collect()
    }
}

/// Where a tensor lies in a flat buffer.
#[derive(Debug)]
struct View {
    start: i64,
    shape: Vec<i64>,
}

impl View {
    fn range(&self) -> Range<i64> {
        self.start..self.start + self.shape.iter().product::<i64>()
    }

    fn of(&self, buffer: &Tensor) -> Tensor {
        let Range { start, end } = self.range();
        buffer.narrow(0, start, end - start).view(self.shape.as_slice())
    }
}

/// In values.
fn alignment(kind: Kind) -> i64 {
    (ALIGNMENT_BYTES / kind.elt_size_in_bytes().max(1)) as i64
}

fn move_into_one_buffer(tensors: &[NamedTensor]) -> Result<(Tensor, Vec<View>), TorchError> {
    let options =
        tensors.first().map_or((Kind::Float, Device::Cpu), |first| (first.tensor.kind(), first.tensor.device()));
    let alignment = alignment(options.0);
    let mut views = Vec::with_capacity(tensors.len());
    let mut length = 0;
    for NamedTensor { tensor, .. } in tensors {
        views.push(View { start: length, shape: tensor.size() });
        length += (tensor.numel() as i64 + alignment - 1) / alignment * alignment;
    }
    let buffer = Tensor::f_zeros([length], options)?;
    no_grad(|| -> Result<(), TorchError> {
        for (NamedTensor { tensor, .. }, view) in tensors.iter().zip(&views) {
            let mut target = view.of(&buffer);
            target.f_copy_(tensor)?;
            tensor.shallow_clone().set_data(&target);
        }
        Ok(())
    })?;
    Ok((buffer, views))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, shape: &[i64], value: f64) -> NamedTensor {
        let tensor = Tensor::full(shape, value, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        NamedTensor { name: name.into(), tensor }
    }

    #[test]
    fn tensors_become_aligned_views_that_layers_share() {
        let tensors = [named("a", &[3, 5], 1.0), named("b", &[7], 2.0)];
        let layer_handle = tensors[0].tensor.shallow_clone();
        let flat = FlatParameters::flatten(&tensors).unwrap();
        assert_eq!(flat.values().size(), [32]);
        assert_eq!(flat.num_parameters(), 22);
        let _ = no_grad(|| flat.values().shallow_clone().fill_(3.0));
        assert_eq!(layer_handle.double_value(&[2, 4]), 3.0);
    }

    /// The flat gradient at the first value of each tensor, all of at most 16 values.
    fn first_values(flat: &FlatParameters) -> Vec<f64> {
        (0..flat.tensors().len()).map(|tensor| flat.gradients().double_value(&[16 * tensor as i64])).collect()
    }

    #[test]
    fn gradients_of_backward_passes_add_up_in_the_flat_gradient() {
        let tensors = [named("a", &[2], 1.0), named("b", &[2], 2.0), named("unused", &[2], 3.0)];
        let mut flat = FlatParameters::flatten(&tensors).unwrap();
        let loss = || (&tensors[0].tensor * &tensors[1].tensor).sum(Kind::Float);
        for pass in 1..=2 {
            loss().backward();
            flat.accumulate_gradients().unwrap();
            // The next pass adds to none.
            assert!(tensors.iter().all(|named| !named.tensor.grad().defined()));
            assert_eq!(first_values(&flat), [2.0, 1.0, 0.0].map(|gradient| f64::from(pass) * gradient));
        }
        flat.zero_gradients().unwrap();
        flat.set_trained(false);
        assert!(!loss().requires_grad());
        assert_eq!(flat.gradients().abs().sum(Kind::Float).double_value(&[]), 0.0);
    }

    #[test]
    fn some_gradients_can_be_accumulated_before_the_others() {
        let tensors = [named("a", &[2], 1.0), named("b", &[2], 2.0), named("c", &[2], 3.0)];
        let flat = FlatParameters::flatten(&tensors).unwrap();
        (&tensors[0].tensor * &tensors[1].tensor * &tensors[2].tensor).sum(Kind::Float).backward();
        flat.flat_gradients().accumulate(1..3).unwrap();
        assert_eq!(first_values(&flat), [0.0, 3.0, 2.0]);
        flat.accumulate_gradients().unwrap();
        assert_eq!(first_values(&flat), [6.0, 3.0, 2.0]);
        assert_eq!(flat.gradients().sum(Kind::Float).double_value(&[]), 2.0 * 11.0);
    }

    #[test]
    fn gradients_that_a_failed_pass_has_left_are_dropped() {
        let tensors = [named("a", &[2], 1.0), named("b", &[2], 2.0)];
        let [a, b] = [0, 1].map(|index: usize| &tensors[index].tensor);
        let mut flat = FlatParameters::flatten(&tensors).unwrap();
        let mut power = a.exp();
        let sum = (&power + b).sum(Kind::Float);
        // Its gradient needs the value that was there.
        let _ = no_grad(|| power.fill_(0.0));
        assert!(sum.f_backward().is_err());
        assert!(b.grad().defined(), "the pass failed before it left anything");
        flat.zero_gradients().unwrap();
        (a * b).sum(Kind::Float).backward();
        flat.accumulate_gradients().unwrap();
        assert_eq!(first_values(&flat), [2.0, 1.0]);
    }
}
