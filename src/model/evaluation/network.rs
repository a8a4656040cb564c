//! The network itself.

use tch::{Device, Kind, Tensor};

use super::auxiliary::AuxiliaryHead;
use super::cell::{CellPlace, EvaluationCell};
use crate::genotype::{CellKind, Genotype, NetworkKind, NetworkShape};
use crate::model::{Checkpointed, Linear, ParameterStore, Stem, StemOutput, channels_last};
use crate::torch::TorchError;

/// Channels of CIFAR's stem, for each channel of the first cell's states.
const CIFAR_STEM_MULTIPLIER: i64 = 3;

/// Why a network cannot be built or cannot read its images.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A size from which no network can be built.
    #[error("a network of {cells} cells, {channels} channels and {num_classes} classes: {problem}")]
    Shape {
        /// Cells.
        cells: usize,
        /// Channels of the first cell.
        channels: u64,
        /// Classes.
        num_classes: u64,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// Images that do not fit.
    #[error("images of shape {found:?}: this network reads {expected}")]
    Images {
        /// Their shape.
        found: Vec<i64>,
        /// What would fit.
        expected: String,
    },
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

/// How a forward pass runs.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum NetworkMode {
    /// BatchNorm by the batch's statistics, the auxiliary head on.
    Training {
        /// Probability to leave out a branch of a cell for an image.
        drop_path: f64,
    },
    /// BatchNorm by the running statistics.
    Evaluation,
}

impl NetworkMode {
    pub(super) fn is_training(self) -> bool {
        matches!(self, Self::Training { .. })
    }

    pub(super) fn drop_path(self) -> f64 {
        match self {
            Self::Training { drop_path } => drop_path,
            Self::Evaluation => 0.0,
        }
    }
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct NetworkOutput {
    /// `[N, classes]`.
    pub logits: Tensor,
    /// `[N, classes]` of the auxiliary head; in training of a network that has one.
    pub auxiliary_logits: Option<Tensor>,
}

/// A CIFAR or ImageNet network built from a genotype, with its parameters.
#[derive(Debug)]
pub struct EvaluationNetwork {
    shape: NetworkShape,
    stem: Stem,
    cells: Vec<Checkpointed<EvaluationCell>>,
    checkpoints_cells: bool,
    auxiliary: Option<AuxiliaryHead>,
    classifier: Linear,
    parameters: ParameterStore,
}

impl EvaluationNetwork {
    /// A network with weights drawn by libtorch's generator (PyTorch's default distributions), with an auxiliary head
    /// after [`NetworkShape::auxiliary_cell`] where `auxiliary` asks for one. Tensors have the authors' state-dict names, in the
    /// authors' order.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] when no network has this shape.
    pub fn new(
        genotype: &Genotype,
        shape: &NetworkShape,
        auxiliary: bool,
        device: Device,
        kind: Kind,
    ) -> Result<Self, NetworkError> {
        check_shape(shape)?;
        let mut store = ParameterStore::new(device, kind);
        let num_classes = shape.num_classes as i64;
        let stem = Stem::new(&mut store, shape.kind, stem_channels(shape));
        let mut cells = Vec::with_capacity(shape.cells);
        let (mut last_channels, mut auxiliary_channels) = (0, 0);
        for (index, place) in places(genotype, shape).enumerate() {
            let name = format!("cells.{index}");
            cells.push(Checkpointed::new(&mut store, |store| EvaluationCell::new(store, &name, genotype, place)));
            last_channels = output_channels(genotype, place);
            if index == shape.auxiliary_cell() {
                auxiliary_channels = last_channels;
            }
        }
        let auxiliary = auxiliary.then(|| AuxiliaryHead::new(&mut store, shape.kind, auxiliary_channels, num_classes));
        let classifier = Linear::new(&mut store, "classifier", (last_channels, num_classes));
        Ok(Self {
            shape: *shape,
            stem,
            cells,
            checkpoints_cells: false,
            auxiliary,
            classifier,
            parameters: store.checked()?,
        })
    }

    /// Says whether backward computes the forward pass of each cell again instead of keeping its activations: less
    /// memory, more time, the same results. Source: Chen et al. (arXiv:1604.06174).
    pub fn checkpoint_cells(&mut self, checkpoint: bool) {
        self.checkpoints_cells = checkpoint;
    }

    /// Its tensors, by the authors' names.
    pub fn parameters(&self) -> &ParameterStore {
        &self.parameters
    }

    /// Its size.
    pub fn shape(&self) -> &NetworkShape {
        &self.shape
    }

    /// Logits of `images` `[N, 3, H, W]`.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(&self, images: &Tensor, mode: NetworkMode) -> Result<NetworkOutput, NetworkError> {
        self.check_images(images, mode)?;
        let StemOutput { older, newer } = self.stem.forward(&channels_last(images)?, mode.is_training())?;
        let mut newer = newer.f_relu().map_err(TorchError::from)?;
        let mut older = older.unwrap_or_else(|| newer.shallow_clone());
        let computes_again = self.checkpoints_cells && mode.is_training();
        let mut auxiliary_logits = None;
        let mut output = newer.shallow_clone();
        for (index, cell) in self.cells.iter().enumerate() {
            // Where the inputs are one tensor, its gradients are added in the order that they would be without.
            output = cell.forward(&[&newer, &older], computes_again, move |cell, inputs| {
                cell.forward(&inputs[1], &inputs[0], mode)
            })?;
            let relu = output.f_relu().map_err(TorchError::from)?;
            if let (Some(head), true) = (&self.auxiliary, mode.is_training() && index == self.shape.auxiliary_cell()) {
                auxiliary_logits = Some(head.forward(&relu)?);
                // The authors' head applies its ReLU in place; in a network that ends with this cell it shows.
                output = relu.shallow_clone();
            }
            (older, newer) = (newer, relu);
        }
        let features = output.f_mean_dim([2i64, 3].as_slice(), false, output.kind()).map_err(TorchError::from)?;
        Ok(NetworkOutput { logits: self.classifier.forward(&features)?, auxiliary_logits })
    }

    /// Sizes are checked here, once, so that the layers need not.
    fn check_images(&self, images: &Tensor, mode: NetworkMode) -> Result<(), NetworkError> {
        let found = images.size();
        let divisor = total_stride(&self.shape);
        let with_head = self.auxiliary.is_some() && mode.is_training();
        let fits = |side: i64| {
            side >= divisor
                && side % divisor == 0
                && (!with_head || AuxiliaryHead::fits(self.shape.kind, side / auxiliary_stride(&self.shape)))
        };
        match found.as_slice() {
            &[num_images, 3, height, width] if num_images > 0 && fits(height) && fits(width) => Ok(()),
            _ => {
                let size = self.shape.image_size;
                let head = if with_head { ", near that size for the auxiliary head" } else { "" };
                let expected = format!("[N, 3, {size}, {size}], or sides that are a multiple of {divisor}{head}");
                Err(NetworkError::Images { found, expected })
            }
        }
    }
}

fn check_shape(shape: &NetworkShape) -> Result<(), NetworkError> {
    let NetworkShape { channels, cells, num_classes, .. } = *shape;
    let problem = if cells == 0 {
        "it needs a cell"
    } else if channels == 0 || channels % 2 == 1 {
        "channels must be even and above 0, for a reduction halves them"
    } else if num_classes == 0 {
        "it needs a class"
    } else {
        return Ok(());
    };
    Err(NetworkError::Shape { cells, channels, num_classes, problem })
}

/// How many pixels of the image a pixel of the last cell stands for, along each side.
pub(super) fn total_stride(shape: &NetworkShape) -> i64 {
    stride_after(shape, shape.cells)
}

fn auxiliary_stride(shape: &NetworkShape) -> i64 {
    stride_after(shape, shape.auxiliary_cell() + 1)
}

fn stride_after(shape: &NetworkShape, num_cells: usize) -> i64 {
    let stem = match shape.kind {
        NetworkKind::Cifar => 1,
        NetworkKind::ImageNet => 8,
    };
    let reductions = (0..num_cells).filter(|&index| CellKind::at(index, shape.cells) == CellKind::Reduction).count();
    stem << reductions
}

fn stem_channels(shape: &NetworkShape) -> i64 {
    match shape.kind {
        NetworkKind::Cifar => CIFAR_STEM_MULTIPLIER * shape.channels as i64,
        NetworkKind::ImageNet => shape.channels as i64,
    }
}

fn output_channels(genotype: &Genotype, place: CellPlace) -> i64 {
    genotype.concat(place.kind).len() as i64 * place.channels
}

/// The cells' places: those that reduce double the channels.
fn places(genotype: &Genotype, shape: &NetworkShape) -> impl Iterator<Item = CellPlace> {
    let stem_channels = stem_channels(shape);
    let (mut older_channels, mut newer_channels) = (stem_channels, stem_channels);
    let mut channels = shape.channels as i64;
    // ImageNet's stem gives its second output at half the size of the first.
    let mut after_reduction = shape.kind == NetworkKind::ImageNet;
    (0..shape.cells).map(move |index| {
        let kind = CellKind::at(index, shape.cells);
        if kind == CellKind::Reduction {
            channels *= 2;
        }
        let place = CellPlace { kind, older_channels, newer_channels, channels, after_reduction };
        (older_channels, newer_channels) = (newer_channels, output_channels(genotype, place));
        after_reduction = kind == CellKind::Reduction;
        place
    })
}

#[cfg(test)]
mod tests;
