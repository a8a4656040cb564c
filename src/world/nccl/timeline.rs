//! Where NCCL's work runs beside libtorch's, and how one waits for the other.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use tch::Device;

use crate::torch::{SideStream, StreamEvent, TorchError};

/// The line of work that operations are queued on.
pub(super) enum Timeline {
    /// A stream beside libtorch's.
    Gpu(SideStream),
    /// None: a test double works on host memory before its calls are complete.
    Host,
}

/// An operation's place on it.
#[derive(Clone)]
pub(super) enum Mark {
    Gpu(Arc<StreamEvent>),
    Host,
}

impl Timeline {
    /// For a rank on `device`, which becomes this thread's: NCCL takes it from there.
    ///
    /// # Errors
    /// When there is no such GPU.
    pub fn new(device: Device) -> Result<Self, TorchError> {
        match device {
            Device::Cuda(index) => Ok(Self::Gpu(SideStream::new(index)?)),
            _ => Ok(Self::Host),
        }
    }

    /// The `cudaStream_t`.
    pub fn stream(&self) -> *mut c_void {
        match self {
            Self::Gpu(side) => side.handle(),
            Self::Host => ptr::null_mut(),
        }
    }

    /// What is queued from now on sees all that this thread has had computed so far.
    ///
    /// # Errors
    /// When CUDA refuses.
    pub fn follow_current(&self) -> Result<(), TorchError> {
        match self {
            Self::Gpu(side) => side.follow_current(),
            Self::Host => Ok(()),
        }
    }

    /// Marks the end of what is queued.
    ///
    /// # Errors
    /// When CUDA refuses.
    pub fn mark(&self) -> Result<Mark, TorchError> {
        match self {
            Self::Gpu(side) => Ok(Mark::Gpu(Arc::new(side.record()?))),
            Self::Host => Ok(Mark::Host),
        }
    }
}

impl Mark {
    /// What this thread has computed from now on sees what stands before the mark.
    ///
    /// # Errors
    /// When CUDA refuses.
    pub fn make_current_wait(&self) -> Result<(), TorchError> {
        match self {
            Self::Gpu(event) => event.make_current_wait(),
            Self::Host => Ok(()),
        }
    }

    /// Whether work has come to the mark.
    ///
    /// # Errors
    /// When work on the GPU has failed.
    pub fn is_reached(&self) -> Result<bool, TorchError> {
        match self {
            Self::Gpu(event) => event.is_complete(),
            Self::Host => Ok(true),
        }
    }
}
