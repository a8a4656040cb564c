//! Which implementation of this crate's own operations runs.

use std::ffi::{CString, c_char};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::ValueEnum;
use tch::Tensor;
use torch_sys::C_tensor;

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_choose_kernels(own: bool);
    fn pdarts_own_kernels_chosen() -> bool;
    fn pdarts_has_gpu_kernels() -> bool;
    fn pdarts_gpu_runs_kernels() -> bool;
    fn pdarts_gpu_kernels_compute(tensor: *const C_tensor) -> bool;
    fn pdarts_emulate_gpu_kernels(library: *const c_char) -> *mut c_char;
}

/// What computes the operations of this crate (separable convolutions, pools, mixed sums, BatchNorm over all ranks) in single and
/// double precision, on the CPU and on GPUs that it has kernels for. Elsewhere it is libtorch's operations in any case.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernels {
    /// Kernels of this crate.
    Fused,
    /// The same composed of libtorch's operations: slower, to check the others.
    Reference,
}

impl fmt::Display for Kernels {
    /// The name on the command line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fused => "fused",
            Self::Reference => "reference",
        })
    }
}

/// From now on this process's forward passes use `kernels`; at first they are fused. A backward pass uses what its forward
/// pass did.
pub fn choose_kernels(kernels: Kernels) {
    // SAFETY: sets an atomic variable.
    unsafe { pdarts_choose_kernels(kernels == Kernels::Fused) };
}

/// What [`choose_kernels`] chose.
pub fn chosen_kernels() -> Kernels {
    // SAFETY: reads an atomic variable.
    if unsafe { pdarts_own_kernels_chosen() } { Kernels::Fused } else { Kernels::Reference }
}

/// Whether kernels for GPUs are compiled into this program.
pub fn has_gpu_kernels() -> bool {
    // SAFETY: reads a constant.
    unsafe { pdarts_has_gpu_kernels() }
}

/// Whether this crate's GPU kernels compute on this process's GPU: they are compiled in, the GPU runs them, and nothing else was
/// chosen.
pub fn gpu_kernels_serve() -> bool {
    // SAFETY: no pointers; the first time it launches a kernel on memory of its own.
    chosen_kernels() == Kernels::Fused && unsafe { pdarts_gpu_runs_kernels() }
}

/// Whether this crate's GPU kernels compute where `tensor` lies, in a GPU's memory or in their emulation's.
pub(super) fn gpu_kernels_compute(tensor: &Tensor) -> bool {
    // SAFETY: reads where a live tensor lies.
    unsafe { pdarts_gpu_kernels_compute(tensor.as_ptr()) }
}

/// From now on the GPU kernels serve tensors on the CPU, emulated by `library`: for tests on machines without a GPU.
///
/// # Errors
/// When the library cannot be loaded.
pub fn emulate_gpu_kernels(library: &Path) -> Result<(), TorchError> {
    let library = CString::new(library.as_os_str().as_bytes()).map_err(|error| TorchError::Shim(error.to_string()))?;
    // SAFETY: a terminated string. What the library does when it is loaded and called is the word of the caller, a test
    // that has built it from this crate's sources.
    take_message(unsafe { pdarts_emulate_gpu_kernels(library.as_ptr()) })
}
