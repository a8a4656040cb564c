//! The network that holds every live operation of every edge: stem, cells, linear head.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 3; the cells' inside is arranged by source state (see `source`). With
//! ImageNet's stem it is the network that PC-DARTS (arXiv:1907.05737, section 4.1) searches on ImageNet.

use tch::{Device, Kind, Tensor};

use super::cell::{CellPlace, SearchCell};
use super::layout::operations_by_source;
use super::mixing::{Mixing, MixingWeights, SourceOrder};
use super::partial::PartialChannels;
use super::sampling::Sampling;
use crate::genotype::{CellKind, CellSwitches, NUM_NODES, NetworkKind, Switches};
use crate::model::{Checkpointed, Linear, ParameterStore, Stem, StemOutput, channels_last};
use crate::torch::TorchError;

/// Channels of the stem's outputs, for each channel of the first cell's states.
const STEM_MULTIPLIER: i64 = 3;

/// The sizes of a supernet.
#[derive(Clone, Debug)]
pub struct SupernetShape {
    /// Which network's stem stands before the cells; ImageNet's makes states of 1/8 of the image's size.
    pub stem: NetworkKind,
    /// Number of cells; see [`CellKind::at`] for those that reduce.
    pub num_cells: usize,
    /// Channels of the states of the first cells; they double at each reduction.
    pub channels: usize,
    /// Outputs of the head.
    pub num_classes: usize,
    /// Operations work on one of so many parts of a state's channels, the others pass; 1 = on all.
    pub partial_channels: usize,
    /// The live operations of every edge.
    pub switches: Switches,
}

/// How a forward pass runs.
#[derive(Copy, Clone, Debug)]
pub struct ForwardMode {
    /// BatchNorm by the batch's statistics (and dropout on), or by the running ones.
    pub training: bool,
    /// Probability to drop an element of a stride-1 skip connection, in training.
    pub skip_dropout: f64,
    /// Probability to leave out what an edge gives for an image, in training.
    pub drop_path: f64,
    /// What strategies that draw samples draw by, in training.
    pub sampling: Sampling,
}

impl ForwardMode {
    /// Training with `skip_dropout`.
    pub fn training(skip_dropout: f64) -> Self {
        Self { training: true, skip_dropout, drop_path: 0.0, sampling: Sampling::default() }
    }

    /// Whether passes of this mode that have `skip_dropout` in common queue the same work, for the same weights of operations.
    pub fn repeats_its_work(self) -> bool {
        self.drop_path == 0.0 && self.sampling.perturbation == 0.0
    }

    /// Evaluation.
    pub fn evaluation() -> Self {
        Self { training: false, skip_dropout: 0.0, drop_path: 0.0, sampling: Sampling::default() }
    }
}

/// The supernet of one stage with its parameters.
#[derive(Debug)]
pub struct Supernet {
    pub(super) stem: Stem,
    pub(super) cells: Vec<PlacedCell>,
    pub(super) classifier: Linear,
    normal_order: SourceOrder,
    reduction_order: SourceOrder,
    parameters: ParameterStore,
    checkpoints_cells: bool,
}

#[derive(Debug)]
pub(super) struct PlacedCell {
    pub place: CellPlace,
    pub cell: Checkpointed<SearchCell>,
}

impl PlacedCell {
    /// See [`SearchCell::forward`]; with `computes_again`, backward does so instead of keeping activations.
    fn forward(
        &self,
        older: &Tensor,
        newer: &Tensor,
        weights: &MixingWeights,
        mode: ForwardMode,
        computes_again: bool,
    ) -> Result<Tensor, TorchError> {
        // The inputs of the first cell are one tensor, whose gradients backward adds in the order that it would without.
        let inputs: Vec<&Tensor> = [newer, older].into_iter().chain(weights.tensors()).collect();
        let chosen = weights.chosen();
        self.cell.forward(&inputs, computes_again, move |cell, inputs| {
            cell.forward(&inputs[1], &inputs[0], &MixingWeights::from_tensors(&inputs[2..], chosen), mode)
        })
    }
}

impl Supernet {
    /// A supernet with weights drawn by libtorch's generator (PyTorch's default distributions).
    ///
    /// # Errors
    /// When libtorch has no memory for it.
    pub fn new(shape: &SupernetShape, device: Device, kind: Kind) -> Result<Self, TorchError> {
        let mut store = ParameterStore::new(device, kind);
        let channels = shape.channels as i64;
        let stem_channels = STEM_MULTIPLIER * channels;
        let stem = Stem::new(&mut store, shape.stem, stem_channels);
        let normal_layout = operations_by_source(&shape.switches.normal);
        let reduction_layout = operations_by_source(&shape.switches.reduction);
        let cells: Vec<_> = places(shape, stem_channels)
            .enumerate()
            .map(|(index, place)| {
                let layout = if place.reduction { &reduction_layout } else { &normal_layout };
                let name = format!("cells.{index}");
                let cell = Checkpointed::new(&mut store, |store| SearchCell::new(store, &name, place, layout));
                PlacedCell { place, cell }
            })
            .collect();
        let last = cells.last().map_or(stem_channels, |last| NUM_NODES as i64 * last.place.channels);
        let classifier = Linear::new(&mut store, "classifier", (last, shape.num_classes as i64));
        let order = |layout, switches: &CellSwitches| SourceOrder::new(layout, switches.live(0).len(), device);
        Ok(Self {
            stem,
            cells,
            classifier,
            normal_order: order(&normal_layout, &shape.switches.normal)?,
            reduction_order: order(&reduction_layout, &shape.switches.reduction)?,
            parameters: store.checked()?,
            checkpoints_cells: false,
        })
    }

    /// Says whether backward computes the forward pass of each cell again instead of keeping its activations: less
    /// memory, more time, the same results. Source: Chen et al. (arXiv:1604.06174).
    pub fn checkpoint_cells(&mut self, checkpoint: bool) {
        self.checkpoints_cells = checkpoint;
    }

    /// Its tensors, by name.
    pub fn parameters(&self) -> &ParameterStore {
        &self.parameters
    }

    /// Logits `[N, classes]` of `images` `[N, 3, H, W]`.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(&self, images: &Tensor, mixing: &Mixing, mode: ForwardMode) -> Result<Tensor, TorchError> {
        let normal = MixingWeights::gather(&mixing.normal, &self.normal_order)?;
        let reduction = MixingWeights::gather(&mixing.reduction, &self.reduction_order)?;
        let StemOutput { older, mut newer } = self.stem.forward(&channels_last(images)?, mode.training)?;
        let mut older = older.unwrap_or_else(|| newer.shallow_clone());
        let computes_again = self.checkpoints_cells && mode.training;
        for cell in &self.cells {
            let weights = if cell.place.reduction { &reduction } else { &normal };
            let output = cell.forward(&older, &newer, weights, mode, computes_again)?;
            (older, newer) = (newer, output);
        }
        self.classifier.forward(&newer.f_mean_dim([2i64, 3].as_slice(), false, newer.kind())?)
    }
}

/// The cells' places: those that reduce double the channels.
fn places(shape: &SupernetShape, stem_channels: i64) -> impl Iterator<Item = CellPlace> {
    let num_cells = shape.num_cells;
    let start = CellPlace {
        older_channels: stem_channels,
        newer_channels: stem_channels,
        channels: shape.channels as i64,
        partial: PartialChannels::one_of(shape.partial_channels),
        reduction: false,
        // ImageNet's stem gives its second output at half the size of the first.
        after_reduction: shape.stem == NetworkKind::ImageNet,
    };
    (0..num_cells).scan(start, move |next, index| {
        let reduction = CellKind::at(index, num_cells) == CellKind::Reduction;
        let channels = if reduction { 2 * next.channels } else { next.channels };
        let place = CellPlace { channels, reduction, ..*next };
        *next = CellPlace {
            older_channels: place.newer_channels,
            newer_channels: NUM_NODES as i64 * channels,
            channels,
            reduction: false,
            after_reduction: reduction,
            ..place
        };
        Some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::{NUM_EDGES, Operation};

    fn supernet(stem: NetworkKind, num_cells: usize) -> Supernet {
        let operations = [Operation::MaxPool3x3, Operation::SkipConnect, Operation::SepConv3x3];
        let switches = Switches::full(&operations).unwrap();
        let shape = SupernetShape { stem, num_cells, channels: 4, num_classes: 7, partial_channels: 1, switches };
        Supernet::new(&shape, Device::Cpu, Kind::Float).unwrap()
    }

    fn logits(network: &Supernet, side: i64) -> Result<Tensor, TorchError> {
        let images = Tensor::randn([2, 3, side, side], (Kind::Float, Device::Cpu));
        let weights = Tensor::full([NUM_EDGES as i64, 3], 1.0 / 3.0, (Kind::Float, Device::Cpu));
        let mixing = Mixing::of_operations(weights.shallow_clone(), weights);
        network.forward(&images, &mixing, ForwardMode::training(0.0))
    }

    #[test]
    fn imagenet_supernet_reads_every_side_that_its_strides_divide() {
        let network = supernet(NetworkKind::ImageNet, 5);
        for side in [32, 64, 96, 224] {
            let logits = logits(&network, side).unwrap();
            assert_eq!(logits.size(), [2, 7]);
            assert!(logits.isfinite().all().double_value(&[]) == 1.0, "{side}");
        }
        assert!(logits(&network, 80).is_err());
        assert!(logits(&supernet(NetworkKind::Cifar, 5), 20).is_ok());
    }

    #[test]
    fn authors_names_are_those_of_the_stem_and_of_the_first_cell_behind_it() {
        let names = |stem| -> Vec<String> {
            supernet(stem, 3).authors_tensors().into_iter().map(|tensor| tensor.name).collect()
        };
        let stem = ["stem0.0.weight", "stem0.1.weight", "stem0.3.weight", "stem0.4.bias", "stem1.1.weight"];
        let imagenet = names(NetworkKind::ImageNet);
        for name in stem.into_iter().chain(["stem1.2.running_var", "cells.0.preprocess0.conv_1.weight"]) {
            assert!(imagenet.iter().any(|found| found == name), "{name}");
        }
        let cifar = names(NetworkKind::Cifar);
        for name in ["stem.0.weight", "stem.1.bias", "cells.0.preprocess0.op.1.weight"] {
            assert!(cifar.iter().any(|found| found == name) && !imagenet.iter().any(|found| found == name), "{name}");
        }
    }
}
