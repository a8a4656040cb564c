//! A price on operations in the loss of the alphas, so that a search leans towards small cells.
//!
//! What an evaluation network costs is a sum over the edges of its cells (`genotype/limits`), so what it is expected to cost is
//! linear in the weights of the operations. Source: SNAS (arXiv:1812.09926), section 2.4.

use tch::{Device, Kind, Tensor};

use super::mixing::{CellMixing, Mixing};
use crate::config::{SearchConfig, SearchSection};
use crate::genotype::{CellKind, EDGES_PER_NODE, Edge, NUM_EDGES, NUM_INPUTS, Price, PriceList, Switches, edges};
use crate::torch::TorchError;

/// What the parameters and the multiply-adds of a network weigh in the loss, relative to those of the dearest cell.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct PenaltyWeights {
    /// Of the expected parameters.
    pub parameters: f64,
    /// Of the expected multiply-adds.
    pub multiply_adds: f64,
}

/// The price of every operation of every edge, as shares of the dearest cell's.
#[derive(Debug)]
pub struct CostPenalty {
    /// `[14, K]`: of a normal cell's operations.
    normal: Tensor,
    /// `[14, K]`: of a reduction cell's.
    reduction: Tensor,
    /// `[14, 1]`: how many of the two edges that a node keeps each edge is, where all are as likely to be kept.
    kept: Tensor,
}

impl CostPenalty {
    /// What `config` asks for where `switches` are live; nothing where it asks for none.
    ///
    /// # Errors
    /// When libtorch has no memory for it.
    pub fn of_config(
        config: &SearchConfig,
        switches: &Switches,
        options: (Kind, Device),
    ) -> Result<Option<Self>, TorchError> {
        let SearchSection { parameters_penalty, multiply_adds_penalty, .. } = config.search;
        if parameters_penalty == 0.0 && multiply_adds_penalty == 0.0 {
            return Ok(None);
        }
        let weights = PenaltyWeights { parameters: parameters_penalty, multiply_adds: multiply_adds_penalty };
        Self::new(&PriceList::new(config.cost_limits()), weights, switches, options).map(Some)
    }

    /// Prices of the live operations of `switches` by `prices`, of this type and on this device.
    ///
    /// # Errors
    /// When libtorch has no memory for it.
    pub fn new(
        prices: &PriceList,
        weights: PenaltyWeights,
        switches: &Switches,
        (kind, device): (Kind, Device),
    ) -> Result<Self, TorchError> {
        let [normal, reduction] = CellKind::ALL.map(|kind| prices.of_cell(kind, switches));
        let dearest = dearest(&normal).plus(dearest(&reduction));
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let weighed = |price: &Price| {
            weights.parameters * share(price.parameters, dearest.parameters)
                + weights.multiply_adds * share(price.multiply_adds, dearest.multiply_adds)
        };
        let table = |values: &[f64]| -> Result<Tensor, TorchError> {
            let table = Tensor::f_from_slice(values)?.f_view([NUM_EDGES as i64, -1])?;
            Ok(table.f_to_kind(kind)?.f_to_device(device)?)
        };
        let of_cell = |prices: &[Vec<Price>]| table(&prices.iter().flatten().map(weighed).collect::<Vec<_>>());
        let kept: Vec<f64> = edges().map(|edge| EDGES_PER_NODE as f64 / (NUM_INPUTS + edge.node) as f64).collect();
        Ok(Self { normal: of_cell(&normal)?, reduction: of_cell(&reduction)?, kept: table(&kept)? })
    }

    /// What `mixing` is expected to cost, a scalar with gradient: at most the sum of the weights, at the dearest cell.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn expected(&self, mixing: &Mixing) -> Result<Tensor, TorchError> {
        let of_cell = |table: &Tensor, cell: &CellMixing| -> Result<Tensor, TorchError> {
            let by_operation = table.f_mul(&cell.operations)?;
            // The weights of edges, where there are any, add up to 1 for each node.
            let kept = match cell.edges {
                Some(_) => by_operation.f_mul_scalar(EDGES_PER_NODE as f64)?,
                None => by_operation.f_mul(&self.kept)?,
            };
            Ok(kept.f_sum(kept.kind())?)
        };
        Ok(of_cell(&self.normal, &mixing.normal)?.f_add(&of_cell(&self.reduction, &mixing.reduction)?)?)
    }
}

/// What the dearest cell of these prices adds, by each measure alone: two edges a node.
fn dearest(of_cell: &[Vec<Price>]) -> Price {
    let edges: Vec<_> = edges().collect();
    let of_node = |measure: fn(&Price) -> u64| -> u64 {
        let most = |incoming: &[Edge]| {
            let mut prices: Vec<u64> =
                incoming.iter().filter_map(|edge| of_cell[edge.index].iter().map(measure).max()).collect();
            prices.sort_unstable_by(|a, b| b.cmp(a));
            prices.iter().take(EDGES_PER_NODE).sum::<u64>()
        };
        edges.chunk_by(|a, b| a.node == b.node).map(most).sum()
    };
    Price { parameters: of_node(|price| price.parameters), multiply_adds: of_node(|price| price.multiply_adds) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::{CostLimits, Genotype, NetworkShape, Operation, count};

    const WEIGHTS: PenaltyWeights = PenaltyWeights { parameters: 2.0, multiply_adds: 3.0 };

    fn penalty(operations: &[Operation], weights: PenaltyWeights) -> CostPenalty {
        let limits = CostLimits { shape: NetworkShape::cifar(10), max_parameters: None, max_multiply_adds: None };
        let switches = Switches::full(operations).unwrap();
        CostPenalty::new(&PriceList::new(limits), weights, &switches, (Kind::Double, Device::Cpu)).unwrap()
    }

    /// Each edge's share on the operation at `position` of 3; edges of a node weighed alike or not at all.
    fn mixing(position: i64, weighs_edges: bool) -> Mixing {
        let cell = || {
            let operations = Tensor::zeros([NUM_EDGES as i64, 3], (Kind::Double, Device::Cpu));
            let _ = operations.select(1, position).fill_(1.0);
            let shares: Vec<f64> = edges().map(|edge| 1.0 / (NUM_INPUTS + edge.node) as f64).collect();
            let edges = Tensor::from_slice(&shares);
            match weighs_edges {
                true => CellMixing { operations: operations * edges.unsqueeze(1), edges: Some(edges), chosen: None },
                false => CellMixing { operations, edges: None, chosen: None },
            }
        };
        Mixing { normal: cell(), reduction: cell() }
    }

    #[test]
    fn dearest_cell_costs_the_sum_of_the_weights_and_none_costs_nothing() {
        let penalty = penalty(&[Operation::None, Operation::MaxPool3x3, Operation::SepConv5x5], WEIGHTS);
        for weighs_edges in [false, true] {
            let cost = |position| penalty.expected(&mixing(position, weighs_edges)).unwrap().double_value(&[]);
            assert_eq!((cost(0), cost(1)), (0.0, 0.0));
            assert!((cost(2) - 5.0).abs() < 1e-12, "{}", cost(2));
        }
    }

    #[test]
    fn an_operation_costs_what_it_adds_to_the_network() {
        use Operation::{MaxPool3x3, SepConv3x3, SepConv5x5};
        let weights = PenaltyWeights { parameters: 1.0, multiply_adds: 0.0 };
        let penalty = penalty(&[MaxPool3x3, SepConv3x3, SepConv5x5], weights);
        let parameters = |operation: Operation| {
            let cell = || (0..4).flat_map(|node| [(operation, node), (operation, node + 1)]).collect::<Vec<_>>();
            count(&Genotype::of_edges(cell(), cell()), &NetworkShape::cifar(10)).parameters as f64
        };
        let expected =
            (parameters(SepConv3x3) - parameters(MaxPool3x3)) / (parameters(SepConv5x5) - parameters(MaxPool3x3));
        let cost = penalty.expected(&mixing(1, false)).unwrap().double_value(&[]);
        assert!((cost - expected).abs() < 1e-9, "{cost} {expected}");
    }

    #[test]
    fn its_gradient_lowers_the_share_of_what_is_dear() {
        let penalty = penalty(&[Operation::None, Operation::MaxPool3x3, Operation::SepConv5x5], WEIGHTS);
        let alphas = Tensor::zeros([NUM_EDGES as i64, 3], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let shares = || alphas.softmax(-1, Kind::Double);
        penalty.expected(&Mixing::of_operations(shares(), shares())).unwrap().backward();
        let gradient = alphas.grad();
        assert!(gradient.select(1, 2).min().double_value(&[]) > 0.0);
        assert!(gradient.select(1, 1).max().double_value(&[]) < 0.0);
    }
}
