//! Drop path: whole branches of a cell are left out, image by image, while a network trains.

use tch::Tensor;

use crate::model::{BatchNorm, drop_path_mask};
use crate::torch::{NodeBranch, TorchError, branch_sum};

/// What an operation gives on its edge.
pub(super) struct BranchOutput<'a> {
    /// `[N, C, H, W]`.
    pub value: Tensor,
    /// What normalises it.
    pub norm: Option<&'a BatchNorm>,
    /// Whether drop path may leave it out: an identity stays, so that a signal always gets through.
    pub droppable: bool,
}

impl<'a> BranchOutput<'a> {
    /// With a draw of which images keep it.
    fn dropped(self, drop_path: f64, training: bool) -> Result<NodeBranch<'a>, TorchError> {
        let mask = (self.droppable && drop_path > 0.0).then(|| drop_path_mask(&self.value, drop_path)).transpose()?;
        Ok(NodeBranch { y: self.value, norm: self.norm.map(|norm| norm.as_norm(training)), mask })
    }
}

/// The sum of a node's two branches, each left out with probability `drop_path`.
///
/// # Errors
/// As [`branch_sum`].
pub(super) fn add_branches(
    [first, second]: [BranchOutput<'_>; 2],
    drop_path: f64,
    training: bool,
) -> Result<Tensor, TorchError> {
    branch_sum(&[first.dropped(drop_path, training)?, second.dropped(drop_path, training)?])
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn branch(value: f64, droppable: bool) -> BranchOutput<'static> {
        let value = Tensor::full([20_000, 1, 1, 1], value, (Kind::Double, Device::Cpu));
        BranchOutput { value, norm: None, droppable }
    }

    /// How often each sum occurs among 20,000 images.
    fn share(sums: &Tensor, value: f64) -> f64 {
        (sums - value).abs().lt(1e-9).to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
    }

    #[test]
    fn branches_are_dropped_one_by_one_and_scaled_to_keep_the_mean() {
        tch::manual_seed(1);
        let sums = add_branches([branch(3.0, true), branch(30.0, true)], 0.25, true).unwrap();
        for (value, probability) in [(0.0, 0.0625), (4.0, 0.1875), (40.0, 0.1875), (44.0, 0.5625)] {
            assert!((share(&sums, value) - probability).abs() < 0.04, "{value}: {}", share(&sums, value));
        }
    }

    #[test]
    fn identities_are_never_dropped_and_a_rate_of_zero_drops_nothing() {
        tch::manual_seed(1);
        let sums = add_branches([branch(3.0, false), branch(30.0, true)], 0.5, true).unwrap();
        assert_eq!(share(&sums, 3.0) + share(&sums, 63.0), 1.0);
        let sums = add_branches([branch(3.0, true), branch(30.0, false)], 0.5, true).unwrap();
        assert_eq!(share(&sums, 30.0) + share(&sums, 36.0), 1.0);
        assert_eq!(share(&add_branches([branch(3.0, true), branch(30.0, true)], 0.0, true).unwrap(), 33.0), 1.0);
    }
}
