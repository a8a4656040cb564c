//! The network that holds every live operation of every edge: stem, cells, linear head.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 3; the cells' inside is arranged by source state (see `source`).

use tch::{Device, Kind, Tensor};

use super::cell::{CellPlace, SearchCell};
use super::layout::{OperationEdges, operations_by_source};
use super::mixing::MixingWeights;
use crate::genotype::{CellKind, NUM_NODES, Switches};
use crate::model::{BatchNorm, Checkpointed, Conv2d, Linear, ParameterStore, channels_last};
use crate::torch::TorchError;

const STEM_MULTIPLIER: i64 = 3;

/// The sizes of a supernet.
#[derive(Clone, Debug)]
pub struct SupernetShape {
    /// Number of cells; see [`CellKind::at`] for those that reduce.
    pub num_cells: usize,
    /// Channels of the states of the first cells; they double at each reduction.
    pub channels: usize,
    /// Outputs of the head.
    pub num_classes: usize,
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
}

impl ForwardMode {
    /// Training with `skip_dropout`.
    pub fn training(skip_dropout: f64) -> Self {
        Self { training: true, skip_dropout }
    }

    /// Evaluation.
    pub fn evaluation() -> Self {
        Self { training: false, skip_dropout: 0.0 }
    }
}

/// The supernet of one stage with its parameters.
#[derive(Debug)]
pub struct Supernet {
    pub(super) stem: Conv2d,
    pub(super) stem_bn: BatchNorm,
    pub(super) cells: Vec<PlacedCell>,
    pub(super) classifier: Linear,
    normal_layout: Vec<Vec<OperationEdges>>,
    reduction_layout: Vec<Vec<OperationEdges>>,
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
        let inputs: Vec<&Tensor> = [newer, older].into_iter().chain(weights.sources()).collect();
        self.cell.forward(&inputs, computes_again, move |cell, inputs| {
            cell.forward(&inputs[1], &inputs[0], &MixingWeights::from_sources(&inputs[2..]), mode)
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
        let stem = Conv2d::dense(&mut store, "stem.conv", (3, stem_channels), 3, 1);
        let stem_bn = BatchNorm::affine(&mut store, "stem.bn", stem_channels);
        let normal_layout = operations_by_source(&shape.switches.normal);
        let reduction_layout = operations_by_source(&shape.switches.reduction);
        let cells: Vec<_> = places(shape.num_cells, channels, stem_channels)
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
        Ok(Self {
            stem,
            stem_bn,
            cells,
            classifier,
            normal_layout,
            reduction_layout,
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

    /// Logits `[N, classes]` of `images` `[N, 3, H, W]`; `normal` and `reduction`: mixing weights `[14, K]`.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(
        &self,
        images: &Tensor,
        normal: &Tensor,
        reduction: &Tensor,
        mode: ForwardMode,
    ) -> Result<Tensor, TorchError> {
        let normal = MixingWeights::gather(normal, &self.normal_layout)?;
        let reduction = MixingWeights::gather(reduction, &self.reduction_layout)?;
        let stem = self.stem_bn.forward(&self.stem.forward(&channels_last(images)?)?, mode.training)?;
        let (mut older, mut newer) = (stem.shallow_clone(), stem);
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
fn places(num_cells: usize, channels: i64, stem_channels: i64) -> impl Iterator<Item = CellPlace> {
    let start = CellPlace {
        older_channels: stem_channels,
        newer_channels: stem_channels,
        channels,
        reduction: false,
        after_reduction: false,
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
        };
        Some(place)
    })
}
