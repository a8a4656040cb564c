//! Clipping of the gradient by its norm.

use tch::{Tensor, no_grad};

use crate::torch::TorchError;

/// Guards the division, as in `torch.nn.utils.clip_grad_norm_`.
const EPSILON: f64 = 1e-6;

/// Scales `gradients` in place so that their L2 norm is at most `max_norm`; returns the norm before, a scalar tensor that
/// stays on the device.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn clip_gradient_norm(gradients: &Tensor, max_norm: f64) -> Result<Tensor, TorchError> {
    let norm = gradient_norm(gradients)?;
    limit_gradient_norm(gradients, &norm, max_norm)?;
    Ok(norm)
}

/// The L2 norm of `gradients`, a scalar tensor that stays on the device.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn gradient_norm(gradients: &Tensor) -> Result<Tensor, TorchError> {
    Ok(no_grad(|| gradients.f_norm())?)
}

/// Scales `gradients`, whose L2 norm is `norm`, in place so that it is at most `max_norm`.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn limit_gradient_norm(gradients: &Tensor, norm: &Tensor, max_norm: f64) -> Result<(), TorchError> {
    no_grad(|| {
        let scale = norm.f_add_scalar(EPSILON)?.f_reciprocal()?.f_mul_scalar(max_norm)?.f_clamp_max(1.0)?;
        let _ = gradients.shallow_clone().f_mul_(&scale)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_longer_gradient_is_scaled() {
        let long = Tensor::from_slice(&[3.0f64, 4.0]);
        assert!((clip_gradient_norm(&long, 1.0).unwrap().double_value(&[]) - 5.0).abs() < 1e-12);
        assert!((long.norm().double_value(&[]) - 1.0).abs() < 1e-6);
        let short = Tensor::from_slice(&[0.3f64, 0.4]);
        let _ = clip_gradient_norm(&short, 1.0).unwrap();
        assert_eq!(short.double_value(&[1]), 0.4);
    }
}
