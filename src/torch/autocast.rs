//! Convolutions and linear layers in bfloat16 for as long as a guard lives, or rounded to TF32.
//!
//! libtorch's autocast rounds their inputs and weights where they are used; parameters, their gradients, statistics
//! and losses stay in 32 bits. tch's own `autocast` serves CUDA and float16 only.

use std::ffi::c_char;
use std::marker::PhantomData;

use tch::{Device, Kind, Tensor};

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_set_autocast(cuda: bool, enabled: bool, was_enabled: *mut bool) -> *mut c_char;
    fn pdarts_allow_tf32(allowed: bool) -> *mut c_char;
    fn pdarts_in_autocast(cuda: bool, enabled: *mut bool) -> *mut c_char;
}

/// Whether libtorch's convolutions and products of float32 on GPUs may round what they read to TF32, from now on.
///
/// # Errors
/// When libtorch refuses.
pub fn allow_tf32(allowed: bool) -> Result<(), TorchError> {
    // SAFETY: no pointers.
    take_message(unsafe { pdarts_allow_tf32(allowed) })
}

/// Autocast to bfloat16 on this thread, until it is dropped. Only for forward passes: backward follows by itself.
#[derive(Debug)]
pub struct Bf16Autocast {
    cuda: bool,
    was_enabled: bool,
    /// The state belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl Bf16Autocast {
    /// Switches it on for the operations on `device`.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn start(device: Device) -> Result<Self, TorchError> {
        let cuda = device.is_cuda();
        let was_enabled = set(cuda, true)?;
        Ok(Self { cuda, was_enabled, _not_send: PhantomData })
    }
}

impl Drop for Bf16Autocast {
    fn drop(&mut self) {
        // It was possible to switch it on, so it is to switch it off.
        let _ = set(self.cuda, self.was_enabled);
    }
}

/// `x` as the operations that autocast rounds would read it: in bfloat16 while a guard lives, else as it is. To be called once for
/// what several of our own convolutions read.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn as_autocast(x: &Tensor) -> Result<Tensor, TorchError> {
    let mut enabled = false;
    // SAFETY: the shim writes one bool to the address it is given and keeps nothing.
    take_message(unsafe { pdarts_in_autocast(x.device().is_cuda(), &mut enabled) })?;
    let rounds = enabled && x.kind() == Kind::Float;
    Ok(if rounds { x.f_to_kind(Kind::BFloat16)? } else { x.shallow_clone() })
}

/// Returns whether it was on.
fn set(cuda: bool, enabled: bool) -> Result<bool, TorchError> {
    let mut was_enabled = false;
    // SAFETY: the shim writes one bool to the address it is given and keeps nothing.
    take_message(unsafe { pdarts_set_autocast(cuda, enabled, &mut was_enabled) })?;
    Ok(was_enabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_in_bfloat16_while_it_lives_and_weights_stay_as_they_are() {
        let options = (Kind::Float, Device::Cpu);
        let (x, weight) = (Tensor::randn([4, 3], options), Tensor::randn([2, 3], options).set_requires_grad(true));
        let product = || x.linear(&weight, None::<&Tensor>);
        {
            let _autocast = Bf16Autocast::start(Device::Cpu).unwrap();
            let y = product();
            assert_eq!(y.kind(), Kind::BFloat16);
            y.sum(Kind::Float).backward();
        }
        assert_eq!(product().kind(), Kind::Float);
        assert_eq!((weight.kind(), weight.grad().kind()), (Kind::Float, Kind::Float));
    }
}
