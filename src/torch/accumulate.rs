//! Gradients that are added to a buffer all at once, instead of by autograd, one kernel for each parameter.

use std::ffi::c_char;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_accumulate_gradients(
        parameters: *const *const C_tensor,
        sums: *const *const C_tensor,
        num_parameters: usize,
    ) -> *mut c_char;
    fn pdarts_drop_gradients(parameters: *const *const C_tensor, num_parameters: usize);
}

/// Adds to each sum, of one dimension, the gradient that backward has left at its parameter, if there is one, and leaves none
/// there: the next backward pass then has nothing to add to. On a GPU it waits for nothing and is a few kernels.
///
/// # Errors
/// When libtorch refuses, for example for want of memory; gradients may be lost then.
pub fn accumulate_gradients<'a>(
    parameters_and_sums: impl Iterator<Item = (&'a Tensor, &'a Tensor)>,
) -> Result<(), TorchError> {
    let (parameters, sums): (Vec<_>, Vec<_>) =
        parameters_and_sums.map(|(parameter, sum)| (parameter.as_ptr(), sum.as_ptr())).unzip();
    // SAFETY: both arrays have so many places, all of live tensors; the shim keeps no pointer.
    take_message(unsafe { pdarts_accumulate_gradients(parameters.as_ptr(), sums.as_ptr(), parameters.len()) })
}

/// Leaves none of `parameters` a gradient.
pub fn drop_gradients(parameters: &[Tensor]) {
    let parameters: Vec<_> = parameters.iter().map(Tensor::as_ptr).collect();
    // SAFETY: as above.
    unsafe { pdarts_drop_gradients(parameters.as_ptr(), parameters.len()) };
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn gradients_arrive_in_the_order_of_rows_however_they_lie_in_memory() {
        let by_columns = Tensor::zeros([2, 3], OPTIONS).transpose(0, 1).set_requires_grad(true);
        let (scalar, expanded) = (Tensor::zeros([], OPTIONS), Tensor::zeros([4], OPTIONS));
        let parameters = [by_columns, scalar.set_requires_grad(true), expanded.set_requires_grad(true)];
        let sums = [6, 1, 4].map(|length| Tensor::ones([length], OPTIONS));
        let factors = Tensor::arange(6, OPTIONS).view([3, 2]);
        let of_columns = (&parameters[0] * factors).sum(Kind::Float);
        // The gradient of a sum is one value in all places.
        (of_columns + &parameters[1] * 2.0 + parameters[2].sum(Kind::Float)).backward();
        assert!(!parameters[0].grad().is_contiguous());
        accumulate_gradients(parameters.iter().zip(&sums)).unwrap();
        let [by_columns, scalar, expanded] = sums.map(|sum| Vec::<f32>::try_from(sum).unwrap());
        assert_eq!(by_columns, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((scalar, expanded), (vec![3.0], vec![2.0; 4]));
    }

    #[test]
    fn sum_of_another_length_is_an_error() {
        let parameters = [Tensor::zeros([4], OPTIONS).set_requires_grad(true)];
        parameters[0].exp().sum(Kind::Float).backward();
        let sums = [Tensor::zeros([3], OPTIONS)];
        let message = accumulate_gradients(parameters.iter().zip(&sums)).unwrap_err().to_string();
        assert!(message.contains("size"), "{message}");
    }
}
