//! The supernet's tensors under the names of the authors' code, edge by edge; those of ImageNet's stem under PC-DARTS's.
//!
//! Here the parameters of an operation stand together for all edges that leave one state; the authors keep one module
//! per edge and operation. Every tensor of theirs is a view into one of ours, and its gradient one into the gradient of ours.

use tch::Tensor;

use super::cell::OlderInput;
use super::source::{Group, Kernel};
use super::supernet::{PlacedCell, Supernet};
use crate::model::{BatchNorm, ConvBn, FactorizedReduce, ReluConvBn, SeparableLayer};

/// One tensor of the authors' state dict.
#[derive(Debug)]
pub struct AuthorsTensor {
    /// As in their state dict: `cells.0.cell_ops.3.m_ops.4.op.1.weight`.
    pub name: String,
    /// The tensor of ours that holds it.
    pub ours: Tensor,
    selection: Selection,
}

/// Which part of our tensor an edge's tensor is.
#[derive(Copy, Clone, Debug)]
enum Selection {
    All,
    /// Block `index` of `count` along the first dimension.
    Block {
        index: i64,
        count: i64,
    },
}

impl AuthorsTensor {
    /// The view that holds the authors' values in their row-major order.
    pub fn view(&self) -> Tensor {
        self.select(&self.ours)
    }

    /// The same view of a tensor of the shape of ours, such as its gradient or an optimizer's buffer.
    pub fn select(&self, tensor: &Tensor) -> Tensor {
        match self.selection {
            Selection::All => tensor.shallow_clone(),
            Selection::Block { index, count } => {
                let rows = tensor.size()[0] / count;
                tensor.narrow(0, index * rows, rows)
            }
        }
    }
}

impl Supernet {
    /// Every tensor of the authors' state dict; pools of edges that leave one state share theirs.
    pub fn authors_tensors(&self) -> Vec<AuthorsTensor> {
        let mut list = TensorList::default();
        for ConvBn { names: [conv_name, bn_name], conv, bn } in self.stem.layers() {
            list.whole(&format!("{conv_name}.weight"), &conv.weight);
            list.batch_norm(bn_name, bn, Selection::All);
        }
        for (index, PlacedCell { cell, .. }) in self.cells.iter().enumerate() {
            let (prefix, cell) = (format!("cells.{index}"), cell.part());
            match &cell.older_input {
                OlderInput::Same(block) => list.relu_conv_bn(&format!("{prefix}.preprocess0"), block),
                OlderInput::Larger(block) => {
                    list.reduce(&format!("{prefix}.preprocess0"), block, 0, 1);
                }
            }
            list.relu_conv_bn(&format!("{prefix}.preprocess1"), &cell.newer_input);
            for group in cell.sources.iter().flat_map(|source| source.groups()) {
                list.group(&prefix, group);
            }
        }
        list.whole("classifier.weight", &self.classifier.weight);
        list.whole("classifier.bias", &self.classifier.bias);
        list.tensors
    }
}

#[derive(Default)]
struct TensorList {
    tensors: Vec<AuthorsTensor>,
}

impl TensorList {
    fn push(&mut self, name: String, ours: &Tensor, selection: Selection) {
        self.tensors.push(AuthorsTensor { name, ours: ours.shallow_clone(), selection });
    }

    fn whole(&mut self, name: &str, ours: &Tensor) {
        self.push(name.into(), ours, Selection::All);
    }

    fn batch_norm(&mut self, prefix: &str, bn: &BatchNorm, selection: Selection) {
        if let Some((weight, bias)) = &bn.affine {
            self.push(format!("{prefix}.weight"), weight, selection);
            self.push(format!("{prefix}.bias"), bias, selection);
        }
        self.push(format!("{prefix}.running_mean"), &bn.running_mean, selection);
        self.push(format!("{prefix}.running_var"), &bn.running_var, selection);
    }

    fn relu_conv_bn(&mut self, prefix: &str, block: &ReluConvBn) {
        self.whole(&format!("{prefix}.op.1.weight"), &block.conv.weight);
        self.batch_norm(&format!("{prefix}.op.2"), &block.bn, Selection::All);
    }

    fn reduce(&mut self, prefix: &str, block: &FactorizedReduce, index: i64, count: i64) {
        let rows = Selection::Block { index, count };
        self.push(format!("{prefix}.conv_1.weight"), &block.conv_even.weight, rows);
        self.push(format!("{prefix}.conv_2.weight"), &block.conv_odd.weight, rows);
        self.batch_norm(&format!("{prefix}.bn"), &block.bn, rows);
    }

    fn convolution(&mut self, prefix: &str, first: usize, layer: &SeparableLayer, rows: Selection) {
        self.push(format!("{prefix}.op.{first}.weight"), &layer.conv.depthwise, rows);
        self.push(format!("{prefix}.op.{}.weight", first + 1), &layer.conv.pointwise, rows);
        self.batch_norm(&format!("{prefix}.op.{}", first + 2), &layer.bn, rows);
    }

    /// The modules of one operation on each of its edges.
    fn group(&mut self, cell: &str, group: &Group) {
        let count = group.edges.len() as i64;
        for (index, live) in (0..).zip(&group.edges) {
            let prefix = format!("{cell}.cell_ops.{}.m_ops.{}", live.edge, live.position);
            let rows = Selection::Block { index, count };
            match &group.kernel {
                Kernel::MaxPool { bn, .. } | Kernel::AvgPool { bn, .. } => {
                    self.batch_norm(&format!("{prefix}.1"), bn, Selection::All);
                }
                Kernel::Identity => {}
                Kernel::Reduce(block) => self.reduce(&prefix, block, index, count),
                Kernel::Separable(layers) => {
                    for (index, layer) in layers.iter().enumerate() {
                        self.convolution(&prefix, 4 * index + 1, layer, rows);
                    }
                }
            }
        }
    }
}
