//! Parameters and multiply-adds of the networks built from a genotype, without building them.
//!
//! The networks are walked layer by layer (see `walk`) with shapes alone, so that every variant of a search can
//! be priced in microseconds and the model can be checked against the published counts.
//! Source: P-DARTS (arXiv:1904.12760) and the networks of its authors' code.

use serde::{Deserialize, Serialize};

use super::cell::CellKind;
use super::genotype::Genotype;
use super::layers::{Convolution, FeatureMap, Layers};
use super::walk::{walk, walk_auxiliary_head};

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
    let auxiliary_input = walk(genotype, shape, &mut tally);
    let mut head = Tally::default();
    if let Some(input) = auxiliary_input {
        walk_auxiliary_head(input, shape.num_classes, &mut head);
    }
    Cost {
        parameters: tally.parameters,
        auxiliary_parameters: head.parameters,
        multiply_adds: tally.multiply_adds,
        multiply_adds_all: tally
            .multiply_adds
            .saturating_add(tally.batch_norm_elements.saturating_mul(2))
            .saturating_add(tally.relu_elements),
    }
}

/// Running totals over the layers seen so far; they stay at their largest number where a shape from a file is absurd.
#[derive(Default)]
struct Tally {
    parameters: u64,
    multiply_adds: u64,
    batch_norm_elements: u64,
    relu_elements: u64,
}

impl Layers for Tally {
    fn convolution(&mut self, x: FeatureMap, convolution: Convolution) -> FeatureMap {
        let weights = convolution.weights(x.channels);
        let out = x.strided(convolution.stride).with_channels(convolution.out_channels);
        add(&mut self.parameters, weights);
        add(&mut self.multiply_adds, weights.saturating_mul(out.height * out.width));
        out
    }

    fn batch_norm(&mut self, x: FeatureMap) -> FeatureMap {
        add(&mut self.parameters, 2 * x.channels);
        add(&mut self.batch_norm_elements, x.elements());
        x
    }

    fn relu(&mut self, x: FeatureMap) -> FeatureMap {
        add(&mut self.relu_elements, x.elements());
        x
    }

    fn linear(&mut self, inputs: u64, outputs: u64) {
        add(&mut self.parameters, inputs * outputs + outputs);
        add(&mut self.multiply_adds, inputs * outputs);
    }
}

fn add(total: &mut u64, number: u64) {
    *total = total.saturating_add(number);
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
