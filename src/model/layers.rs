//! Convolution, BatchNorm and the two small blocks that bring a cell's inputs to its width.
//!
//! Activations are `[N, C, H, W]` in channels-last memory; every layer here keeps that layout.

use tch::{Device, Tensor};

use super::ParameterStore;
use crate::torch::{NodeBranch, Norm, RunningStatistics, TorchError, branch_sum};

/// `x` with the same values and shape in channels-last memory.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn channels_last(x: &Tensor) -> Result<Tensor, TorchError> {
    Ok(x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// A convolution without bias.
#[derive(Debug)]
pub struct Conv2d {
    /// `[out, in / groups, height, width]`.
    pub weight: Tensor,
    /// Vertical and horizontal, as all pairs here.
    stride: [i64; 2],
    padding: [i64; 2],
    groups: i64,
}

impl Conv2d {
    /// A dense `kernel` x `kernel` convolution that keeps the size at stride 1.
    pub fn dense(store: &mut ParameterStore, name: &str, channels: (i64, i64), kernel: i64, stride: i64) -> Self {
        Self::rectangular(store, name, channels, [kernel; 2], [stride; 2])
    }

    /// A dense convolution with a kernel of `kernel` (odd) rows and columns that keeps the size at stride 1.
    pub fn rectangular(
        store: &mut ParameterStore,
        name: &str,
        channels: (i64, i64),
        kernel: [i64; 2],
        stride: [i64; 2],
    ) -> Self {
        Self { stride, padding: kernel.map(|size| size / 2), ..Self::unpadded(store, name, channels, kernel) }
    }

    /// A dense convolution of stride 1 that sees no position outside of its input.
    pub fn unpadded(store: &mut ParameterStore, name: &str, channels: (i64, i64), kernel: [i64; 2]) -> Self {
        let ((input, output), [height, width]) = (channels, kernel);
        let shape = [output, input, height, width];
        let weight = store.uniform(format!("{name}.weight"), &shape, input * height * width);
        Self { weight, stride: [1; 2], padding: [0; 2], groups: 1 }
    }

    /// A 1x1 convolution from `groups * input` to `groups * output` channels, each group on its own.
    pub fn pointwise(
        store: &mut ParameterStore,
        name: &str,
        (input, output): (i64, i64),
        groups: i64,
        stride: i64,
    ) -> Self {
        let weight = store.uniform(format!("{name}.weight"), &[groups * output, input, 1, 1], input);
        Self { weight, stride: [stride; 2], padding: [0; 2], groups }
    }

    /// `[N, in, H, W]` to `[N, out, H', W']`.
    ///
    /// # Errors
    /// When `x` does not fit, or for want of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        if x.device().is_cuda() && self.is_pointwise() {
            return self.product(x);
        }
        Ok(x.f_conv2d(&self.weight, None::<&Tensor>, self.stride, self.padding, [1, 1], self.groups)?)
    }

    fn is_pointwise(&self) -> bool {
        self.groups == 1 && self.padding == [0; 2] && self.weight.size()[2..] == [1, 1]
    }

    /// A pointwise convolution as the product of pixels and weights that it is: cuDNN copies channels-last tensors in 32 bits
    /// into another layout and back.
    fn product(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        let [rows, columns] = self.stride;
        let mut pixels = x.f_permute([0, 2, 3, 1])?;
        for (dimension, step) in [(1, rows), (2, columns)] {
            if step > 1 {
                pixels = pixels.f_slice(dimension, None, None, step)?;
            }
        }
        Ok(pixels.f_linear(&self.weight.f_flatten(1, 3)?, None::<&Tensor>)?.f_permute([0, 3, 1, 2])?)
    }
}

/// Batch normalisation over `[N, H, W]`; momentum 0.1, epsilon 1e-5.
#[derive(Debug)]
pub struct BatchNorm {
    /// Scale and shift `[C]`; absent in the supernet, where the architecture weights would fight the scale
    /// (DARTS, arXiv:1806.09055, appendix A.1.1).
    pub affine: Option<(Tensor, Tensor)>,
    /// `[C]`.
    pub running_mean: Tensor,
    /// `[C]`.
    pub running_var: Tensor,
}

impl BatchNorm {
    /// With a trained scale and shift.
    pub fn affine(store: &mut ParameterStore, name: &str, channels: i64) -> Self {
        let weight = store.constant(format!("{name}.weight"), &[channels], 1.0);
        let bias = store.constant(format!("{name}.bias"), &[channels], 0.0);
        Self { affine: Some((weight, bias)), ..Self::plain(store, name, channels) }
    }

    /// Without scale and shift.
    pub fn plain(store: &mut ParameterStore, name: &str, channels: i64) -> Self {
        let running_mean = store.statistic(format!("{name}.running_mean"), &[channels], 0.0);
        let running_var = store.statistic(format!("{name}.running_var"), &[channels], 1.0);
        Self { affine: None, running_mean, running_var }
    }

    /// Normalises `x` `[N, C, H, W]` by its own statistics when `training` (or those of all ranks' images, see
    /// [`crate::torch::synchronise_batch_norm`]), which also move the running ones, else by the running ones.
    ///
    /// # Errors
    /// When `x` does not fit, or the other ranks cannot be reached.
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        branch_sum(&[NodeBranch { y: x.shallow_clone(), norm: Some(self.as_norm(training)), mask: None }])
    }

    /// That of one of `blocks` equal blocks of channels alone; the tensors are shared.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of_block(&self, block: i64, blocks: i64) -> Result<Self, TorchError> {
        let part = |tensor: &Tensor| block_of(tensor, block, blocks);
        let affine = self.affine.as_ref().map(|(weight, bias)| Ok::<_, TorchError>((part(weight)?, part(bias)?)));
        Ok(Self {
            affine: affine.transpose()?,
            running_mean: part(&self.running_mean)?,
            running_var: part(&self.running_var)?,
        })
    }

    /// As operations take it that normalise for themselves.
    pub fn as_norm(&self, training: bool) -> Norm<'_> {
        let affine = self.affine.as_ref().map(|(weight, bias)| (weight, bias));
        Norm { affine, running: self.running(), training }
    }

    /// What evaluation normalises by.
    pub fn running(&self) -> RunningStatistics<'_> {
        RunningStatistics { mean: &self.running_mean, var: &self.running_var }
    }
}

/// One of `blocks` equal blocks of the first dimension.
fn block_of(tensor: &Tensor, block: i64, blocks: i64) -> Result<Tensor, TorchError> {
    let rows = tensor.size()[0] / blocks;
    Ok(tensor.f_narrow(0, block * rows, rows)?)
}

/// ReLU, 1x1 convolution, BatchNorm without affine: brings a cell's input to the cell's width.
#[derive(Debug)]
pub struct ReluConvBn {
    /// The convolution.
    pub conv: Conv2d,
    /// Its normalisation.
    pub bn: BatchNorm,
}

impl ReluConvBn {
    /// From `channels.0` to `channels.1` channels.
    pub fn new(store: &mut ParameterStore, name: &str, channels: (i64, i64)) -> Self {
        Self {
            conv: Conv2d::pointwise(store, &format!("{name}.conv"), channels, 1, 1),
            bn: BatchNorm::plain(store, &format!("{name}.bn"), channels.1),
        }
    }

    /// `[N, channels.0, H, W]` to `[N, channels.1, H, W]`.
    ///
    /// # Errors
    /// Those of [`BatchNorm::forward`].
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        self.bn.forward(&self.conv.forward(&x.f_relu()?)?, training)
    }
}

/// Numbers of a vector of AVX-512 in single precision.
const VECTOR: i64 = 16;

/// Halves height and width without losing pixels: two 1x1 convolutions of stride 2, the second on the input shifted by
/// one pixel, each giving half of the channels of every edge.
///
/// `edges` edges that read one input are one block, so that both convolutions stay dense. Each edge has `C` adjacent
/// channels of the output: its even half, then its odd half.
#[derive(Debug)]
pub struct FactorizedReduce {
    /// `[edges * C / 2, in, 1, 1]`, on the even pixels.
    pub conv_even: Conv2d,
    /// `[edges * C / 2, in, 1, 1]`, on the odd pixels.
    pub conv_odd: Conv2d,
    /// Over the channels of all edges.
    pub bn: BatchNorm,
    edges: i64,
}

impl FactorizedReduce {
    /// From `channels.0` to `channels.1` channels an edge, `channels.1` being even, for the supernet: its BatchNorm has
    /// no scale and shift.
    pub fn new(store: &mut ParameterStore, name: &str, channels: (i64, i64), edges: i64) -> Self {
        Self::with_norm(store, name, channels, edges, BatchNorm::plain)
    }

    /// For one edge, with scale and shift.
    pub fn affine(store: &mut ParameterStore, name: &str, channels: (i64, i64)) -> Self {
        Self::with_norm(store, name, channels, 1, BatchNorm::affine)
    }

    fn with_norm(
        store: &mut ParameterStore,
        name: &str,
        channels: (i64, i64),
        edges: i64,
        norm: fn(&mut ParameterStore, &str, i64) -> BatchNorm,
    ) -> Self {
        let half = (channels.0, edges * channels.1 / 2);
        Self {
            conv_even: Conv2d::pointwise(store, &format!("{name}.conv_1"), half, 1, 2),
            conv_odd: Conv2d::pointwise(store, &format!("{name}.conv_2"), half, 1, 2),
            bn: norm(store, &format!("{name}.bn"), edges * channels.1),
            edges,
        }
    }

    /// That of one edge alone; the tensors are shared.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of_edge(&self, edge: i64) -> Result<Self, TorchError> {
        let part =
            |conv: &Conv2d| Ok::<_, TorchError>(Conv2d { weight: block_of(&conv.weight, edge, self.edges)?, ..*conv });
        Ok(Self {
            conv_even: part(&self.conv_even)?,
            conv_odd: part(&self.conv_odd)?,
            bn: self.bn.of_block(edge, self.edges)?,
            edges: 1,
        })
    }

    /// `relu` `[N, in, H, W]`, already through the ReLU, to `[N, edges * C, H/2, W/2]` before normalisation.
    ///
    /// # Errors
    /// When `relu` does not fit, or for want of memory.
    pub fn reduce(&self, relu: &Tensor) -> Result<Tensor, TorchError> {
        let (_, channels, height, width) = relu.size4()?;
        // libtorch 2.13's weight gradient of such a convolution on a CPU with AVX-512 writes past its buffer where the channels of
        // a channels-last tensor are fewer than a vector's 16 numbers and the image is large.
        let as_planes = channels < VECTOR && relu.device() == Device::Cpu;
        let relu = &if as_planes { relu.f_contiguous()? } else { relu.shallow_clone() };
        let shifted = relu.f_narrow(2, 1, height - 1)?.f_narrow(3, 1, width - 1)?;
        // [N, H/2, W/2, edges, C/2]
        let by_edge = |half: Tensor| half.f_permute([0, 2, 3, 1])?.f_unflatten(3, [self.edges, -1]);
        let halves = [by_edge(self.conv_even.forward(relu)?)?, by_edge(self.conv_odd.forward(&shifted)?)?];
        Ok(Tensor::f_cat(&halves, 4)?.f_flatten(3, 4)?.f_permute([0, 3, 1, 2])?)
    }

    /// ReLU, reduction and normalisation of one input for one edge.
    ///
    /// # Errors
    /// Those of [`BatchNorm::forward`].
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        self.bn.forward(&self.reduce(&x.f_relu()?)?, training)
    }
}

/// A linear layer with bias.
#[derive(Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
}

impl Linear {
    /// From `channels.0` to `channels.1` features.
    pub fn new(store: &mut ParameterStore, name: &str, (input, output): (i64, i64)) -> Self {
        Self {
            weight: store.uniform(format!("{name}.weight"), &[output, input], input),
            bias: store.uniform(format!("{name}.bias"), &[output], input),
        }
    }

    /// `[N, in]` to `[N, out]`.
    ///
    /// # Errors
    /// When `x` does not fit, or for want of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// Of a channels-last tensor of few channels libtorch would corrupt memory here.
    #[test]
    fn few_channels_are_reduced_with_the_gradients_of_planes() {
        for channels in [2, 4, 10, 14, 16] {
            let mut store = ParameterStore::new(Device::Cpu, Kind::Float);
            let reduce = FactorizedReduce::new(&mut store, "reduce", (channels, 8), 1);
            let x = Tensor::randn([2, channels, 112, 112], (Kind::Float, Device::Cpu));
            let gradients = |x: Tensor| {
                let output = reduce.reduce(&x).unwrap();
                let weights = [&reduce.conv_even.weight, &reduce.conv_odd.weight];
                Tensor::run_backward(&[output.square().sum(Kind::Float)], &weights, false, false)
            };
            let (found, expected) = (gradients(channels_last(&x).unwrap()), gradients(x.contiguous()));
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs().max() / expected.abs().max();
                assert!(error.double_value(&[]) < 1e-4, "{channels}");
            }
        }
    }
}
