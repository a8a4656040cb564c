//! This rank's images of one step, as the parts that go through the network one after the other.
//!
//! Where gradients accumulate, a step's images need not be on the device together, nor in host memory: each part is moved
//! and normalised when its turn comes, so memory follows from the size of a part and not from the global batch.

use tch::{Device, Kind};

use super::{ImageBatch, TrainError, fault};
use crate::data::{Batch, Batches};
use crate::torch::TorchError;
use crate::world::activity;

/// The images of one step.
pub struct StepImages<'a> {
    parts: Parts<'a>,
    num_parts: usize,
    digest: u64,
}

enum Parts<'a> {
    /// Still to be taken from the loader.
    Loading { batches: &'a mut Batches, taken: usize, device: Device, kind: Kind },
    /// In host memory.
    Kept { batches: Vec<Batch>, device: Device, kind: Kind },
    /// On the device.
    Ready(Vec<ImageBatch>),
}

impl<'a> StepImages<'a> {
    /// Those of the next step of `batches`, for a network on `device` with floating-point type `kind`.
    pub fn next_of(batches: &'a mut Batches, device: Device, kind: Kind) -> Self {
        let num_parts = batches.parts_per_step();
        Self { parts: Parts::Loading { batches, taken: 0, device, kind }, num_parts, digest: 0 }
    }

    /// The images of `batch` in at most `num_parts` equal parts.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn in_parts(batch: &ImageBatch, num_parts: usize) -> Result<Self, TorchError> {
        let parts = batch.parts(num_parts)?;
        Ok(Self { num_parts: parts.len(), parts: Parts::Ready(parts), digest: 0 })
    }

    /// How many there are, at least one.
    pub fn num_parts(&self) -> usize {
        self.num_parts
    }

    /// Holds all parts as bytes in host memory, so that they can be asked for more than once. Without this each can be
    /// taken once, in order.
    ///
    /// # Errors
    /// When loading fails.
    pub fn keep(&mut self) -> Result<(), TrainError> {
        if let Parts::Loading { batches, taken: 0, device, kind } = &mut self.parts {
            let kept = batches.by_ref().take(self.num_parts).collect::<Result<Vec<_>, _>>()?;
            self.digest = kept.iter().fold(0, |sum, batch: &Batch| sum.wrapping_add(batch.digest()));
            self.parts = Parts::Kept { batches: kept, device: *device, kind: *kind };
        }
        Ok(())
    }

    /// The sum of [`Batch::digest`] over the parts that were loaded.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Part `index` on the device.
    ///
    /// # Errors
    /// When loading fails or the device has no memory for it, and when a part is asked for out of its turn.
    pub fn part(&mut self, index: usize) -> Result<ImageBatch, TrainError> {
        let mut part = self.sound_part(index)?;
        if fault::strikes() {
            part.images = part.images.f_full_like(f64::NAN)?;
        }
        Ok(part)
    }

    fn sound_part(&mut self, index: usize) -> Result<ImageBatch, TrainError> {
        let _span = activity::phase("loading images");
        match &mut self.parts {
            Parts::Loading { batches, taken, device, kind } => {
                if *taken != index || index >= self.num_parts {
                    return Err(TrainError::NoImages);
                }
                *taken += 1;
                let batch = batches.next().ok_or(TrainError::NoImages)??;
                self.digest = self.digest.wrapping_add(batch.digest());
                Ok(ImageBatch::from_host(&batch, *device, *kind)?)
            }
            Parts::Kept { batches, device, kind } => {
                let batch = batches.get(index).ok_or(TrainError::NoImages)?;
                Ok(ImageBatch::from_host(batch, *device, *kind)?)
            }
            Parts::Ready(parts) => Ok(parts.get(index).ok_or(TrainError::NoImages)?.shallow_clone()),
        }
    }
}

impl From<&ImageBatch> for StepImages<'_> {
    /// All of them at once.
    fn from(batch: &ImageBatch) -> Self {
        Self { parts: Parts::Ready(vec![batch.shallow_clone()]), num_parts: 1, digest: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::sync::Arc;

    use tch::Tensor;

    use super::*;
    use crate::data::{Augment, DatasetKind, Loader, RankShare, SameSize, Sampler, Split, Stream, open};

    const AUGMENT: Augment = Augment { crop_padding: 4, horizontal_flip: true, cutout: 16, policy: None };

    /// The steps of an epoch of 12 images each, in `parts`.
    fn batches(parts: usize) -> Batches {
        let source = open(DatasetKind::Photodigits, Path::new(""), Split::Train).unwrap();
        let sampler = Sampler::shuffled(0..60, 12, 3, Stream::Weights, RankShare::WHOLE).unwrap().in_parts(parts);
        let transform = Arc::new(SameSize::new(32, AUGMENT, 3));
        Loader::new(source, sampler, transform, NonZeroUsize::MIN).batches(0, 0..5).unwrap()
    }

    fn next(batches: &mut Batches) -> StepImages<'_> {
        StepImages::next_of(batches, Device::Cpu, Kind::Float)
    }

    fn all_parts(images: &mut StepImages<'_>) -> (Tensor, Tensor) {
        let parts: Vec<ImageBatch> = (0..images.num_parts()).map(|index| images.part(index).unwrap()).collect();
        let all = |field: fn(&ImageBatch) -> &Tensor| Tensor::cat(&parts.iter().map(field).collect::<Vec<_>>(), 0);
        (all(|part| &part.images), all(|part| &part.labels))
    }

    #[test]
    fn parts_of_every_step_are_the_images_of_the_whole_step() {
        let (mut whole, mut in_parts) = (batches(1), batches(3));
        for _ in 0..5 {
            let (images, labels) = all_parts(&mut next(&mut whole));
            let mut parts = next(&mut in_parts);
            assert_eq!(parts.num_parts(), 3);
            let (part_images, part_labels) = all_parts(&mut parts);
            assert_eq!(images.size(), [12, 3, 32, 32]);
            assert!(images.equal(&part_images) && labels.equal(&part_labels));
        }
    }

    #[test]
    fn parts_come_once_and_in_order_unless_they_are_kept() {
        let mut batches = batches(3);
        let mut images = next(&mut batches);
        assert!(images.part(1).is_err());
        assert!(images.part(0).is_ok() && images.part(0).is_err());
        assert!(images.part(1).is_ok() && images.part(2).is_ok() && images.part(3).is_err());
        let mut images = next(&mut batches);
        images.keep().unwrap();
        let (first, _) = all_parts(&mut images);
        assert!(first.equal(&all_parts(&mut images).0));
    }
}
