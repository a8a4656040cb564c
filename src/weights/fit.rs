//! Which network a state dict belongs to, and its values put into that network.
//!
//! Our own files say in their metadata from which cell and at which size their network was built. Those of others do
//! not: the size follows from the shapes of a few tensors, the cell has to be given. A cell of which every tensor has
//! the shape of another's cannot be told from it: operations without weights and the sources of edges leave no trace.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use tch::{Kind, Tensor, no_grad};

use super::error::quoted;
use super::{StateDict, WeightsProblem};
use crate::data::IMAGE_SIDE;
use crate::genotype::{Genotype, NetworkKind, NetworkShape, count};
use crate::model::{EvaluationNetwork, NamedTensor, NetworkDescription};

/// The metadata of a file of an evaluation network: its [`NetworkDescription`] as JSON.
pub const NETWORK_KEY: &str = "network";

/// Averages of weights and statistics in a checkpoint of ours, beside the values themselves.
pub(super) const AVERAGE: &str = "ema.";

/// What only going on with a training needs: the averages, the optimizer's state, the statistics of other ranks.
const TRAINING: [&str; 3] = [AVERAGE, "optimizer.", "ranks."];

/// A counter of PyTorch's BatchNorm that no computation of ours uses.
const BATCH_COUNTER: &str = ".num_batches_tracked";

/// Before the names of an auxiliary head's tensors.
const AUXILIARY_HEAD: &str = "auxiliary_head.";

/// Channels of CIFAR's stem for each channel of the first cell's states.
const STEM_MULTIPLIER: i64 = 3;

/// Networks have far fewer; beyond, the numbers of a single layer cannot be counted.
const MOST_CHANNELS: i64 = 1 << 20;
const MOST_CLASSES: i64 = 1 << 24;
const MOST_CELLS: usize = 1 << 10;
pub(super) const MOST_PIXELS: u64 = 1 << 16;

/// A network this much larger than the file is not built only to list the differences.
const LARGEST_MISFIT: u64 = 16;

/// Where a state dict does not fit a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Names that the network has and the file has not.
    pub missing: Vec<String>,
    /// Names that the file has and the network has not.
    pub unexpected: Vec<String>,
    /// Name, shape in the file, shape in the network.
    pub shapes: Vec<(String, Vec<i64>, Vec<i64>)>,
}

impl fmt::Display for Mismatch {
    /// One line that names the first few.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some((name, found, expected)) = self.shapes.first() {
            let others = match self.shapes.len() - 1 {
                0 => String::new(),
                1 => " (and 1 other differs)".to_owned(),
                others => format!(" (and {others} others differ)"),
            };
            parts.push(format!("{} has the shape {found:?}, in the network {expected:?}{others}", quoted(name)));
        }
        parts.extend(listed(&self.missing, "missing"));
        parts.extend(listed(&self.unexpected, "too many"));
        f.write_str(&parts.join("; "))
    }
}

/// `3 are missing (a, b, c)`.
fn listed(names: &[String], what: &str) -> Option<String> {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let count = match names.len() {
        0 => return None,
        1 => "1 tensor is".to_owned(),
        count => format!("{count} tensors are"),
    };
    Some(format!("{count} {what} ({}{more})", shown.join(", ")))
}

impl StateDict {
    /// Puts the running averages of the training in the place of the values; false if there are none.
    pub fn take_averages(&mut self) -> bool {
        let averages: BTreeMap<String, Tensor> = self
            .tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(AVERAGE)?.to_owned(), tensor.shallow_clone())))
            .collect();
        let found = !averages.is_empty();
        if found {
            self.tensors = averages;
        }
        found
    }

    /// Names of the tensors with values that are infinite or not a number.
    pub fn non_finite(&self) -> Vec<String> {
        let is_finite = |tensor: &Tensor| match tensor.kind() {
            // A sum in double precision of what is no number is none.
            Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 => {
                let sum = tensor.f_to_kind(Kind::Double).and_then(|values| values.f_abs()?.f_sum(Kind::Double));
                sum.is_ok_and(|sum| f64::try_from(sum).is_ok_and(f64::is_finite))
            }
            _ => true,
        };
        self.tensors.iter().filter(|(_, tensor)| !is_finite(tensor)).map(|(name, _)| name.clone()).collect()
    }

    /// Leaves out what only going on with a training needs.
    pub fn keep_weights(&mut self) {
        self.tensors.retain(|name, _| !is_of_training(name));
    }

    /// Whether there are tensors of an auxiliary head.
    pub fn has_head(&self) -> bool {
        self.tensors.keys().any(|name| is_of_head(name))
    }

    /// The network that the tensors belong to, with the cell that the file names or else `genotype`.
    ///
    /// # Errors
    /// When neither names a cell, both name another, or the tensors are not of an evaluation network.
    pub fn description(&self, genotype: Option<&Genotype>) -> Result<NetworkDescription, WeightsProblem> {
        let mut shape = infer_shape(&self.tensors)?;
        let auxiliary_head = self.has_head();
        let described = self.metadata.get(NETWORK_KEY).map(|json| serde_json::from_str::<NetworkDescription>(json));
        let genotype = match (described, genotype) {
            (Some(Err(error)), _) => {
                return Err(WeightsProblem::damaged(format!("its description of the network: {error}")));
            }
            (Some(Ok(own)), Some(given)) if own.genotype != *given => {
                return Err(WeightsProblem::unsupported("it holds another cell than the one given; leave that out"));
            }
            (Some(Ok(own)), _) => {
                // Tensors do not tell it.
                shape.image_size = own.shape.image_size;
                if !(1..=MOST_PIXELS).contains(&shape.image_size) {
                    let what = format!("its description of the network: images of {} pixels", shape.image_size);
                    return Err(WeightsProblem::damaged(what));
                }
                own.genotype
            }
            (None, Some(given)) => given.clone(),
            (None, None) => {
                return Err(WeightsProblem::unsupported("it does not say of which cell it is: give --genotype"));
            }
        };
        Ok(NetworkDescription { genotype, shape, auxiliary_head })
    }

    /// Where what there is of an auxiliary head is not that of `network`, if that has one. The head serves training alone,
    /// and public codes have it without its last BatchNorm (DARTS's for ImageNet) or leave it out of what they save.
    pub fn misfit_of_head(&self, network: &EvaluationNetwork) -> Option<Mismatch> {
        let head: Vec<_> = targets(network).into_iter().filter(|target| is_of_head(&target.name)).collect();
        let mismatch = self.compare(&head, is_of_head);
        (!head.is_empty() && mismatch != Mismatch::default()).then_some(mismatch)
    }

    /// Leaves out what there is of an auxiliary head.
    pub fn drop_head(&mut self) {
        self.tensors.retain(|name, _| !is_of_head(name));
    }

    /// Copies the values into `network`, whatever their floating-point types. An auxiliary head that is not the one here
    /// (see [`Self::misfit_of_head`]) stays as it is, whole: its tensors are of no use with another's between them.
    ///
    /// # Errors
    /// [`WeightsProblem::Mismatch`] unless all other names and shapes are those of the network.
    pub fn load_into(&self, network: &EvaluationNetwork) -> Result<(), WeightsProblem> {
        let mut targets = targets(network);
        let has_head = targets.iter().any(|target| is_of_head(&target.name));
        let takes_head = has_head && self.misfit_of_head(network).is_none();
        let counts = |name: &str| takes_head || !is_of_head(name);
        targets.retain(|target| counts(&target.name));
        let mismatch = self.compare(&targets, counts);
        if mismatch != Mismatch::default() {
            return Err(WeightsProblem::Mismatch(Box::new(mismatch)));
        }
        let is_complex = |target: &&&NamedTensor| {
            let kind = self.tensors.get(&target.name).map(Tensor::kind);
            matches!(kind, Some(Kind::ComplexHalf | Kind::ComplexFloat | Kind::ComplexDouble))
        };
        if let Some(NamedTensor { name, .. }) = targets.iter().find(is_complex) {
            return Err(WeightsProblem::unsupported(format!(
                "{} is of complex numbers, and the network of real ones; save its real part: TENSOR.real",
                quoted(name)
            )));
        }
        no_grad(|| {
            for NamedTensor { name, tensor } in targets {
                if let Some(value) = self.tensors.get(name) {
                    tensor.shallow_clone().f_copy_(value)?;
                }
            }
            Ok(())
        })
    }

    /// Where the tensors are not `targets`, as far as their names count.
    fn compare(&self, targets: &[&NamedTensor], counts: impl Fn(&str) -> bool) -> Mismatch {
        let mut mismatch = Mismatch::default();
        for NamedTensor { name, tensor } in targets {
            match self.tensors.get(name).map(Tensor::size) {
                None => mismatch.missing.push(name.clone()),
                Some(found) if found != tensor.size() => {
                    mismatch.shapes.push((name.clone(), found, tensor.size()));
                }
                Some(_) => {}
            }
        }
        let known: HashSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let passed_over = |name: &str| name.ends_with(BATCH_COUNTER) || is_of_training(name) || !counts(name);
        let unexpected = self.tensors.keys().filter(|name| !known.contains(name.as_str()) && !passed_over(name));
        mismatch.unexpected = unexpected.cloned().collect();
        mismatch
    }

    /// The network of `description` with these values.
    ///
    /// # Errors
    /// As [`load_into`](Self::load_into), and when no such network can be built.
    pub fn build(
        &self,
        description: &NetworkDescription,
        device: tch::Device,
        kind: tch::Kind,
    ) -> Result<EvaluationNetwork, WeightsProblem> {
        let available: u64 = self.tensors.values().map(|tensor| tensor.numel() as u64).sum();
        let needed = count(&description.genotype, &description.shape).parameters;
        if needed > available.saturating_mul(LARGEST_MISFIT) {
            return Err(WeightsProblem::unsupported(format!(
                "it has {available} values, a network of the cell {needed}: it is of another cell or network"
            )));
        }
        let network = description.build(device, kind);
        let network = network.map_err(|error| WeightsProblem::unsupported(error.to_string()))?;
        self.load_into(&network)?;
        Ok(network)
    }
}

/// Everything that a file of `network`'s weights holds.
fn targets(network: &EvaluationNetwork) -> Vec<&NamedTensor> {
    let parameters = network.parameters();
    parameters.trainable().iter().chain(parameters.statistics()).collect()
}

fn is_of_head(name: &str) -> bool {
    name.starts_with(AUXILIARY_HEAD)
}

fn is_of_training(name: &str) -> bool {
    TRAINING.iter().any(|prefix| name.starts_with(prefix))
}

/// The size of the network whose tensors these are.
fn infer_shape(tensors: &BTreeMap<String, Tensor>) -> Result<NetworkShape, WeightsProblem> {
    let rows = |name: &str| tensors.get(name).and_then(|tensor| tensor.size().first().copied());
    let (kind, stem) = match (rows("stem.0.weight"), rows("stem1.1.weight")) {
        (Some(rows), None) => (NetworkKind::Cifar, rows / STEM_MULTIPLIER),
        (None, Some(rows)) => (NetworkKind::ImageNet, rows),
        _ => {
            let first: Vec<String> = tensors.keys().take(3).map(|name| quoted(name)).collect();
            return Err(WeightsProblem::unsupported(format!(
                "its tensors are not of a CIFAR or ImageNet network built from a cell: neither stem.0.weight nor \
                 stem1.1.weight is there (it has {}, ...)",
                first.join(", ")
            )));
        }
    };
    let classes = rows("classifier.weight");
    let classes = classes.ok_or_else(|| WeightsProblem::unsupported("it has no classifier.weight"))?;
    let cells = count_cells(tensors)?;
    // Tensors without elements can have any lengths.
    let is_possible =
        (1..=MOST_CHANNELS).contains(&stem) && (1..=MOST_CLASSES).contains(&classes) && cells <= MOST_CELLS;
    if !is_possible {
        return Err(WeightsProblem::unsupported(format!(
            "its tensors are of no network that can be built: {stem} channels, {cells} cells, {classes} classes"
        )));
    }
    let image_size = match kind {
        NetworkKind::Cifar => IMAGE_SIDE as u64,
        NetworkKind::ImageNet => NetworkShape::imagenet().image_size,
    };
    Ok(NetworkShape { kind, channels: stem.unsigned_abs(), cells, num_classes: classes.unsigned_abs(), image_size })
}

/// Cells are numbered from 0 without a gap.
fn count_cells(tensors: &BTreeMap<String, Tensor>) -> Result<usize, WeightsProblem> {
    let index = |name: &String| name.strip_prefix("cells.")?.split('.').next()?.parse::<usize>().ok();
    let indices: BTreeSet<usize> = tensors.keys().filter_map(index).collect();
    match (0..).zip(&indices).find(|(expected, found)| expected != *found) {
        Some((expected, _)) => Err(WeightsProblem::unsupported(format!("it has no tensors of cell {expected}"))),
        None => Ok(indices.len()),
    }
}

#[cfg(test)]
mod tests;
