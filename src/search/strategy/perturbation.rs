//! Weights of operations changed at random, so that the network's weights come to serve cells near the one that is meant.
//!
//! Source: SDARTS-RS (arXiv:2002.05283), section 3.2, and its authors' code, which settles what the paper leaves open: what
//! is changed are the shares behind the softmax, in steps of the weights alone; they are cut to 0 and 1 and made to add up
//! to 1 again, and an edge of which nothing is left keeps its strongest operation.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::snas::{strongest, uniform};
use crate::search::sampling::Sampling;
use crate::torch::TorchError;

/// The size of changes in the first epoch.
const INITIAL: f64 = 0.03;

/// How far shares are changed at most in `epoch` (from 0) of `num_epochs`: linear from 0.03 towards `last`, which the end would
/// reach.
pub fn perturbation(last: f64, epoch: usize, num_epochs: usize) -> f64 {
    let initial = INITIAL.min(last);
    initial + (last - initial) * epoch as f64 / num_epochs.max(1) as f64
}

/// Changes the shares of operations of a forward pass, those of normal cells before those of reduction cells.
pub(super) struct Perturbation {
    size: f64,
    generator: ChaCha8Rng,
}

impl Perturbation {
    /// As `sampling` says.
    pub fn new(sampling: Sampling) -> Self {
        Self { size: sampling.perturbation, generator: ChaCha8Rng::seed_from_u64(sampling.seed) }
    }

    /// `shares` `[14, K]`, which add up to 1 on each edge, changed by up to the size; themselves at a size of 0.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of(&mut self, shares: Tensor) -> Result<Tensor, TorchError> {
        if self.size == 0.0 {
            return Ok(shares);
        }
        let change = uniform(&shares, &mut self.generator)?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        perturbed(&shares, &change.f_mul_scalar(self.size)?)
    }
}

/// `shares + change`, both `[14, K]`, as shares again.
fn perturbed(shares: &Tensor, change: &Tensor) -> Result<Tensor, TorchError> {
    let changed = shares.f_add(change)?;
    let kept = changed.f_clamp(0.0, 1.0)?;
    let sums = kept.f_sum_dim_intlist([-1i64].as_slice(), true, kept.kind())?;
    let nothing_left = sums.f_eq(0.0)?;
    Ok(strongest(&changed)?.f_where_self(&nothing_left, &kept.f_div(&sums)?)?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn size_grows_from_three_percent_towards_the_last() {
        assert_eq!(perturbation(0.3, 0, 50), 0.03);
        assert!((perturbation(0.3, 25, 50) - 0.165).abs() < 1e-12);
        assert!(perturbation(0.3, 49, 50) < 0.3);
        assert_eq!((perturbation(0.01, 0, 50), perturbation(0.0, 7, 50)), (0.01, 0.0));
    }

    #[test]
    fn changed_shares_are_shares_within_the_change_and_an_empty_edge_keeps_its_strongest() {
        let shares = Tensor::from_slice2(&[[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.02, 0.01, 0.97]]);
        let change = Tensor::from_slice2(&[[0.1, -0.1, 0.0], [0.3, -0.2, 0.1], [-0.3, -0.1, -0.99]]);
        let result = perturbed(&shares, &change).unwrap();
        let expected = Tensor::from_slice2(&[[0.6, 0.2, 0.2], [1.0 / 1.1, 0.0, 0.1 / 1.1], [0.0, 0.0, 1.0]]);
        assert!((result - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn one_seed_gives_one_change_and_gradients_flow_through_it() {
        let shares = Tensor::full([14, 3], 1.0 / 3.0, (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let of = |seed, perturbation| {
            let mut drawn = Perturbation::new(Sampling { perturbation, seed, ..Sampling::default() });
            drawn.of(shares.shallow_clone()).unwrap()
        };
        assert!(of(1, 0.1).equal(&of(1, 0.1)) && !of(1, 0.1).equal(&of(2, 0.1)));
        assert!(of(1, 0.0).equal(&shares));
        let sums = of(1, 0.2).sum_dim_intlist([-1i64].as_slice(), false, Kind::Double);
        assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-12);
        of(3, 0.2).select(1, 0).sum(Kind::Double).backward();
        assert!(shares.grad().abs().sum(Kind::Double).double_value(&[]) > 0.1);
    }
}
