//! Batches for the trainer, prepared ahead on threads.
//!
//! A batch is made in chunks of about a megabyte, so that several threads work on a large one; each chunk has its own
//! buffer, in which it stays until the batch is copied to the device. A chunk's place among the threads follows from its
//! number, so batches are the same for any number of threads.
//!
//! Where all images lie on the device already, a batch is windows on them, of the same draws, and no pixels.

use std::iter::FusedIterator;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffer_pool::{Buffer, BufferPool};
use super::digest::image_digest;
use super::prefetch::{Prefetch, QUEUE_LENGTH};
use super::transform::{Draw, Rectangle, SameSize, Scratch, Transform, UnreadableImage, Window};
use super::{BadImagePolicy, BadImages, CHANNELS, Colours, DataError, RankShare, Sampler, Source};

/// Bytes of pixels that one thread prepares at a time; one image if it is larger.
const CHUNK_BYTES: usize = 1 << 20;

/// Batches that are prepared ahead, where the threads' own queues hold less.
const BATCHES_AHEAD: usize = 2;

/// Images of one rank that go through the network together: bytes, or which of the source's, and what is needed to
/// normalise them.
#[derive(Debug)]
pub struct Batch {
    chunks: Vec<Chunk>,
    indices: Vec<u32>,
    labels: Vec<i64>,
    windows: Vec<Window>,
    source: Option<Arc<dyn Source>>,
    side: usize,
    colours: Colours,
    digest: u64,
}

/// What one thread makes at a time.
#[derive(Debug)]
struct Chunk {
    indices: Vec<u32>,
    /// `[n, side, side, 3]`
    pixels: Buffer,
    labels: Vec<i64>,
    windows: Vec<Window>,
    digest: u64,
}

/// Images of a chunk to be made.
struct Job {
    indices: Vec<u32>,
    /// Place of the first among those of the epoch on all ranks.
    position: u64,
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

    /// The images' numbers in their source `[N]`.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Height and width of each image in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The bytes `[N, side, side, 3]` in pieces, which follow each other; none where there is a [`Batch::source`].
    pub fn pixels(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| &*chunk.pixels)
    }

    /// Classes `[N]`.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// What a network sees of each image.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Whose [`Source::pixels`] the windows are on, by [`Batch::indices`]; else they are on the batch's own.
    pub fn source(&self) -> Option<&dyn Source> {
        self.source.as_deref()
    }

    /// What the images are to be normalised with.
    pub fn colours(&self) -> Colours {
        self.colours
    }

    /// What tells these images in their order from others; wrapping sums over the parts and ranks of a batch are those of
    /// the whole. 0 unless [`Loader::with_digests`].
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

/// Makes the batches of any epoch from a source, a sampler and a transform.
pub struct Loader {
    source: Arc<dyn Source>,
    sampler: Sampler,
    transform: Arc<dyn Transform>,
    num_threads: NonZeroUsize,
    bad_images: Arc<BadImages>,
    digests: bool,
    windows: bool,
    colours: Colours,
    pool: Arc<BufferPool>,
}

impl Loader {
    /// A loader that works on `num_threads` threads; their number changes the speed and nothing else.
    pub fn new(
        source: Arc<dyn Source>,
        sampler: Sampler,
        transform: Arc<dyn Transform>,
        num_threads: NonZeroUsize,
    ) -> Loader {
        let bad_images = Arc::new(BadImages::new(BadImagePolicy::Error));
        let (digests, windows, colours) = (false, false, source.colours());
        Loader { source, sampler, transform, num_threads, bad_images, digests, windows, colours, pool: Arc::default() }
    }

    /// Says what the images are to be normalised with, where that is not [`Source::colours`].
    pub fn with_colours(self, colours: Colours) -> Loader {
        Loader { colours, ..self }
    }

    /// Does about bad images what `bad_images` says, which several loaders may share; without this the first one is an
    /// error.
    pub fn with_bad_images(self, bad_images: Arc<BadImages>) -> Loader {
        Loader { bad_images, ..self }
    }

    /// Says whether batches have a [`Batch::digest`], which the threads compute.
    pub fn with_digests(self, digests: bool) -> Loader {
        Loader { digests, ..self }
    }

    /// Says whether batches are windows on the [`Batch::source`], where they can be: its images are in memory, nothing but
    /// windows is made of them, and no digest is computed of their pixels.
    pub fn with_windows(self, windows: bool) -> Loader {
        Loader { windows, ..self }
    }

    /// What draws windows, where batches are such.
    fn windows(&self) -> Option<SameSize> {
        let transform = self.transform.windows().filter(|_| self.windows && !self.digests)?;
        let side = self.source.pixels().and_then(|_| self.source.side())?;
        (side == transform.side()).then_some(transform)
    }

    /// Images in one pass, over all ranks.
    pub fn num_images(&self) -> usize {
        self.sampler.num_images()
    }

    /// Steps in one pass over the sampler's images.
    pub fn num_steps(&self) -> usize {
        self.sampler.num_steps()
    }

    /// Starts the threads on `steps` of an epoch, counted over the whole run; the parts of a step are batches of their own,
    /// one after the other.
    ///
    /// `0..num_steps()` is one pass; a resumed epoch starts later, and steps past the end begin further passes.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn batches(&self, epoch: u64, steps: Range<usize>) -> Result<Batches, DataError> {
        let (side, windows) = (self.transform.side(), self.windows());
        let chunk_images = (CHUNK_BYTES / (side * side * CHANNELS)).max(1);
        let (mut jobs, mut num_chunks) = (Vec::new(), Vec::new());
        let RankShare { rank, size } = self.sampler.rank_share();
        let first = steps.start * self.sampler.num_parts();
        for (number, batch) in (first..).zip(self.sampler.batches(epoch, steps)) {
            let chunks = batch.len().div_ceil(chunk_images);
            let before = jobs.len();
            // The slices of all ranks follow each other; in training all have the same length.
            let mut position = ((number * size + rank) * batch.len()) as u64;
            for indices in batch.chunks(batch.len().div_ceil(chunks)) {
                jobs.push(Job { indices: indices.to_vec(), position });
                position += indices.len() as u64;
            }
            num_chunks.push(jobs.len() - before);
        }
        let largest = num_chunks.iter().max().copied().unwrap_or(0);
        let queue_length = (BATCHES_AHEAD * largest).div_ceil(self.num_threads.get()).max(QUEUE_LENGTH);
        let chunks = Prefetch::with_workers(jobs, self.num_threads, queue_length, || {
            let mut worker = Worker {
                source: Arc::clone(&self.source),
                transform: Arc::clone(&self.transform),
                bad_images: Arc::clone(&self.bad_images),
                pool: Arc::clone(&self.pool),
                epoch,
                digests: self.digests,
                windows,
                encoded: Vec::new(),
                scratch: Scratch::default(),
            };
            move |job: Job| worker.chunk(job)
        })?;
        Ok(Batches {
            chunks,
            num_chunks: num_chunks.into_iter(),
            parts_per_step: self.sampler.num_parts(),
            side,
            colours: self.colours,
            source: windows.map(|_| Arc::clone(&self.source)),
            waited: Duration::ZERO,
        })
    }
}

/// One thread's tools.
struct Worker {
    source: Arc<dyn Source>,
    transform: Arc<dyn Transform>,
    bad_images: Arc<BadImages>,
    pool: Arc<BufferPool>,
    epoch: u64,
    digests: bool,
    /// What draws windows, where these are all that is made.
    windows: Option<SameSize>,
    /// What the source reads into.
    encoded: Vec<u8>,
    scratch: Scratch,
}

impl Worker {
    fn chunk(&mut self, Job { indices, position }: Job) -> Result<Chunk, DataError> {
        let label = |&index: &u32| {
            let label = self.source.label(index).map(i64::from);
            label.ok_or(DataError::SampleOutOfRange { index, len: self.source.len() })
        };
        let labels = indices.iter().map(label).collect::<Result<Vec<_>, _>>()?;
        if let Some(transform) = self.windows {
            let window = |&index: &u32| transform.window(Draw { epoch: self.epoch, index });
            let windows = indices.iter().map(window).collect();
            return Ok(Chunk { indices, pixels: self.pool.take(0), labels, windows, digest: 0 });
        }
        let side = self.transform.side();
        let image_bytes = side * side * CHANNELS;
        let mut pixels = self.pool.take(indices.len() * image_bytes);
        let mut windows = Vec::with_capacity(indices.len());
        for (&index, out) in indices.iter().zip(pixels.chunks_exact_mut(image_bytes)) {
            windows.push(Window { erased: self.image(index, out)?, ..Window::default() });
        }
        let mut digest = 0u64;
        if self.digests {
            let images = pixels.chunks_exact(image_bytes).zip(&labels).zip(&windows);
            for (position, ((pixels, &label), window)) in (position..).zip(images) {
                digest = digest.wrapping_add(image_digest(position, label, pixels, &window.erased));
            }
        }
        Ok(Chunk { indices, pixels, labels, windows, digest })
    }

    fn image(&mut self, index: u32, out: &mut [u8]) -> Result<Rectangle, DataError> {
        let Self { source, transform, epoch, encoded, scratch, .. } = self;
        let draw = Draw { epoch: *epoch, index };
        // Where another image takes its place, the draw stays that of the place.
        let make = |index| {
            let stored = source.read(index, encoded)?;
            transform
                .apply(stored, draw, scratch, out)
                .map_err(|UnreadableImage(reason)| DataError::image(source.location(index), reason))
        };
        Ok(self.bad_images.replacing(&**source, index, make)?.0)
    }
}

/// Batches in order. A failure on a thread is the last item; dropping this stops the threads.
pub struct Batches {
    chunks: Prefetch<Chunk>,
    /// Of each batch that is left.
    num_chunks: std::vec::IntoIter<usize>,
    parts_per_step: usize,
    side: usize,
    colours: Colours,
    source: Option<Arc<dyn Source>>,
    waited: Duration,
}

impl Batches {
    /// Batches that make up a step.
    pub fn parts_per_step(&self) -> usize {
        self.parts_per_step
    }

    /// How long [`next`](Iterator::next) has kept its caller waiting so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn assemble(&mut self, num_chunks: usize) -> Result<Batch, DataError> {
        let chunks = self.chunks.by_ref().take(num_chunks).collect::<Result<Vec<_>, _>>()?;
        Ok(Batch {
            indices: chunks.iter().flat_map(|chunk| &chunk.indices).copied().collect(),
            labels: chunks.iter().flat_map(|chunk| &chunk.labels).copied().collect(),
            windows: chunks.iter().flat_map(|chunk| &chunk.windows).copied().collect(),
            source: self.source.clone(),
            side: self.side,
            colours: self.colours,
            digest: chunks.iter().fold(0, |sum, chunk| sum.wrapping_add(chunk.digest)),
            chunks,
        })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let num_chunks = self.num_chunks.next()?;
        let start = Instant::now();
        let batch = self.assemble(num_chunks);
        self.waited += start.elapsed();
        if batch.is_err() {
            self.num_chunks = Vec::new().into_iter();
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Fewer if one fails.
        (0, Some(self.num_chunks.len()))
    }
}

impl FusedIterator for Batches {}

#[cfg(test)]
mod tests;
