//! What networks compute in.

use tch::Device;

use crate::config::Precision;
use crate::torch::{Bf16Autocast, TorchError, allow_tf32};

/// The precision of a state's passes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Computing {
    precision: Precision,
    device: Device,
}

impl Computing {
    /// In `precision` on `device`. Whether libtorch may round to TF32 is the process's: from now on as `precision` says.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn new(precision: Precision, device: Device) -> Result<Self, TorchError> {
        if device.is_cuda() {
            allow_tf32(precision == Precision::Tf32)?;
        }
        Ok(Self { precision, device })
    }

    /// For as long as a forward pass takes; backward follows by itself.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn forward_pass(self) -> Result<Option<Bf16Autocast>, TorchError> {
        match self.precision {
            Precision::Float32 | Precision::Tf32 => Ok(None),
            Precision::Bf16 => Bf16Autocast::start(self.device).map(Some),
        }
    }
}
