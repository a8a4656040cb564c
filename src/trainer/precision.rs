//! What networks compute in.

use tch::Device;

use crate::config::Precision;
use crate::torch::{Bf16Autocast, TorchError, allow_tf32};

/// The precision of a state's passes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Computing {
    /// Of convolutions and products.
    pub precision: Precision,
    /// Where.
    pub device: Device,
}

impl Computing {
    /// For as long as a forward pass takes; backward follows by itself. Whether libtorch may round to TF32 is the process's, so
    /// each pass says it, and what other states compute in between changes nothing.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn forward_pass(self) -> Result<Option<Bf16Autocast>, TorchError> {
        if self.device.is_cuda() {
            allow_tf32(self.precision == Precision::Tf32)?;
        }
        match self.precision {
            Precision::Float32 | Precision::Tf32 => Ok(None),
            Precision::Bf16 => Bf16Autocast::start(self.device).map(Some),
        }
    }
}
