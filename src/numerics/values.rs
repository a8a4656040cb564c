//! Inputs that are the same on all devices.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, no_grad};

use crate::model::{ParameterStore, channels_last};
use crate::torch::TorchError;

/// A stream of values, named by what they are for, as tensors of one device and type.
pub struct Values {
    stream: ChaCha8Rng,
    pub device: Device,
    pub kind: Kind,
}

impl Values {
    /// The stream of the case `name`.
    pub fn new(name: &str, device: Device, kind: Kind) -> Self {
        let seed = name.bytes().fold(0u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Self { stream: ChaCha8Rng::seed_from_u64(seed), device, kind }
    }

    /// Uniform in `[-1, 1]`, channels last where there are four dimensions.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn tensor(&mut self, shape: &[i64]) -> Result<Tensor, TorchError> {
        self.around(0.0, 1.0, shape)
    }

    /// The same as a leaf of autograd.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn leaf(&mut self, shape: &[i64]) -> Result<Tensor, TorchError> {
        Ok(self.tensor(shape)?.f_detach()?.f_set_requires_grad(true)?)
    }

    /// Uniform in `[center - width, center + width]`.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn around(&mut self, center: f64, width: f64, shape: &[i64]) -> Result<Tensor, TorchError> {
        let count = shape.iter().product::<i64>();
        // Values that float32 holds exactly are the same everywhere.
        let draw = |stream: &mut ChaCha8Rng| f64::from((center + width * stream.random_range(-1.0..1.0)) as f32);
        let values: Vec<f64> = (0..count).map(|_| draw(&mut self.stream)).collect();
        let tensor = Tensor::f_from_slice(&values)?.f_view(shape)?;
        let tensor = if shape.len() == 4 { channels_last(&tensor)? } else { tensor };
        Ok(tensor.f_to_device(self.device)?.f_to_kind(self.kind)?)
    }

    /// Classes of `count` images.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn classes(&mut self, count: i64, num_classes: i64) -> Result<Tensor, TorchError> {
        let classes: Vec<i64> = (0..count).map(|_| self.stream.random_range(0..num_classes)).collect();
        Ok(Tensor::f_from_slice(&classes)?.f_to_device(self.device)?)
    }

    /// A store for a layer of this device and type.
    pub fn store(&self) -> ParameterStore {
        ParameterStore::new(self.device, self.kind)
    }

    /// Sets every trained tensor of a network: weights as large as is usual for what they add up, scales around 1, shifts
    /// around 0.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn fill(&mut self, store: &ParameterStore) -> Result<(), TorchError> {
        for named in store.trainable() {
            let size = named.tensor.size();
            let fan_in = size.iter().skip(1).product::<i64>().max(1) as f64;
            let values = match size.len() {
                1 if named.name.ends_with("weight") => self.around(1.0, 0.2, &size)?,
                1 => self.around(0.0, 0.2, &size)?,
                _ => self.around(0.0, (6.0 / fan_in).sqrt(), &size)?,
            };
            no_grad(|| named.tensor.shallow_clone().f_copy_(&values))?;
        }
        Ok(())
    }
}
