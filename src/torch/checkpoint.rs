//! Computing a part of a network again in backward instead of keeping what its forward pass computed.
//!
//! Source: Chen et al., Training Deep Nets with Sublinear Memory Cost (arXiv:1604.06174).

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{TorchError, give_message, take_message};

type Forward = Box<dyn Fn(&[Tensor]) -> Result<Tensor, TorchError> + Send>;

#[repr(C)]
struct CPart {
    forward: extern "C" fn(*const c_void, *const *mut C_tensor, usize, *mut *mut C_tensor) -> *mut c_char,
    release: extern "C" fn(*mut c_void),
    context: *mut c_void,
    inputs: *const *const C_tensor,
    parameters: *const *const C_tensor,
    statistics: *const *const C_tensor,
    num_inputs: usize,
    num_parameters: usize,
    num_statistics: usize,
}

unsafe extern "C" {
    fn pdarts_checkpoint(part: *const CPart, output: *mut *mut C_tensor) -> *mut c_char;
}

/// The tensors of a part of a network.
#[derive(Copy, Clone, Debug)]
pub struct Part<'a> {
    /// What it computes with, at least one. Gradients of one tensor that stands here twice are added in this order.
    pub inputs: &'a [&'a Tensor],
    /// The trainable tensors that it uses besides.
    pub parameters: &'a [Tensor],
    /// Those that a forward pass changes: running means and variances.
    pub statistics: &'a [Tensor],
}

/// `forward` of the inputs. Until backward nothing is kept but these: there `forward` is called again, on detached inputs.
///
/// The second call sees the same states of libtorch's generators and the same autocast, and leaves generators and
/// statistics as it found them. So values, gradients, draws and statistics are bit for bit those of calling `forward`, as
/// long as it is a function of its inputs, the part's tensors and these draws. Gradients cannot be differentiated again.
///
/// `forward` may be called on one of autograd's threads, one call at a time.
///
/// # Errors
/// Those of `forward`; a second call's are errors of the backward pass.
pub fn checkpoint(
    part: Part<'_>,
    forward: impl Fn(&[Tensor]) -> Result<Tensor, TorchError> + Send + 'static,
) -> Result<Tensor, TorchError> {
    let inputs: Vec<_> = part.inputs.iter().map(|tensor| tensor.as_ptr()).collect();
    let [parameters, statistics] =
        [part.parameters, part.statistics].map(|tensors| tensors.iter().map(Tensor::as_ptr).collect::<Vec<_>>());
    let forward: Box<Forward> = Box::new(Box::new(forward));
    let c_part = CPart {
        forward: call,
        release,
        context: Box::into_raw(forward).cast(),
        inputs: inputs.as_ptr(),
        parameters: parameters.as_ptr(),
        statistics: statistics.as_ptr(),
        num_inputs: inputs.len(),
        num_parameters: parameters.len(),
        num_statistics: statistics.len(),
    };
    let mut output = ptr::null_mut();
    // SAFETY: arrays of live tensors with their lengths; the shim owns the context, which may go to other threads, and
    // releases it once; on success it stores a new tensor in `output`.
    take_message(unsafe { pdarts_checkpoint(&c_part, &mut output) })?;
    // SAFETY: the shim succeeded, so `output` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}

/// Called by the shim; returns null or a message that it frees.
extern "C" fn call(
    context: *const c_void,
    inputs: *const *mut C_tensor,
    num_inputs: usize,
    output: *mut *mut C_tensor,
) -> *mut c_char {
    let compute = || {
        // SAFETY: the context that `checkpoint` gave, not yet released; the node of autograd's graph that owns it runs
        // on one thread at a time.
        let forward = unsafe { &*context.cast::<Forward>() };
        // SAFETY: `num_inputs` pointers to live tensors, of which these are second handles.
        let inputs: Vec<Tensor> =
            (0..num_inputs).map(|index| unsafe { Tensor::clone_from_ptr(*inputs.add(index)) }).collect();
        forward(&inputs)
    };
    // Unwinding through libtorch is not possible; the panic hook has reported the panic itself.
    match catch_unwind(AssertUnwindSafe(compute)) {
        Ok(Ok(tensor)) => {
            // SAFETY: the shim's place for the tensor, which it owns from now on.
            unsafe { *output = ManuallyDrop::new(tensor).as_mut_ptr() };
            ptr::null_mut()
        }
        Ok(Err(error)) => give_message(&error.to_string()),
        Err(_) => give_message("a forward pass panicked"),
    }
}

extern "C" fn release(context: *mut c_void) {
    // SAFETY: the context that `checkpoint` gave; the shim calls this once.
    drop(unsafe { Box::from_raw(context.cast::<Forward>()) });
}
