//! ReLU, depthwise and pointwise convolution as a layer: what sep_conv and dil_conv are made of.

use tch::Tensor;

use super::{BatchNorm, ParameterStore};
use crate::torch::{DepthwiseGeometry, Norm, SeparableCall, SeparableWeights, TorchError, separable_convs};

/// For each of `E` edges, ReLU, one depthwise kernel per channel and a dense 1x1 convolution of the edge's channels.
/// Keeps the size at stride 1.
#[derive(Debug)]
pub struct SeparableConv {
    /// `[E * C, 1, k, k]`.
    pub depthwise: Tensor,
    /// `[E * C, C, 1, 1]`.
    pub pointwise: Tensor,
    geometry: DepthwiseGeometry,
}

impl SeparableConv {
    /// For `edges` edges of `channels` channels with `kernel` x `kernel` kernels, under the two names.
    pub fn new(
        store: &mut ParameterStore,
        [depthwise, pointwise]: &[String; 2],
        edges: i64,
        channels: i64,
        kernel: i64,
        geometry: DepthwiseGeometry,
    ) -> Self {
        let all = edges * channels;
        Self {
            depthwise: store.uniform(format!("{depthwise}.weight"), &[all, 1, kernel, kernel], kernel * kernel),
            pointwise: store.uniform(format!("{pointwise}.weight"), &[all, channels, 1, 1], channels),
            geometry,
        }
    }

    /// That of one edge alone; the weights are shared.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of_edge(&self, edge: i64) -> Result<Self, TorchError> {
        let channels = self.pointwise.size()[1];
        let part = |weights: &Tensor| weights.f_narrow(0, edge * channels, channels);
        Ok(Self { depthwise: part(&self.depthwise)?, pointwise: part(&self.pointwise)?, geometry: self.geometry })
    }

    /// On `x`: `[N, C, H, W]` for all edges, or `[N, E * C, H, W]` with the input of each.
    fn call<'a>(&'a self, x: &'a Tensor, norm: Option<Norm<'a>>) -> SeparableCall<'a> {
        let Self { depthwise, pointwise, geometry } = self;
        // Under autocast `x` is in bfloat16 and so is the result; the weights stay in 32 bits.
        SeparableCall { x, weights: SeparableWeights { depthwise, pointwise }, geometry: *geometry, norm }
    }
}

/// A separable convolution and the BatchNorm behind it.
#[derive(Debug)]
pub struct SeparableLayer {
    /// Of all edges.
    pub conv: SeparableConv,
    /// Of the channels of all edges.
    pub bn: BatchNorm,
}

impl SeparableLayer {
    /// That of edge `edge` of `edges` alone; weights and statistics are shared.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of_edge(&self, edge: i64, edges: i64) -> Result<Self, TorchError> {
        Ok(Self { conv: self.conv.of_edge(edge)?, bn: self.bn.of_block(edge, edges)? })
    }
}

/// Layers in turn on an input: two are a sep_conv, one is a dil_conv.
#[derive(Copy, Clone, Debug)]
pub struct SeparableChain<'a> {
    /// `[N, C, H, W]`, for all edges.
    pub x: &'a Tensor,
    /// At least one.
    pub layers: &'a [SeparableLayer],
}

/// What `chains` make of their inputs, `[N, E * C, H / stride, W / stride]` each, before the BatchNorm of the last layer. First
/// layers are computed together, and so are second ones.
///
/// # Errors
/// When an input does not fit the weights, or as [`BatchNorm::forward`].
pub fn forward_chains(chains: &[SeparableChain<'_>], training: bool) -> Result<Vec<Tensor>, TorchError> {
    let mut values: Vec<Tensor> = chains.iter().map(|chain| chain.x.shallow_clone()).collect();
    for depth in 0..chains.iter().map(|chain| chain.layers.len()).max().unwrap_or(0) {
        let goes_on: Vec<usize> = (0..chains.len()).filter(|&index| depth < chains[index].layers.len()).collect();
        let call = |&index: &usize| {
            let layers = chains[index].layers;
            let norm = depth.checked_sub(1).map(|before| layers[before].bn.as_norm(training));
            layers[depth].conv.call(&values[index], norm)
        };
        let computed = separable_convs(&goes_on.iter().map(call).collect::<Vec<_>>())?;
        for (index, value) in goes_on.into_iter().zip(computed) {
            values[index] = value;
        }
    }
    Ok(values)
}
