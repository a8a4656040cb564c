//! Convolutions and linear layers in bfloat16 for as long as a guard lives.
//!
//! libtorch's autocast rounds their inputs and weights where they are used; parameters, their gradients, statistics
//! and losses stay in 32 bits. tch's own `autocast` serves CUDA and float16 only.

use std::ffi::c_char;
use std::marker::PhantomData;

use tch::Device;

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_set_autocast(cuda: bool, enabled: bool, was_enabled: *mut bool) -> *mut c_char;
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

/// Returns whether it was on.
fn set(cuda: bool, enabled: bool) -> Result<bool, TorchError> {
    let mut was_enabled = false;
    // SAFETY: the shim writes one bool to the address it is given and keeps nothing.
    take_message(unsafe { pdarts_set_autocast(cuda, enabled, &mut was_enabled) })?;
    Ok(was_enabled)
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

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
