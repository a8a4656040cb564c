//! The layers of a network as shapes alone: what follows a network without building it.

use super::operation::Operation;

/// The shape of a state or of a layer's output, for one image.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FeatureMap {
    /// Channels.
    pub channels: u64,
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

impl FeatureMap {
    /// A square image of three colours.
    pub const fn image(size: u64) -> Self {
        Self { channels: 3, height: size, width: size }
    }

    /// Values.
    pub const fn elements(self) -> u64 {
        self.channels * self.height * self.width
    }

    /// After a layer of this stride, vertical and horizontal, that pads for its kernel.
    pub const fn strided(self, stride: (u64, u64)) -> Self {
        Self { height: self.height.div_ceil(stride.0), width: self.width.div_ceil(stride.1), ..self }
    }

    /// The same pixels with other channels.
    pub const fn with_channels(self, channels: u64) -> Self {
        Self { channels, ..self }
    }
}

/// A convolution without bias; pairs are (vertical, horizontal).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Convolution {
    /// Channels of the output.
    pub out_channels: u64,
    /// Rows and columns of the kernel.
    pub kernel: (u64, u64),
    /// Of the output's pixels on the input.
    pub stride: (u64, u64),
    /// Groups of channels that see each other.
    pub groups: u64,
}

impl Convolution {
    /// 1x1 of stride 1.
    pub const fn pointwise(out_channels: u64) -> Self {
        Self::square(out_channels, 1, 1)
    }

    /// Dense, of equal sides and strides.
    pub const fn square(out_channels: u64, kernel: u64, stride: u64) -> Self {
        Self { out_channels, kernel: (kernel, kernel), stride: (stride, stride), groups: 1 }
    }

    /// A kernel for each channel.
    pub const fn depthwise(channels: u64, kernel: u64, stride: u64) -> Self {
        Self { groups: channels, ..Self::square(channels, kernel, stride) }
    }

    /// Weights, from `in_channels`.
    pub const fn weights(&self, in_channels: u64) -> u64 {
        self.out_channels * (in_channels / self.groups) * self.kernel.0 * self.kernel.1
    }
}

/// ReLU, depthwise and pointwise convolution, for several edges at once: a part of sep_conv and dil_conv.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Separable {
    /// Edges that it computes, each with channels of its own in the output.
    pub edges: u64,
    /// Side of the depthwise kernel.
    pub kernel: u64,
    /// Of both sides.
    pub stride: u64,
    /// Whether a BatchNorm stands before the ReLU: the input is then that of each edge, not one for all.
    pub normalised: bool,
}

/// What is told of each layer of a network, in the order in which it computes. Every function returns the shape of the output.
pub trait Layers {
    /// A dense convolution or one in groups.
    fn convolution(&mut self, x: FeatureMap, convolution: Convolution) -> FeatureMap;

    /// BatchNorm with scale and shift for each channel.
    fn batch_norm(&mut self, x: FeatureMap) -> FeatureMap;

    /// The BatchNorm at the end of an edge's operation, behind which [`add`](Self::add) follows.
    fn branch_norm(&mut self, x: FeatureMap) -> FeatureMap {
        self.batch_norm(x)
    }

    /// ReLU.
    fn relu(&mut self, x: FeatureMap) -> FeatureMap;

    /// ReLU of a cell's output that the next cell has taken the ReLU of already.
    fn relu_again(&mut self, x: FeatureMap) -> FeatureMap {
        self.relu(x)
    }

    /// The separable convolutions that follow, up to the next call or the end of a cell, are of its group `group`: the first halves
    /// of a group can be computed together, and so can its second ones.
    fn group(&mut self, group: usize) {
        let _ = group;
    }

    /// Without the BatchNorm behind it.
    fn separable(&mut self, x: FeatureMap, separable: Separable) -> FeatureMap {
        let Separable { edges, kernel, stride, normalised } = separable;
        let x = if normalised { self.batch_norm(x) } else { x };
        let x = self.relu(x);
        let channels = if normalised { x.channels } else { edges * x.channels };
        let x = self.convolution(x, Convolution::depthwise(channels, kernel, stride));
        self.convolution(x, Convolution { groups: edges, ..Convolution::pointwise(channels) })
    }

    /// 3x3 pooling.
    fn pool(&mut self, x: FeatureMap, operation: Operation, stride: u64) -> FeatureMap {
        let _ = operation;
        x.strided((stride, stride))
    }

    /// The sum of a node's two branches.
    fn add(&mut self, x: FeatureMap, droppable: u64) -> FeatureMap {
        let _ = droppable;
        x
    }

    /// A state of a cell, before what leaves it.
    fn state(&mut self, x: FeatureMap) -> FeatureMap {
        x
    }

    /// The states that are a cell's output side by side, of `channels` in all.
    fn concatenation(&mut self, x: FeatureMap, channels: u64) -> FeatureMap {
        x.with_channels(channels)
    }

    /// A linear layer with bias.
    fn linear(&mut self, inputs: u64, outputs: u64);
}
