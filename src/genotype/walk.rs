//! The evaluation networks of a genotype, layer by layer, without building them.
//!
//! Source: P-DARTS (arXiv:1904.12760) and the networks of its authors' code.

use super::cell::{CellKind, NUM_INPUTS};
use super::complexity::{NetworkKind, NetworkShape};
use super::genotype::{EDGES_PER_NODE, Genotype};
use super::layers::{Convolution, FeatureMap, Layers, Separable};
use super::operation::Operation;

/// Tells `layers` of the network of this shape built from `genotype`, without its auxiliary head; returns the head's input
/// (`None` in a network without a cell for it).
pub fn walk(genotype: &Genotype, shape: &NetworkShape, layers: &mut impl Layers) -> Option<FeatureMap> {
    let mut channels = shape.channels;
    let (mut older, mut newer) = walk_stem(shape, layers);
    let mut auxiliary_input = None;
    for index in 0..shape.cells {
        let kind = CellKind::at(index, shape.cells);
        if kind == CellKind::Reduction {
            channels *= 2;
        }
        (older, newer) = (newer, walk_cell(genotype, kind, [older, newer], channels, layers));
        if index == shape.auxiliary_cell() {
            auxiliary_input = Some(newer);
        }
    }
    layers.linear(newer.channels, shape.num_classes);
    auxiliary_input
}

/// The auxiliary head: pooling to 2x2, a 1x1 and a 2x2 convolution with BatchNorm, a linear layer.
pub fn walk_auxiliary_head(input: FeatureMap, num_classes: u64, layers: &mut impl Layers) {
    let pooled = FeatureMap { height: 2, width: 2, ..input };
    let x = layers.convolution(pooled, Convolution::pointwise(128));
    let x = layers.batch_norm(x);
    let x = layers.relu(x);
    let x = layers.convolution(x, Convolution { kernel: (2, 2), stride: (2, 2), ..Convolution::pointwise(768) });
    let x = layers.batch_norm(x);
    let x = layers.relu(x);
    layers.linear(x.channels, num_classes);
}

/// Returns what the first cell takes as the outputs of the two cells before it.
fn walk_stem(shape: &NetworkShape, layers: &mut impl Layers) -> (FeatureMap, FeatureMap) {
    let image = FeatureMap::image(shape.image_size);
    match shape.kind {
        NetworkKind::Cifar => {
            let stem = layers.convolution(image, Convolution::square(3 * shape.channels, 3, 1));
            let stem = layers.batch_norm(stem);
            (stem, stem)
        }
        NetworkKind::ImageNet => {
            let half = stem_layer(image, shape.channels / 2, layers);
            let half = layers.relu(half);
            let quarter = stem_layer(half, shape.channels, layers);
            let quarter = layers.relu(quarter);
            (quarter, stem_layer(quarter, shape.channels, layers))
        }
    }
}

fn stem_layer(x: FeatureMap, channels: u64, layers: &mut impl Layers) -> FeatureMap {
    let x = layers.convolution(x, Convolution::square(channels, 3, 2));
    layers.batch_norm(x)
}

/// A cell whose states have `channels`; returns its output.
fn walk_cell(
    genotype: &Genotype,
    kind: CellKind,
    [older, newer]: [FeatureMap; NUM_INPUTS],
    channels: u64,
    layers: &mut impl Layers,
) -> FeatureMap {
    let relu = layers.relu_again(older);
    // The older input is still at the resolution from before the previous cell reduced.
    let first = if older.height > newer.height {
        let reduced = factorized_reduction(relu, channels, layers);
        layers.batch_norm(reduced)
    } else {
        pointwise_bn(relu, channels, layers)
    };
    let relu = layers.relu(newer);
    let second = pointwise_bn(relu, channels, layers);
    let mut states = vec![layers.state(first), layers.state(second)];
    for pair in genotype.edges(kind).chunks(EDGES_PER_NODE) {
        let mut sum = None;
        let mut droppable = 0;
        for &(operation, source) in pair {
            // Computed together is what can be when a state is there; both inputs are at first.
            layers.group(source.max(NUM_INPUTS - 1));
            let stride = if kind == CellKind::Reduction && source < NUM_INPUTS { 2 } else { 1 };
            droppable += u64::from(!(operation == Operation::SkipConnect && stride == 1));
            // The sum of both has the shape of either.
            sum = Some(walk_operation(operation, states[source], stride, layers));
        }
        if let Some(sum) = sum {
            let node = layers.add(sum, droppable);
            states.push(layers.state(node));
        }
    }
    let num_outputs = genotype.concat(kind).len() as u64;
    layers.concatenation(states[NUM_INPUTS], num_outputs * channels)
}

fn walk_operation(operation: Operation, x: FeatureMap, stride: u64, layers: &mut impl Layers) -> FeatureMap {
    match operation {
        Operation::None => x.strided((stride, stride)),
        Operation::MaxPool3x3 | Operation::AvgPool3x3 => layers.pool(x, operation, stride),
        Operation::SkipConnect if stride == 1 => x,
        Operation::SkipConnect => {
            let x = layers.relu(x);
            let reduced = factorized_reduction(x, x.channels, layers);
            layers.branch_norm(reduced)
        }
        Operation::SepConv3x3 => sep_conv(x, 3, stride, layers),
        Operation::SepConv5x5 => sep_conv(x, 5, stride, layers),
        Operation::SepConv7x7 => sep_conv(x, 7, stride, layers),
        // Dilation widens the kernel's reach, not its cost.
        Operation::DilConv3x3 => dil_conv(x, 3, stride, layers),
        Operation::DilConv5x5 => dil_conv(x, 5, stride, layers),
        Operation::Conv7x1_1x7 => conv_7x1_1x7(x, stride, layers),
    }
}

fn sep_conv(x: FeatureMap, kernel: u64, stride: u64, layers: &mut impl Layers) -> FeatureMap {
    let x = layers.separable(x, Separable { edges: 1, kernel, stride, normalised: false });
    let x = layers.separable(x, Separable { edges: 1, kernel, stride: 1, normalised: true });
    layers.branch_norm(x)
}

fn dil_conv(x: FeatureMap, kernel: u64, stride: u64, layers: &mut impl Layers) -> FeatureMap {
    let x = layers.separable(x, Separable { edges: 1, kernel, stride, normalised: false });
    layers.branch_norm(x)
}

fn conv_7x1_1x7(x: FeatureMap, stride: u64, layers: &mut impl Layers) -> FeatureMap {
    let x = layers.relu(x);
    let full = Convolution::pointwise(x.channels);
    let x = layers.convolution(x, Convolution { kernel: (1, 7), stride: (1, stride), ..full });
    let x = layers.convolution(x, Convolution { kernel: (7, 1), stride: (stride, 1), ..full });
    layers.branch_norm(x)
}

fn pointwise_bn(relu: FeatureMap, out_channels: u64, layers: &mut impl Layers) -> FeatureMap {
    let x = layers.convolution(relu, Convolution::pointwise(out_channels));
    layers.batch_norm(x)
}

/// Two 1x1 convolutions of stride 2 to half of the channels each.
fn factorized_reduction(relu: FeatureMap, out_channels: u64, layers: &mut impl Layers) -> FeatureMap {
    let half = Convolution::square(out_channels / 2, 1, 2);
    layers.convolution(relu, half);
    layers.convolution(relu, half).with_channels(out_channels)
}
