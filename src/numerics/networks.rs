//! Small networks of every kind, as a whole: the loss, its gradients, and what BatchNorm keeps.

use tch::{Tensor, no_grad};

use super::comparison::Computed;
use super::values::Values;
use super::{Case, Extent, Failure};
use crate::config::StrategyName;
use crate::genotype::{NetworkKind, NetworkShape, Operation, Switches, library::find};
use crate::model::{EvaluationNetwork, NetworkMode, ParameterStore, cross_entropy};
use crate::search::{ArchitectureOptions, ForwardMode, Supernet, SupernetShape, new_strategy};

const IMAGES: i64 = 4;
const CLASSES: i64 = 10;
/// Cells in which all operations of the search space occur, and those of others.
const CELLS: [&str; 2] = ["PDARTS_C10", "AmoebaNet_A"];

pub fn cases(extent: Extent) -> Vec<Case> {
    let mut cases = vec![
        supernet("supernet", NetworkKind::Cifar, StrategyName::PDarts, false),
        supernet("supernet with partial channels", NetworkKind::Cifar, StrategyName::PcDarts, false),
        evaluation(CELLS[0], NetworkKind::Cifar, false),
    ];
    if extent == Extent::Full {
        cases.extend([
            supernet("supernet with cells computed twice", NetworkKind::Cifar, StrategyName::PDarts, true),
            supernet("supernet of ImageNet", NetworkKind::ImageNet, StrategyName::PDarts, false),
            evaluation(CELLS[0], NetworkKind::ImageNet, false),
            evaluation(CELLS[0], NetworkKind::Cifar, true),
            evaluation(CELLS[1], NetworkKind::Cifar, false),
        ]);
    }
    cases
}

/// Loss and gradients of one forward pass on random images.
fn of_loss(values: &mut Values, loss: &Tensor, store: &ParameterStore, more: &[Tensor]) -> Result<Computed, Failure> {
    let leaves: Vec<&Tensor> = store.trainable().iter().map(|named| &named.tensor).chain(more).collect();
    let statistics: Vec<&Tensor> = store.statistics().iter().map(|named| &named.tensor).collect();
    Ok(Computed::with_gradients(values, loss, &leaves, &statistics)?)
}

fn supernet(name: &str, stem: NetworkKind, strategy: StrategyName, checkpoint_cells: bool) -> Case {
    Case::network(name, move |values| {
        let partial_channels = if strategy == StrategyName::PcDarts { 4 } else { 1 };
        let switches = Switches::full(&Operation::ALL[..8])?;
        let (num_cells, channels) = (3, 8);
        let shape =
            SupernetShape { stem, num_cells, channels, num_classes: CLASSES as usize, partial_channels, switches };
        let mut network = Supernet::new(&shape, values.device, values.kind)?;
        network.checkpoint_cells(checkpoint_cells);
        values.fill(network.parameters())?;
        let options = ArchitectureOptions { num_operations: 8, scale: 1e-3, device: values.device, kind: values.kind };
        let strategy = new_strategy(strategy, options)?;
        let alphas: Vec<Tensor> = strategy.parameters().into_iter().map(|named| named.tensor).collect();
        for tensor in &alphas {
            let drawn = values.tensor(&tensor.size())?;
            no_grad(|| tensor.shallow_clone().f_copy_(&drawn))?;
        }
        let side = if stem == NetworkKind::ImageNet { 64 } else { 16 };
        let (images, classes) = (values.tensor(&[IMAGES, 3, side, side])?, values.classes(IMAGES, CLASSES)?);
        let mode = ForwardMode::training(0.0);
        let logits = network.forward(&images, &strategy.mixing(mode)?, mode)?;
        of_loss(values, &cross_entropy(&logits, &classes, 0.0)?, network.parameters(), &alphas)
    })
}

fn evaluation(cell: &'static str, kind: NetworkKind, checkpoint_cells: bool) -> Case {
    let network = if kind == NetworkKind::ImageNet { "ImageNet network" } else { "CIFAR network" };
    let twice = if checkpoint_cells { ", cells computed twice" } else { "" };
    Case::network(format!("{network} of {cell}{twice}"), move |values| {
        let image_size = if kind == NetworkKind::ImageNet { 224 } else { 32 };
        let shape = NetworkShape { kind, channels: 16, cells: 5, num_classes: CLASSES as u64, image_size };
        let genotype = find(cell)?.genotype;
        let mut network = EvaluationNetwork::new(&genotype, &shape, true, values.device, values.kind)?;
        network.checkpoint_cells(checkpoint_cells);
        values.fill(network.parameters())?;
        let side = image_size as i64;
        let (images, classes) = (values.tensor(&[IMAGES, 3, side, side])?, values.classes(IMAGES, CLASSES)?);
        let output = network.forward(&images, NetworkMode::Training { drop_path: 0.0 })?;
        let mut loss = cross_entropy(&output.logits, &classes, 0.0)?;
        if let Some(logits) = output.auxiliary_logits {
            loss = loss.f_add(&cross_entropy(&logits, &classes, 0.0)?.f_mul_scalar(0.4)?)?;
        }
        of_loss(values, &loss, network.parameters(), &[])
    })
}
