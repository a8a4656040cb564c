//! How sharply the loss bends in the architecture parameters.
//!
//! Cells from sharp minima lose most when the supernet's mixture becomes one operation an edge. Source: Zela et al., *Understanding
//! and Robustifying Differentiable Architecture Search* (arXiv:1909.09656), section 4. What follows from it is `config/early_end`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::SearchState;
use super::buffers::{copy, put_back};
use super::state::Trained;
use crate::genotype::Alphas;
use crate::search::ForwardMode;
use crate::trainer::stop::Signal;
use crate::trainer::{StepImages, TrainError};

/// L2 length of the shift of the alphas by which second derivatives are taken. Rectifiers and pools bend the gradient all at
/// once where a value changes sign or place: a shift that any of many millions of values notices measures these jumps, and one
/// that none notices needs double precision.
const SHIFT: f64 = 1e-8;
/// Relative change of the eigenvalue at which the iteration ends, and how long it may take.
const TOLERANCE: f64 = 1e-3;
const MAX_ITERATIONS: usize = 30;

/// Alphas after an epoch, with the curvature there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredAlphas {
    /// From 1.
    pub epoch: usize,
    /// The largest eigenvalue of the loss's Hessian in the alphas.
    pub eigenvalue: f64,
    /// The alphas.
    pub alphas: Alphas,
}

/// The largest eigenvalue of the Hessian in the architecture parameters of the mean loss of `images`, this rank's share of a
/// batch, with BatchNorm by the batch's statistics and nothing dropped. `state` is in double precision; its alphas, statistics and
/// gradients are changed. All ranks call this together, with the same `seed`.
///
/// It is found by Lanczos's iteration, which looks for it in the span of all that the power iteration goes through; products
/// with the Hessian are finite differences of gradients. The softmax does not see the sum of an edge's alphas, so 0 is always an
/// eigenvalue. `stops` is asked before each product for a signal that ends it.
///
/// # Errors
/// When loading, libtorch or the exchange of gradients fails.
pub fn largest_eigenvalue(
    state: &mut SearchState,
    images: &mut StepImages<'_>,
    seed: u64,
    stops: impl Fn() -> Result<Option<Signal>, TrainError>,
) -> Result<Result<f64, Signal>, TrainError> {
    images.keep()?;
    let alphas = copy(state.flat_alphas.values())?;
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let start: Vec<f64> = (0..alphas.numel()).map(|_| generator.random_range(-1.0..1.0)).collect();
    let start = Tensor::f_from_slice(&start)?.f_to_kind(alphas.kind())?.f_to_device(alphas.device())?;
    // What no gradient reaches, as between two tensors of the flat buffer, stays out of the span.
    let start = hessian_product(state, images, &alphas, &unit(&start)?)?;
    let mut span = Span::from(&start)?;
    let mut eigenvalue = f64::NEG_INFINITY;
    for _ in 0..MAX_ITERATIONS {
        if let Some(signal) = stops()? {
            return Ok(Err(signal));
        }
        let product = hessian_product(state, images, &alphas, span.newest())?;
        let before = eigenvalue;
        let is_whole = !span.extend(product)?;
        eigenvalue = span.largest_eigenvalue()?;
        if is_whole || !eigenvalue.is_finite() || (eigenvalue - before).abs() <= TOLERANCE * eigenvalue.abs() {
            break;
        }
    }
    Ok(Ok(if eigenvalue.is_nan() { eigenvalue } else { eigenvalue.max(0.0) }))
}

/// The Hessian at `alphas` times `direction`.
fn hessian_product(
    state: &mut SearchState,
    images: &mut StepImages<'_>,
    alphas: &Tensor,
    direction: &Tensor,
) -> Result<Tensor, TrainError> {
    let mut gradient_at = |shift: f64| -> Result<Tensor, TrainError> {
        let shifted = no_grad(|| alphas.f_add(&direction.f_mul_scalar(shift)?))?;
        put_back(state.flat_alphas.values(), &shifted)?;
        state.gradients(images, ForwardMode::training(0.0), Trained::ALPHAS)?;
        state.average_alpha_gradient()?;
        copy(state.flat_alphas.gradients())
    };
    let (ahead, behind) = (gradient_at(SHIFT)?, gradient_at(-SHIFT)?);
    Ok(no_grad(|| ahead.f_sub(&behind)?.f_div_scalar(2.0 * SHIFT))?)
}

/// Orthonormal vectors, each the product of a symmetric matrix with the one before less what lies along all before; and the
/// matrix in terms of them, which has entries beside its diagonal only next to it.
struct Span {
    vectors: Vec<Tensor>,
    diagonal: Vec<f64>,
    beside: Vec<f64>,
}

impl Span {
    fn from(start: &Tensor) -> Result<Self, TrainError> {
        Ok(Self { vectors: vec![unit(start)?], diagonal: Vec::new(), beside: Vec::new() })
    }

    fn newest(&self) -> &Tensor {
        &self.vectors[self.vectors.len() - 1]
    }

    /// Takes in the matrix's `product` with the newest vector; whether anything new is left of it.
    fn extend(&mut self, product: Tensor) -> Result<bool, TrainError> {
        self.diagonal.push(no_grad(|| product.f_dot(self.newest())?.f_double_value(&[]))?);
        let whole = length(&product)?;
        let mut rest = product;
        // Twice, because what rounding leaves the first time would grow.
        for _ in 0..2 {
            for vector in &self.vectors {
                rest = no_grad(|| rest.f_sub(&vector.f_mul(&rest.f_dot(vector)?)?))?;
            }
        }
        let length = length(&rest)?;
        if length <= TOLERANCE * TOLERANCE * whole {
            return Ok(false);
        }
        self.beside.push(length);
        self.vectors.push(no_grad(|| rest.f_div_scalar(length))?);
        Ok(true)
    }

    /// Of the matrix on the span.
    fn largest_eigenvalue(&self) -> Result<f64, TrainError> {
        let size = self.diagonal.len();
        let mut matrix = vec![0.0; size * size];
        for (index, &value) in self.diagonal.iter().enumerate() {
            matrix[index * size + index] = value;
        }
        for (index, &value) in self.beside.iter().take(size - 1).enumerate() {
            matrix[index * size + index + 1] = value;
            matrix[(index + 1) * size + index] = value;
        }
        let matrix = Tensor::f_from_slice(&matrix)?.f_view([size as i64, size as i64])?;
        Ok(matrix.f_linalg_eigvalsh("L")?.f_max()?.f_double_value(&[])?)
    }
}

/// `vector` in length 1; itself if it has none.
fn unit(vector: &Tensor) -> Result<Tensor, TrainError> {
    let length = length(vector)?;
    Ok(no_grad(|| vector.f_div_scalar(if length > 0.0 { length } else { 1.0 }))?)
}

fn length(vector: &Tensor) -> Result<f64, TrainError> {
    Ok(no_grad(|| vector.f_norm()?.f_double_value(&[]))?)
}
