//! The layers of a supernet, arranged by source state as `search` computes them.

use super::counter::{Branch, Counter};
use crate::genotype::{
    CellKind, Convolution, FeatureMap, Layers, NUM_INPUTS, NUM_NODES, NetworkKind, Operation, Separable,
};

const STEM_MULTIPLIER: u64 = 3;

/// The sizes of a supernet, all edges of which keep the same operations.
#[derive(Clone, PartialEq, Debug)]
pub struct SupernetSize {
    /// Whose stem stands before the cells.
    pub stem: NetworkKind,
    /// Cells.
    pub cells: usize,
    /// Channels of the states of the first cells.
    pub channels: u64,
    /// Operations work on one of so many parts of a state's channels.
    pub partial_channels: u64,
    /// Outputs of the head.
    pub num_classes: u64,
    /// Side of an image.
    pub image_size: u64,
    /// On every edge.
    pub operations: Vec<Operation>,
    /// Whether elements of skip connections are dropped.
    pub skip_dropout: bool,
}

/// Tells `counter` of the supernet's layers.
pub fn walk_supernet(size: &SupernetSize, counter: &mut Counter) {
    let ((mut older, mut newer), mut channels) = (walk_stem(size, counter), size.channels);
    for index in 0..size.cells {
        let kind = CellKind::at(index, size.cells);
        if kind == CellKind::Reduction {
            channels *= 2;
        }
        (older, newer) = (newer, walk_cell(size, kind, [older, newer], channels, counter));
    }
    counter.linear(newer.channels, size.num_classes);
}

/// Returns the inputs of the first cell.
fn walk_stem(size: &SupernetSize, counter: &mut Counter) -> (FeatureMap, FeatureMap) {
    let (image, channels) = (FeatureMap::image(size.image_size), STEM_MULTIPLIER * size.channels);
    let layer = |counter: &mut Counter, x: FeatureMap, channels: u64, stride: u64| {
        let x = counter.convolution(x, Convolution::square(channels, 3, stride));
        counter.norm(x, true)
    };
    match size.stem {
        NetworkKind::Cifar => {
            let stem = layer(counter, image, channels, 1);
            (stem, stem)
        }
        NetworkKind::ImageNet => {
            let half = layer(counter, image, channels / 2, 2);
            let half = counter.relu(half);
            let quarter = layer(counter, half, channels, 2);
            let relu = counter.relu(quarter);
            (quarter, layer(counter, relu, channels, 2))
        }
    }
}

/// Returns the cell's output.
fn walk_cell(
    size: &SupernetSize,
    kind: CellKind,
    [older, newer]: [FeatureMap; NUM_INPUTS],
    channels: u64,
    counter: &mut Counter,
) -> FeatureMap {
    let relu = counter.relu_again(older);
    let first = if older.height > newer.height {
        factorized_reduction(relu, channels, 1, counter)
    } else {
        counter.convolution(relu, Convolution::pointwise(channels))
    };
    let first = counter.norm(first, false);
    let relu = counter.relu(newer);
    let second = counter.convolution(relu, Convolution::pointwise(channels));
    let second = counter.norm(second, false);
    let stride = if kind == CellKind::Reduction { 2 } else { 1 };
    let node = second.strided((stride, stride));
    for source in 0..NUM_INPUTS + NUM_NODES - 1 {
        let (state, stride) = match source {
            0 => (first, stride),
            1 => (second, stride),
            _ => (node, 1),
        };
        counter.state(state);
        counter.group(source);
        // An edge to every node behind the state.
        let edges = (NUM_NODES - (source + 1).saturating_sub(NUM_INPUTS)) as u64;
        let mixed = |x: FeatureMap| x.with_channels(x.channels / size.partial_channels);
        let branches: Vec<Branch> = size
            .operations
            .iter()
            .filter_map(|&operation| branch(size, operation, mixed(state), edges, stride, counter))
            .collect();
        counter.mix(mixed(node), edges, &branches);
        if size.partial_channels > 1 {
            // The other channels are summed like skip connections.
            let passing = node.with_channels(node.channels - mixed(node).channels);
            let branch = Branch {
                elements: passing.elements(),
                edges,
                normalised: false,
                is_separable: false,
                is_state: stride == 1,
            };
            counter.mix(passing, edges, &[branch]);
        }
    }
    // The last node is copied into the output and not kept.
    counter.concatenation(node, NUM_NODES as u64 * channels)
}

/// What `operation` makes of `x` on all its edges, before the last BatchNorm; `None` for the operation that is never computed.
fn branch(
    size: &SupernetSize,
    operation: Operation,
    x: FeatureMap,
    edges: u64,
    stride: u64,
    counter: &mut Counter,
) -> Option<Branch> {
    let per_edge = |y: FeatureMap| Branch {
        elements: y.elements(),
        edges,
        normalised: true,
        is_separable: operation.is_separable(),
        is_state: false,
    };
    Some(match operation {
        Operation::MaxPool3x3 | Operation::AvgPool3x3 => per_edge(counter.pool(x, operation, stride)),
        Operation::SepConv3x3 => per_edge(sep_conv(x, edges, 3, stride, counter)),
        Operation::SepConv5x5 => per_edge(sep_conv(x, edges, 5, stride, counter)),
        Operation::SepConv7x7 => per_edge(sep_conv(x, edges, 7, stride, counter)),
        Operation::DilConv3x3 => {
            per_edge(counter.separable(x, Separable { edges, kernel: 3, stride, normalised: false }))
        }
        Operation::DilConv5x5 => {
            per_edge(counter.separable(x, Separable { edges, kernel: 5, stride, normalised: false }))
        }
        Operation::SkipConnect if stride == 2 => {
            let relu = counter.relu(x);
            per_edge(factorized_reduction(relu, x.channels, edges, counter))
        }
        Operation::SkipConnect => {
            if size.skip_dropout {
                counter.dropouts(x, edges);
            }
            Branch { elements: x.elements(), edges, normalised: false, is_separable: false, is_state: true }
        }
        Operation::None | Operation::Conv7x1_1x7 => return None,
    })
}

fn sep_conv(x: FeatureMap, edges: u64, kernel: u64, stride: u64, counter: &mut Counter) -> FeatureMap {
    let x = counter.separable(x, Separable { edges, kernel, stride, normalised: false });
    counter.separable(x, Separable { edges, kernel, stride: 1, normalised: true })
}

/// Two 1x1 convolutions of stride 2 to half of the channels of each edge.
fn factorized_reduction(relu: FeatureMap, channels: u64, edges: u64, counter: &mut Counter) -> FeatureMap {
    let half = Convolution::square(edges * channels / 2, 1, 2);
    counter.convolution(relu, half);
    counter.convolution(relu, half).with_channels(edges * channels)
}
