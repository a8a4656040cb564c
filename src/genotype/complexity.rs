//! Parameters and multiply-adds of the networks built from a genotype, without building them.
//!
//! The networks are walked layer by layer with shapes alone, so that every variant of a search can
//! be priced in microseconds and the model can be checked against the published counts.
//! Source: P-DARTS (arXiv:1904.12760) and the networks of its authors' code.

use serde::{Deserialize, Serialize};

use super::cell::{CellKind, NUM_INPUTS};
use super::genotype::{EDGES_PER_NODE, Genotype};
use super::operation::Operation;

/// Which of the two evaluation networks: they differ in stem and input size.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// One 3x3 convolution before the cells.
    Cifar,
    /// Three 3x3 convolutions of stride 2 before the cells.
    ImageNet,
}

/// The size of an evaluation network.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkShape {
    /// Which network.
    pub kind: NetworkKind,
    /// Channels of the first cell's states (`C`); even.
    pub channels: u64,
    /// Cells, two of which reduce.
    pub cells: usize,
    /// Classes of the linear layer.
    pub num_classes: u64,
    /// Height and width of the input in pixels; a multiple of 4 (CIFAR) or 32 (ImageNet).
    pub image_size: u64,
}

impl NetworkShape {
    /// The CIFAR network of the papers: 36 channels, 20 cells, 32 pixels.
    pub const fn cifar(num_classes: u64) -> Self {
        NetworkShape { kind: NetworkKind::Cifar, channels: 36, cells: 20, num_classes, image_size: 32 }
    }

    /// The ImageNet network of the papers (mobile setting): 48 channels, 14 cells, 224 pixels.
    pub const fn imagenet() -> Self {
        NetworkShape { kind: NetworkKind::ImageNet, channels: 48, cells: 14, num_classes: 1000, image_size: 224 }
    }

    /// The cell whose output the auxiliary head reads: the second that reduces.
    pub const fn auxiliary_cell(&self) -> usize {
        let [_, second] = CellKind::reductions(self.cells);
        second
    }
}

/// What a network costs: its size, and its work for one image.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Trainable parameters, without the auxiliary head.
    pub parameters: u64,
    /// Trainable parameters of the auxiliary head, which only training uses.
    pub auxiliary_parameters: u64,
    /// Multiply-adds of convolutions and linear layers.
    pub multiply_adds: u64,
    /// The same plus 2 for each element a BatchNorm writes and 1 for each a ReLU writes: the
    /// convention of the numbers in the P-DARTS paper.
    pub multiply_adds_all: u64,
}

/// What the networks of the papers cost.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Costs {
    /// [`NetworkShape::cifar`] with 10 classes.
    pub cifar10: Cost,
    /// [`NetworkShape::cifar`] with 100 classes.
    pub cifar100: Cost,
    /// [`NetworkShape::imagenet`].
    pub imagenet: Cost,
}

impl Costs {
    /// Counts the networks built from `genotype`.
    pub fn of(genotype: &Genotype) -> Self {
        Costs {
            cifar10: count(genotype, &NetworkShape::cifar(10)),
            cifar100: count(genotype, &NetworkShape::cifar(100)),
            imagenet: count(genotype, &NetworkShape::imagenet()),
        }
    }
}

/// Counts the network of this shape built from `genotype`.
pub fn count(genotype: &Genotype, shape: &NetworkShape) -> Cost {
    let mut tally = Tally::default();
    let mut auxiliary_parameters = 0;
    let mut channels = shape.channels;
    let (mut older, mut newer) = tally.stem(shape);
    for index in 0..shape.cells {
        let kind = CellKind::at(index, shape.cells);
        if kind == CellKind::Reduction {
            channels *= 2;
        }
        (older, newer) = (newer, tally.cell(genotype, kind, [older, newer], channels));
        if index == shape.auxiliary_cell() {
            auxiliary_parameters = count_auxiliary_head(newer.channels, shape.num_classes);
        }
    }
    tally.linear(newer.channels, shape.num_classes);
    Cost {
        parameters: tally.parameters,
        auxiliary_parameters,
        multiply_adds: tally.multiply_adds,
        multiply_adds_all: tally.multiply_adds + 2 * tally.batch_norm_elements + tally.relu_elements,
    }
}

/// The auxiliary head: pooling to 2x2, a 1x1 and a 2x2 convolution with BN, a linear layer.
fn count_auxiliary_head(channels: u64, num_classes: u64) -> u64 {
    let mut head = Tally::default();
    let pooled = FeatureMap { channels, height: 2, width: 2 };
    let x = head.convolution(pooled, Convolution::pointwise(128));
    head.batch_norm(x);
    let x = head.convolution(x, Convolution { kernel: (2, 2), stride: (2, 2), ..Convolution::pointwise(768) });
    head.batch_norm(x);
    head.linear(x.channels, num_classes);
    head.parameters
}

/// The shape of a state or of a layer's output, for one image.
#[derive(Copy, Clone)]
struct FeatureMap {
    channels: u64,
    height: u64,
    width: u64,
}

impl FeatureMap {
    fn elements(self) -> u64 {
        self.channels * self.height * self.width
    }

    /// After a layer of this stride that pads for its kernel.
    fn strided(self, stride: (u64, u64)) -> Self {
        FeatureMap { height: self.height.div_ceil(stride.0), width: self.width.div_ceil(stride.1), ..self }
    }
}

/// A convolution without bias; pairs are (vertical, horizontal).
#[derive(Copy, Clone)]
struct Convolution {
    out_channels: u64,
    kernel: (u64, u64),
    stride: (u64, u64),
    groups: u64,
}

impl Convolution {
    fn pointwise(out_channels: u64) -> Self {
        Convolution::square(out_channels, 1, 1)
    }

    fn square(out_channels: u64, kernel: u64, stride: u64) -> Self {
        Convolution { out_channels, kernel: (kernel, kernel), stride: (stride, stride), groups: 1 }
    }

    fn depthwise(channels: u64, kernel: u64, stride: u64) -> Self {
        Convolution { groups: channels, ..Convolution::square(channels, kernel, stride) }
    }
}

/// Running totals over the layers seen so far.
#[derive(Default)]
struct Tally {
    parameters: u64,
    multiply_adds: u64,
    batch_norm_elements: u64,
    relu_elements: u64,
}

/// Single layers.
impl Tally {
    fn convolution(&mut self, x: FeatureMap, convolution: Convolution) -> FeatureMap {
        let Convolution { out_channels, kernel, stride, groups } = convolution;
        let weights = out_channels * (x.channels / groups) * kernel.0 * kernel.1;
        let out = FeatureMap { channels: out_channels, ..x.strided(stride) };
        self.parameters += weights;
        self.multiply_adds += weights * out.height * out.width;
        out
    }

    /// With scale and shift for each channel.
    fn batch_norm(&mut self, x: FeatureMap) {
        self.parameters += 2 * x.channels;
        self.batch_norm_elements += x.elements();
    }

    fn relu(&mut self, x: FeatureMap) {
        self.relu_elements += x.elements();
    }

    fn linear(&mut self, inputs: u64, outputs: u64) {
        self.parameters += inputs * outputs + outputs;
        self.multiply_adds += inputs * outputs;
    }
}

/// Blocks of layers, each named as what it counts.
impl Tally {
    /// Returns what the first cell takes as the outputs of the two cells before it.
    fn stem(&mut self, shape: &NetworkShape) -> (FeatureMap, FeatureMap) {
        let image = FeatureMap { channels: 3, height: shape.image_size, width: shape.image_size };
        match shape.kind {
            NetworkKind::Cifar => {
                let stem = self.convolution(image, Convolution::square(3 * shape.channels, 3, 1));
                self.batch_norm(stem);
                (stem, stem)
            }
            NetworkKind::ImageNet => {
                let half = self.convolution(image, Convolution::square(shape.channels / 2, 3, 2));
                self.batch_norm(half);
                self.relu(half);
                let quarter = self.convolution(half, Convolution::square(shape.channels, 3, 2));
                self.batch_norm(quarter);
                self.relu(quarter);
                let eighth = self.convolution(quarter, Convolution::square(shape.channels, 3, 2));
                self.batch_norm(eighth);
                (quarter, eighth)
            }
        }
    }

    /// A cell whose states have `channels`; returns its output.
    fn cell(
        &mut self,
        genotype: &Genotype,
        kind: CellKind,
        inputs: [FeatureMap; NUM_INPUTS],
        channels: u64,
    ) -> FeatureMap {
        let [older, newer] = inputs;
        // The older input is still at the resolution from before the previous cell reduced.
        let first = if older.height > newer.height {
            self.factorized_reduction(older, channels)
        } else {
            self.relu_pointwise_bn(older, channels)
        };
        let mut states = vec![first, self.relu_pointwise_bn(newer, channels)];
        for pair in genotype.edges(kind).chunks(EDGES_PER_NODE) {
            let outputs = pair.iter().map(|&(operation, source)| {
                let reduces = kind == CellKind::Reduction && source < NUM_INPUTS;
                self.operation(operation, states[source], if reduces { 2 } else { 1 })
            });
            // The sum of both has the shape of either.
            let sum = outputs.last();
            states.extend(sum);
        }
        let num_outputs = genotype.concat(kind).len() as u64;
        FeatureMap { channels: num_outputs * channels, ..states[NUM_INPUTS] }
    }

    fn operation(&mut self, operation: Operation, x: FeatureMap, stride: u64) -> FeatureMap {
        match operation {
            Operation::None | Operation::MaxPool3x3 | Operation::AvgPool3x3 => x.strided((stride, stride)),
            Operation::SkipConnect if stride == 1 => x,
            Operation::SkipConnect => self.factorized_reduction(x, x.channels),
            Operation::SepConv3x3 => self.sep_conv(x, 3, stride),
            Operation::SepConv5x5 => self.sep_conv(x, 5, stride),
            Operation::SepConv7x7 => self.sep_conv(x, 7, stride),
            // Dilation widens the kernel's reach, not its cost.
            Operation::DilConv3x3 => self.relu_depthwise_pointwise_bn(x, 3, stride),
            Operation::DilConv5x5 => self.relu_depthwise_pointwise_bn(x, 5, stride),
            Operation::Conv7x1_1x7 => self.conv_7x1_1x7(x, stride),
        }
    }

    fn sep_conv(&mut self, x: FeatureMap, kernel: u64, stride: u64) -> FeatureMap {
        let x = self.relu_depthwise_pointwise_bn(x, kernel, stride);
        self.relu_depthwise_pointwise_bn(x, kernel, 1)
    }

    fn relu_depthwise_pointwise_bn(&mut self, x: FeatureMap, kernel: u64, stride: u64) -> FeatureMap {
        self.relu(x);
        let x = self.convolution(x, Convolution::depthwise(x.channels, kernel, stride));
        let x = self.convolution(x, Convolution::pointwise(x.channels));
        self.batch_norm(x);
        x
    }

    fn conv_7x1_1x7(&mut self, x: FeatureMap, stride: u64) -> FeatureMap {
        self.relu(x);
        let full = Convolution::pointwise(x.channels);
        let x = self.convolution(x, Convolution { kernel: (1, 7), stride: (1, stride), ..full });
        let x = self.convolution(x, Convolution { kernel: (7, 1), stride: (stride, 1), ..full });
        self.batch_norm(x);
        x
    }

    fn relu_pointwise_bn(&mut self, x: FeatureMap, out_channels: u64) -> FeatureMap {
        self.relu(x);
        let x = self.convolution(x, Convolution::pointwise(out_channels));
        self.batch_norm(x);
        x
    }

    /// ReLU, two 1x1 convolutions of stride 2 to half of the channels each, BN over both.
    fn factorized_reduction(&mut self, x: FeatureMap, out_channels: u64) -> FeatureMap {
        self.relu(x);
        let half = Convolution::square(out_channels / 2, 1, 2);
        self.convolution(x, half);
        let x = self.convolution(x, half);
        let x = FeatureMap { channels: out_channels, ..x };
        self.batch_norm(x);
        x
    }
}

#[cfg(test)]
mod tests {
    use super::super::library;
    use super::*;

    fn pdarts() -> Genotype {
        library::find("PDARTS_C10").unwrap().genotype
    }

    #[test]
    fn other_depths_and_widths_count_as_the_authors_networks() {
        let cifar = NetworkShape { channels: 8, cells: 8, ..NetworkShape::cifar(10) };
        assert_eq!(count(&pdarts(), &cifar).parameters, 85_026);
        let imagenet = NetworkShape { channels: 8, cells: 5, num_classes: 20, ..NetworkShape::imagenet() };
        assert_eq!(count(&pdarts(), &imagenet).parameters, 54_584);
    }

    #[test]
    fn parameters_do_not_depend_on_the_image_but_work_does() {
        let small = count(&pdarts(), &NetworkShape::imagenet());
        let large = count(&pdarts(), &NetworkShape { image_size: 448, ..NetworkShape::imagenet() });
        assert_eq!(small.parameters, large.parameters);
        let linear = 1000 * 4 * 4 * 48;
        assert_eq!(4 * (small.multiply_adds - linear), large.multiply_adds - linear);
    }
}
