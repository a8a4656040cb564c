//! Batches for the trainer, prepared ahead on threads.

use std::{iter::FusedIterator, num::NonZeroUsize, ops::Range, sync::Arc};

use super::{DataError, IMAGE_BYTES, IMAGE_SIDE, MemorySource, Sampler, Source, Transform, prefetch::Prefetch};

/// One rank's images of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Normalised pixels `[N, height, width, 3]`.
    pub pixels: Vec<f32>,
    /// Classes `[N]`.
    pub labels: Vec<i64>,
    /// Height of each image in pixels.
    pub height: usize,
    /// Width of each image in pixels.
    pub width: usize,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Makes the batches of any epoch from a data set, a sampler and a transform.
pub struct Loader {
    dataset: Arc<MemorySource>,
    sampler: Sampler,
    transform: Arc<Transform>,
    num_threads: NonZeroUsize,
}

impl Loader {
    /// A loader that works on `num_threads` threads; their number changes the speed and nothing else.
    pub fn new(
        dataset: Arc<MemorySource>,
        sampler: Sampler,
        transform: Transform,
        num_threads: NonZeroUsize,
    ) -> Loader {
        Loader { dataset, sampler, transform: Arc::new(transform), num_threads }
    }

    /// Steps in one pass over the sampler's images.
    pub fn num_steps(&self) -> usize {
        self.sampler.num_steps()
    }

    /// Starts the threads on `steps` of an epoch, counted over the whole run.
    ///
    /// `0..num_steps()` is one pass; a resumed epoch starts later, and steps past the end begin further passes.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn batches(&self, epoch: u64, steps: Range<usize>) -> Result<Batches, DataError> {
        let indices = self.sampler.batches(epoch, steps).collect();
        let dataset = Arc::clone(&self.dataset);
        let transform = Arc::clone(&self.transform);
        let prefetch = Prefetch::start(indices, self.num_threads, move |indices: Vec<u32>| {
            assemble(&dataset, &transform, epoch, &indices)
        })?;
        Ok(prefetch.into())
    }
}

/// Batches in order. A failure on a thread is the last item; dropping this stops the threads.
pub struct Batches(Prefetch<Batch>);

impl From<Prefetch<Batch>> for Batches {
    fn from(prefetch: Prefetch<Batch>) -> Self {
        Self(prefetch)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl FusedIterator for Batches {}

fn assemble(dataset: &MemorySource, transform: &Transform, epoch: u64, indices: &[u32]) -> Result<Batch, DataError> {
    let mut pixels = vec![0.0; indices.len() * IMAGE_BYTES];
    let mut labels = Vec::with_capacity(indices.len());
    for (&index, out) in indices.iter().zip(pixels.chunks_exact_mut(IMAGE_BYTES)) {
        let (image, label) = dataset
            .image(index)
            .zip(dataset.label(index))
            .ok_or(DataError::SampleOutOfRange { index, len: dataset.len() })?;
        transform.apply(image, epoch, index, out);
        labels.push(label.into());
    }
    Ok(Batch { pixels, labels, height: IMAGE_SIDE, width: IMAGE_SIDE })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::{Augment, DatasetKind, Shard, Split, Stream, load};

    const AUGMENT: Augment = Augment { crop_padding: 4, horizontal_flip: true, cutout: 16, policy: None };

    fn loader(shard: Shard, num_threads: usize) -> Loader {
        let dataset = Arc::new(load(DatasetKind::Photodigits, Path::new(""), Split::Train).unwrap());
        let sampler = Sampler::shuffled(0..100, 8, 5, Stream::Weights, shard).unwrap();
        let transform = Transform::new(&dataset, AUGMENT, 5);
        Loader::new(dataset, sampler, transform, NonZeroUsize::new(num_threads).unwrap())
    }

    fn batches(loader: &Loader, steps: Range<usize>) -> Vec<Batch> {
        loader.batches(2, steps).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_threads() {
        let one = batches(&loader(Shard::WHOLE, 1), 0..12);
        assert_eq!(one.len(), 12);
        for num_threads in [2, 3, 20] {
            assert!(batches(&loader(Shard::WHOLE, num_threads), 0..12) == one);
        }
    }

    #[test]
    fn starting_at_a_step_equals_skipping_the_batches_before() {
        let loader = loader(Shard::WHOLE, 2);
        assert!(batches(&loader, 7..15) == batches(&loader, 0..15)[7..]);
    }

    #[test]
    fn ranks_share_the_images_of_one_rank_pixel_by_pixel() {
        let whole = batches(&loader(Shard::WHOLE, 1), 0..3);
        let ranks: Vec<_> = (0..3).map(|rank| batches(&loader(Shard { rank, size: 3 }, 1), 0..3)).collect();
        for (step, batch) in whole.iter().enumerate() {
            assert_eq!(batch.len(), 8);
            assert!(batch.pixels == ranks.iter().flat_map(|r| r[step].pixels.clone()).collect::<Vec<_>>());
            assert!(batch.labels == ranks.iter().flat_map(|r| r[step].labels.clone()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn labels_belong_to_their_images() {
        let dataset = Arc::new(load(DatasetKind::Photodigits, Path::new(""), Split::Test).unwrap());
        let sampler = Sampler::sequential(0..500, 64, Shard::WHOLE).unwrap();
        let transform = Transform::new(&dataset, Augment::default(), 0);
        let loader = Loader::new(Arc::clone(&dataset), sampler, transform.clone(), NonZeroUsize::MIN);
        let mut index = 0;
        for batch in batches(&loader, 0..loader.num_steps()) {
            for (label, pixels) in batch.labels.iter().zip(batch.pixels.chunks(IMAGE_BYTES)) {
                let mut expected = vec![0.0; IMAGE_BYTES];
                transform.apply(dataset.image(index).unwrap(), 0, 0, &mut expected);
                assert!(pixels == expected && *label == i64::from(dataset.label(index).unwrap()));
                index += 1;
            }
        }
        assert_eq!(index, 500);
    }

    #[test]
    fn an_image_that_is_not_there_is_an_error() {
        let dataset = Arc::new(load(DatasetKind::Photodigits, Path::new(""), Split::Test).unwrap());
        let sampler = Sampler::sequential(498..502, 3, Shard::WHOLE).unwrap();
        let transform = Transform::new(&dataset, Augment::default(), 0);
        let loader = Loader::new(dataset, sampler, transform, NonZeroUsize::MIN);
        let error = loader.batches(0, 0..2).unwrap().find_map(Result::err).unwrap();
        assert_eq!(error.to_string(), "image 500 was asked for, but the data set has only 500");
    }
}
