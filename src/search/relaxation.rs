//! How architecture parameters become the weights of a mixed edge: the seam for other relaxations of the choice.

use tch::Tensor;

use crate::torch::TorchError;

/// Turns alphas into the weights by which the supernet sums the operations of an edge.
///
/// The supernet takes weights and knows nothing of how they came about; gradients flow back through them.
pub trait Relaxation {
    /// `alphas`: `[14, K]`, one row an edge. Returns the weights, of the same shape.
    ///
    /// # Errors
    /// When libtorch refuses.
    fn weights(&self, alphas: &Tensor) -> Result<Tensor, TorchError>;
}

/// Continuous mixing by a softmax over the live operations of each edge.
///
/// Source: DARTS (arXiv:1806.09055), equation 2; P-DARTS (arXiv:1904.12760), section 3.1.
#[derive(Copy, Clone, Debug, Default)]
pub struct Softmax;

impl Relaxation for Softmax {
    fn weights(&self, alphas: &Tensor) -> Result<Tensor, TorchError> {
        Ok(alphas.f_softmax(-1, alphas.kind())?)
    }
}
