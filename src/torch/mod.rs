//! What tch does not offer: loading libtorch's CUDA half, gradients that are added up at once or of more than scalars, kernels
//! of our own. The only C++ of the crate.

mod accumulate;
mod autocast;
mod branch_sum;
mod checkpoint;
mod depthwise;
mod dropout;
mod graph;
mod hooks;
mod host_bytes;
mod layout;
mod kernel_choice;
mod memory;
mod mix;
mod norm;
mod pool;
mod profile;
mod separable;
mod side_stream;
mod sync_batch_norm;
mod windows;

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

pub use accumulate::{accumulate_gradients, drop_gradients};
pub use autocast::{Bf16Autocast, allow_tf32, as_autocast};
pub use branch_sum::{NodeBranch, branch_sum};
pub use checkpoint::{Part, checkpoint};
pub use depthwise::{DepthwiseGeometry, relu_depthwise};
pub use dropout::{dropout, dropouts};
pub use graph::{Cut, Graph, peak_gpu_bytes, use_own_stream};
pub use hooks::GradientHooks;
pub use host_bytes::{bytes_to_device, values_to_device};
pub use kernel_choice::{
    Kernels, choose_kernels, chosen_kernels, emulate_gpu_kernels, gpu_kernels_serve, has_gpu_kernels,
};
pub use layout::num_layout_copies;
pub use memory::MemoryRefusal;
pub use mix::{Branch, mix};
pub use norm::{Norm, RunningStatistics};
pub use pool::{avg_pool_3x3, max_pool_3x3};
pub use profile::{OperationTime, profile, profile_gpu};
pub use separable::{SeparableCall, SeparableWeights, separable_conv, separable_convs};
pub use side_stream::{SideStream, StreamEvent, synchronise};
pub use sync_batch_norm::{SumOverRanks, synchronise_batch_norm};
pub use windows::{ImageWindow, normalised_windows};

/// A failure inside libtorch, with libtorch's own message.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The C++ shim caught an exception.
    #[error("libtorch: {}", memory::in_words(.0))]
    Shim(String),
    /// A libtorch call through tch failed.
    #[error("libtorch: {}", memory::in_words(&.0.to_string()))]
    Call(#[from] tch::TchError),
}

unsafe extern "C" {
    fn pdarts_gradients(
        output: *const C_tensor,
        output_gradient: *const C_tensor,
        inputs: *const *const C_tensor,
        num_inputs: usize,
        gradients: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn pdarts_free_message(message: *mut c_char);
    fn pdarts_libtorch_version() -> *const c_char;
}

/// The gradients of `inputs` when `output` has `output_gradient`; tch differentiates scalars only. Frees the graph.
///
/// # Errors
/// When the shapes differ or `output` does not depend on an input.
pub fn gradients(output: &Tensor, output_gradient: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Tensor>, TorchError> {
    let pointers: Vec<_> = inputs.iter().map(|input| input.as_ptr()).collect();
    let mut computed = vec![ptr::null_mut(); inputs.len()];
    // SAFETY: all tensors live, both arrays have `inputs.len()` places; the shim fills the second if it succeeds.
    take_message(unsafe {
        pdarts_gradients(
            output.as_ptr(),
            output_gradient.as_ptr(),
            pointers.as_ptr(),
            pointers.len(),
            computed.as_mut_ptr(),
        )
    })?;
    // SAFETY: the shim succeeded, so each is a tensor that nobody else owns.
    Ok(computed.into_iter().map(|gradient| unsafe { Tensor::from_ptr(gradient) }).collect())
}

/// The version of libtorch that this program was compiled against, as `2.13.0`.
pub fn libtorch_version() -> &'static str {
    // SAFETY: the shim returns a string literal.
    unsafe { CStr::from_ptr(pdarts_libtorch_version()) }.to_str().unwrap_or("unknown")
}

/// Loads `libtorch_cuda.so`, which the linker leaves out because no symbol of it is named, so that one binary serves
/// machines with and without a GPU. Call it before the first question about CUDA. Returns why it could not be loaded.
///
/// # Errors
/// The loader's message, for a libtorch that was built without CUDA.
pub fn load_cuda() -> Result<(), TorchError> {
    // SAFETY: a constant, terminated name; the library's constructors only register operators.
    let handle = unsafe { libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: dlerror returns null or a string that stays valid until the next call on this thread.
    let message = unsafe {
        let text = libc::dlerror();
        if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Err(TorchError::Shim(message))
}

/// A message for the shim, which releases it with `free`.
fn give_message(message: &str) -> *mut c_char {
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: a terminated string, which is copied.
    unsafe { libc::strdup(message.as_ptr()) }
}

fn take_message(message: *mut c_char) -> Result<(), TorchError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null message is a string that the shim allocated and that is released once, here.
    let text = unsafe { CStr::from_ptr(message).to_string_lossy().into_owned() };
    // SAFETY: as above.
    unsafe { pdarts_free_message(message) };
    Err(TorchError::Shim(text.lines().next().unwrap_or_default().to_owned()))
}
