//! What a computation gives, and how far two are from each other.

use tch::{Device, Kind, Tensor, no_grad};

use super::values::Values;
use crate::torch::{TorchError, gradients};

/// Outputs, gradients and whatever else a computation changes, in order.
pub struct Computed {
    tensors: Vec<Tensor>,
}

impl Computed {
    /// Of what has no gradients.
    pub fn of(tensors: Vec<Tensor>) -> Self {
        Self { tensors }
    }

    /// The gradients of `leaves` for some gradient of `output`, beside `output` itself and `others`, such as running
    /// statistics.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn with_gradients(
        values: &mut Values,
        output: &Tensor,
        leaves: &[&Tensor],
        others: &[&Tensor],
    ) -> Result<Self, TorchError> {
        let output_gradient = values.tensor(&output.size())?.f_to_kind(output.kind())?;
        let mut tensors = gradients(output, &output_gradient, leaves)?;
        tensors.push(output.f_detach()?);
        for other in others {
            tensors.push(other.f_detach_copy()?);
        }
        Ok(Self { tensors })
    }

    /// Makes the first tensor wrong by a fifth.
    pub fn spoil(&mut self) {
        if let Some(first) = self.tensors.first_mut() {
            *first = no_grad(|| &*first * 1.2);
        }
    }
}

/// A gradient that is zero but for rounding is compared with this share of the largest tensor.
const SMALLEST_SHARE: f64 = 1e-4;

/// The largest relative error of the single tensors; none where one cannot be compared.
pub fn relative_error(computed: &Computed, expected: &Computed) -> Option<f64> {
    let sizes = |computed: &Computed| computed.tensors.iter().map(Tensor::size).collect::<Vec<_>>();
    if sizes(computed) != sizes(expected) {
        return None;
    }
    no_grad(|| {
        let differences: Result<Vec<(f64, f64)>, tch::TchError> =
            computed.tensors.iter().zip(&expected.tensors).map(|(ours, theirs)| difference(ours, theirs)).collect();
        let differences = differences.ok()?;
        let largest = differences.iter().fold(0.0, |largest: f64, (_, norm)| largest.max(*norm));
        differences.into_iter().try_fold(0.0, |worst: f64, (difference, norm)| {
            // Nothing but zeros is right when it is nothing but zeros.
            let error = if difference == 0.0 { 0.0 } else { difference / norm.max(SMALLEST_SHARE * largest) };
            error.is_finite().then(|| worst.max(error))
        })
    })
}

/// The norms of what lies between two tensors, and of the second.
fn difference(ours: &Tensor, theirs: &Tensor) -> Result<(f64, f64), tch::TchError> {
    let on_host = |tensor: &Tensor| tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
    let norm = |tensor: &Tensor| tensor.f_norm()?.f_double_value(&[]);
    let (ours, theirs) = (on_host(ours)?, on_host(theirs)?);
    Ok((norm(&ours.f_sub(&theirs)?)?, norm(&theirs)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn computed(values: &[&[f64]]) -> Computed {
        Computed::of(values.iter().map(|values| Tensor::from_slice(values)).collect())
    }

    #[test]
    fn the_largest_error_counts_and_what_cannot_be_compared_is_none() {
        let expected = computed(&[&[3.0, 4.0], &[0.0]]);
        assert_eq!(relative_error(&computed(&[&[3.0, 4.0], &[0.0]]), &expected), Some(0.0));
        assert_eq!(relative_error(&computed(&[&[3.0, 4.5], &[0.0]]), &expected), Some(0.1));
        let beside_zero = relative_error(&computed(&[&[3.0, 4.0], &[1e-9]]), &expected).unwrap();
        assert!((beside_zero / 2e-6 - 1.0).abs() < 1e-12, "{beside_zero:e}");
        assert_eq!(relative_error(&computed(&[&[3.0], &[0.0]]), &expected), None);
        assert_eq!(relative_error(&computed(&[&[f64::NAN, 4.0], &[0.0]]), &expected), None);
        assert_eq!(relative_error(&computed(&[&[3.0, 4.0]]), &expected), None);
    }
}
