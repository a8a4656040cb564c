//! Which image goes into which shard: a function of the images alone, so that any number of ranks and threads, and calls
//! that go on where others were killed, write the same bytes.

use std::num::NonZeroUsize;
use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::PackOptions;
use crate::data::shards::split_name;
use crate::data::{DataError, Images, Source, Split, parallel};

/// Of the order of images in shards; part of what a pack yields.
const SEED: u64 = 0x7064_6172_7473;

/// The shards of one part of a data set.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Numbers of images, shard by shard.
    pub order: Vec<u32>,
    /// Where each shard begins in `order`, and the end.
    bounds: Vec<usize>,
    /// SHA-256 of images, options and order.
    pub digest: [u8; 32],
    /// Of each shard SHA-256 of its images and the options: what its bytes follow from.
    shard_digests: Vec<[u8; 32]>,
}

impl Plan {
    /// Shuffles `images` and cuts them into shards of `options.shard_bytes` of their present sizes.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn new(images: &Images, split: Split, options: &PackOptions) -> Result<Self, DataError> {
        let threads: NonZeroUsize = parallel::readers();
        let mut order: Vec<u32> = (0..images.len() as u32).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
        // In batches, for one size is too little work to hand over.
        const BATCH: usize = 4096;
        let sizes = parallel::map(images.len().div_ceil(BATCH), threads, |batch| {
            let end = ((batch + 1) * BATCH).min(images.len());
            (batch * BATCH..end).map(|index| images.file_bytes(index as u32)).collect::<Vec<_>>()
        })?;
        let sizes = sizes.concat();
        let mut hasher = Sha256::new();
        hasher.update(split_name(split));
        hasher.update(images.fingerprint());
        hasher.update(format!("{:?} {} {}", options.max_side, options.quality, options.shard_bytes));
        let (mut bounds, mut bytes) = (vec![0], 0);
        for (position, &index) in order.iter().enumerate() {
            let size = sizes[index as usize];
            hasher.update(index.to_le_bytes());
            hasher.update(size.to_le_bytes());
            if bytes > 0 && bytes + size > options.shard_bytes {
                bounds.push(position);
                bytes = 0;
            }
            bytes += size;
        }
        bounds.push(order.len());
        let mut plan = Self { order, bounds, digest: hasher.finalize().into(), shard_digests: Vec::new() };
        // To read names in tar files takes a call for each; what others packed is the same as a whole or not at all.
        let whole = matches!(images, Images::Shards(_)).then(|| images.fingerprint());
        plan.shard_digests = parallel::map(plan.len(), threads, |number| {
            let mut hasher = Sha256::new();
            hasher.update(split_name(split));
            hasher.update(format!("{:?} {}", options.max_side, options.quality));
            if let Some(whole) = &whole {
                hasher.update(whole);
            }
            for &index in plan.shard(number) {
                hasher.update(index.to_le_bytes());
                hasher.update(images.label(index).unwrap_or_default().to_le_bytes());
                hasher.update(sizes[index as usize].to_le_bytes());
                if whole.is_none() {
                    hasher.update(images.file_name(index));
                    hasher.update([0]);
                }
            }
            hasher.finalize().into()
        })?;
        Ok(plan)
    }

    /// SHA-256 of what shard `number` is made of and how.
    pub fn shard_digest(&self, number: usize) -> [u8; 32] {
        self.shard_digests[number]
    }

    /// Number of shards.
    pub fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Numbers of the images of a shard, in order.
    pub fn shard(&self, number: usize) -> &[u32] {
        let range: Range<usize> = self.bounds[number]..self.bounds[number + 1];
        &self.order[range]
    }
}
