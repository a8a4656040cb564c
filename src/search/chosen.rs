//! The part of a state's operations that is computed where every edge has one operation.
//!
//! Source: GDAS (arXiv:1910.04465), section 3.2: only the sampled operations run. Their parameters are views of those of all,
//! so that gradients and running statistics reach them.

use tch::Tensor;

use super::layout::Chosen;
use super::source::{Group, Kernel, SourceOperations};
use crate::torch::TorchError;

impl SourceOperations {
    /// Those of `chosen`, and their part of `weights` `[E]`, which go over the edges of all operations in turn. Pools
    /// still serve all their edges at once.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn chosen(&self, weights: &Tensor, chosen: &Chosen) -> Result<(Self, Tensor), TorchError> {
        let (mut groups, mut places) = (Vec::new(), Vec::new());
        let mut first = 0;
        for group in &self.groups {
            let mut kept = Vec::new();
            for (index, live) in group.edges.iter().enumerate() {
                if chosen[live.edge] == live.position {
                    kept.push(index);
                    places.push((first + index) as i64);
                }
            }
            first += group.edges.len();
            groups.extend(group.of_edges(&kept)?);
        }
        let places = Tensor::f_from_slice(&places)?.f_to_device(weights.device())?;
        Ok((Self { groups }, weights.f_index_select(0, &places)?))
    }
}

impl Group {
    /// This operation on some of its edges.
    fn of_edges(&self, kept: &[usize]) -> Result<Vec<Group>, TorchError> {
        let live = |indices: &[usize]| indices.iter().map(|&index| self.edges[index]).collect::<Vec<_>>();
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        if self.kernel.is_shared() {
            return Ok(vec![Group { edges: live(kept), kernel: self.kernel.of_edge(0, 1)? }]);
        }
        let of_edge = |index: &usize| {
            let kernel = self.kernel.of_edge(*index as i64, self.edges.len() as i64)?;
            Ok(Group { edges: live(&[*index]), kernel })
        };
        kept.iter().map(of_edge).collect()
    }
}

impl Kernel {
    /// Whether nothing of it belongs to one edge.
    fn is_shared(&self) -> bool {
        match self {
            Kernel::MaxPool { .. } | Kernel::AvgPool { .. } | Kernel::Identity => true,
            Kernel::Reduce(_) | Kernel::Separable(_) => false,
        }
    }

    /// The part of edge `edge` of `edges`; all of what is shared.
    fn of_edge(&self, edge: i64, edges: i64) -> Result<Kernel, TorchError> {
        Ok(match self {
            Kernel::Reduce(reduce) => Kernel::Reduce(reduce.of_edge(edge)?),
            Kernel::Separable(layers) => {
                Kernel::Separable(layers.iter().map(|layer| layer.of_edge(edge, edges)).collect::<Result<_, _>>()?)
            }
            Kernel::MaxPool { stride, bn } => Kernel::MaxPool { stride: *stride, bn: bn.of_block(0, 1)? },
            Kernel::AvgPool { stride, bn } => Kernel::AvgPool { stride: *stride, bn: bn.of_block(0, 1)? },
            Kernel::Identity => Kernel::Identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::genotype::{NetworkKind, Operation, Switches};
    use crate::search::mixing::{CellMixing, Mixing};
    use crate::search::supernet::{ForwardMode, Supernet, SupernetShape};

    #[test]
    fn chosen_operations_alone_give_the_logits_and_gradients_of_all_with_the_others_at_weight_0() {
        let switches = Switches::full(&Operation::SEARCH_SPACE).unwrap();
        let num_operations = Operation::SEARCH_SPACE.len();
        let shape = SupernetShape {
            stem: NetworkKind::Cifar,
            num_cells: 3,
            channels: 4,
            num_classes: 7,
            partial_channels: 1,
            switches,
        };
        let network = Supernet::new(&shape, Device::Cpu, Kind::Double).unwrap();
        let images = Tensor::randn([4, 3, 16, 16], (Kind::Double, Device::Cpu));
        let cell = |shift: usize, is_alone: bool| {
            let chosen: Chosen = std::array::from_fn(|edge| (edge + shift) % num_operations);
            let indices: Vec<i64> = chosen.iter().map(|&position| position as i64).collect();
            let operations = Tensor::from_slice(&indices).one_hot(num_operations as i64).to_kind(Kind::Double);
            let operations = operations.set_requires_grad(true);
            CellMixing { operations, edges: None, chosen: is_alone.then_some(chosen) }
        };
        let course = |is_alone| {
            let mixing = Mixing { normal: cell(0, is_alone), reduction: cell(3, is_alone) };
            let parameters = network.parameters().trainable();
            for parameter in parameters {
                parameter.tensor.shallow_clone().zero_grad();
            }
            let logits = network.forward(&images, &mixing, ForwardMode::training(0.0)).unwrap();
            logits.square().sum(Kind::Double).backward();
            let gradient = |tensor: &Tensor| match tensor.grad() {
                gradient if gradient.defined() => gradient.flatten(0, -1).copy(),
                _ => tensor.zeros_like().flatten(0, -1),
            };
            let gradients: Vec<Tensor> = parameters.iter().map(|named| gradient(&named.tensor)).collect();
            let at_chosen = [&mixing.normal, &mixing.reduction]
                .map(|cell| (cell.operations.grad() * &cell.operations).detach().flatten(0, -1));
            [logits.detach().flatten(0, -1), Tensor::cat(&gradients, 0), Tensor::cat(&at_chosen, 0)]
        };
        for (what, (alone, all)) in
            ["logits", "weights", "alphas"].into_iter().zip(course(true).into_iter().zip(course(false)))
        {
            let error = (&alone - &all).norm().double_value(&[]) / all.norm().double_value(&[]);
            assert!(error < 1e-10, "{what}: relative error {error:e}");
        }
    }
}
