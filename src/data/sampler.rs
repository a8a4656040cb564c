//! Which images make up each training or evaluation step, on each rank.
//!
//! A pure function of (seed, epoch, step, global batch): the batch of a step is cut from the order of the epoch, and
//! each rank takes its slice of it. The slices of all ranks, put one after the other, are the batch of a single rank.

use std::ops::Range;

use rand::seq::SliceRandom;

use super::{
    DataError,
    random::{Stream, generator},
};

/// This process's place among the ranks that share each batch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RankShare {
    /// Number of this rank, below `size`.
    pub rank: usize,
    /// Number of ranks, at least 1.
    pub size: usize,
}

impl RankShare {
    /// A single rank that takes whole batches.
    pub const WHOLE: RankShare = RankShare { rank: 0, size: 1 };
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Order {
    Shuffled { seed: u64, stream: Stream },
    Sequential,
}

/// Cuts a range of images into the batches of each step and takes one rank's slice of them.
#[derive(Clone, Debug)]
pub struct Sampler {
    samples: Range<u32>,
    global_batch: usize,
    order: Order,
    rank_share: RankShare,
    parts: usize,
}

impl Sampler {
    /// For training: a new order in each epoch, drawn from `seed`, `stream` and the epoch; what is left over after the
    /// last whole batch is dropped, so that all steps are alike.
    ///
    /// # Errors
    /// If a batch would be larger than `samples`, or leave a rank without an image.
    pub fn shuffled(
        samples: Range<u32>,
        global_batch: usize,
        seed: u64,
        stream: Stream,
        rank_share: RankShare,
    ) -> Result<Sampler, DataError> {
        if global_batch > samples.len() {
            return Err(DataError::BatchTooLarge { global_batch, num_samples: samples.len() });
        }
        if global_batch < rank_share.size {
            return Err(DataError::BatchTooSmall { global_batch, size: rank_share.size });
        }
        Ok(Sampler { samples, global_batch, order: Order::Shuffled { seed, stream }, rank_share, parts: 1 })
    }

    /// For evaluation: all images in their own order, each exactly once over all ranks. The last batch may be smaller.
    ///
    /// # Errors
    /// If there are no images, or a batch would leave a rank without one.
    pub fn sequential(samples: Range<u32>, global_batch: usize, rank_share: RankShare) -> Result<Sampler, DataError> {
        if samples.is_empty() {
            return Err(DataError::NoSamples);
        }
        if global_batch < rank_share.size {
            return Err(DataError::BatchTooSmall { global_batch, size: rank_share.size });
        }
        Ok(Sampler { samples, global_batch, order: Order::Sequential, rank_share, parts: 1 })
    }

    /// Cuts each batch into `parts` that are computed one after the other, of each of which every rank takes its slice:
    /// a part holds the same images for any number of ranks.
    pub fn in_parts(self, parts: usize) -> Sampler {
        Sampler { parts: parts.max(1), ..self }
    }

    /// Parts of each step.
    pub fn num_parts(&self) -> usize {
        self.parts
    }

    /// This rank's place.
    pub fn rank_share(&self) -> RankShare {
        self.rank_share
    }

    /// Images of all ranks.
    pub fn num_images(&self) -> usize {
        self.samples.len()
    }

    /// Steps in one pass over the images.
    pub fn num_steps(&self) -> usize {
        match self.order {
            Order::Shuffled { .. } => self.samples.len() / self.global_batch,
            Order::Sequential => self.samples.len().div_ceil(self.global_batch),
        }
    }

    /// This rank's image numbers for each part of each of `steps` of an epoch, in order.
    ///
    /// Steps past [`num_steps`](Self::num_steps) begin another pass in a new order: the architecture's images may be
    /// fewer than the steps of the weights' epoch. If the last batch of an evaluation has fewer images than there are
    /// ranks, the ranks that get none see one step less.
    pub fn batches(&self, epoch: u64, steps: Range<usize>) -> impl Iterator<Item = Vec<u32>> {
        let mut order = Vec::new();
        let mut order_pass = None;
        steps
            .flat_map(move |step| {
                let pass = step / self.num_steps();
                if order_pass != Some(pass) {
                    order = self.pass_order(epoch, pass);
                    order_pass = Some(pass);
                }
                self.slices(&order, step % self.num_steps())
            })
            .filter(|batch| !batch.is_empty())
    }

    fn pass_order(&self, epoch: u64, pass: usize) -> Vec<u32> {
        let mut order: Vec<u32> = self.samples.clone().collect();
        if let Order::Shuffled { seed, stream } = self.order {
            order.shuffle(&mut generator(seed, stream, epoch, pass as u64));
        }
        order
    }

    /// What of a pass belongs to one step and this rank, part by part. Slices differ by at most one image where the
    /// ranks do not divide a part.
    fn slices(&self, order: &[u32], step: usize) -> Vec<Vec<u32>> {
        let start = step * self.global_batch;
        let end = (start + self.global_batch).min(order.len());
        let batch = &order[start..end];
        let RankShare { rank, size } = self.rank_share;
        let parts = (0..self.parts).map(|part| &batch[share(batch.len(), part, self.parts)]);
        parts.map(|part| part[share(part.len(), rank, size)].to_vec()).collect()
    }
}

/// The range of share `index` of `count` nearly equal ones of `len`.
fn share(len: usize, index: usize, count: usize) -> Range<usize> {
    len * index / count..len * (index + 1) / count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: u64 = 7;

    fn shuffled(samples: Range<u32>, global_batch: usize, stream: Stream, rank_share: RankShare) -> Sampler {
        Sampler::shuffled(samples, global_batch, SEED, stream, rank_share).unwrap()
    }

    fn epoch(sampler: &Sampler, epoch: u64) -> Vec<Vec<u32>> {
        sampler.batches(epoch, 0..sampler.num_steps()).collect()
    }

    fn sorted(batches: Vec<Vec<u32>>) -> Vec<u32> {
        let mut indices = batches.concat();
        indices.sort_unstable();
        indices
    }

    proptest! {
        #[test]
        fn sampler_covers_every_index_once(start in 0u32..50, steps in 1u32..20, batch in 1u32..20, e in 0u64..100) {
            let samples = start..start + steps * batch;
            let sampler = shuffled(samples.clone(), batch as usize, Stream::Weights, RankShare::WHOLE);
            prop_assert_eq!(sorted(epoch(&sampler, e)), samples.collect::<Vec<_>>());
        }

        #[test]
        fn rank_slices_concatenate_to_the_batch_of_one_rank(n in 16u32..200, batch in 8usize..16, size in 1usize..=8) {
            let whole = epoch(&shuffled(0..n, batch, Stream::Weights, RankShare::WHOLE), 3);
            let ranks: Vec<_> = (0..size)
                .map(|rank| epoch(&shuffled(0..n, batch, Stream::Weights, RankShare { rank, size }), 3))
                .collect();
            for (step, batch) in whole.iter().enumerate() {
                let slices: Vec<u32> = ranks.iter().flat_map(|batches| batches[step].clone()).collect();
                prop_assert_eq!(&slices, batch);
            }
        }

        #[test]
        fn parts_hold_the_same_images_for_any_number_of_ranks(parts in 1usize..4, size in 1usize..5, each in 1usize..3) {
            let batch = parts * size * each;
            let sampler = |rank_share| shuffled(0..60, batch, Stream::Weights, rank_share).in_parts(parts);
            let whole = epoch(&sampler(RankShare::WHOLE), 1);
            let steps = epoch(&shuffled(0..60, batch, Stream::Weights, RankShare::WHOLE), 1);
            prop_assert_eq!(whole.len(), parts * steps.len());
            for (step, expected) in whole.chunks(parts).zip(steps) {
                prop_assert_eq!(step.concat(), expected);
            }
            let ranks: Vec<_> = (0..size).map(|rank| epoch(&sampler(RankShare { rank, size }), 1)).collect();
            for (part, expected) in whole.iter().enumerate() {
                prop_assert!(ranks.iter().all(|rank| rank[part].len() == each));
                prop_assert_eq!(&ranks.iter().flat_map(|rank| rank[part].clone()).collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn evaluation_counts_each_sample_once_over_ranks(n in 1u32..200, batch in 8usize..40, size in 1usize..=8) {
            let batches = (0..size)
                .flat_map(|rank| epoch(&Sampler::sequential(10..10 + n, batch, RankShare { rank, size }).unwrap(), 0));
            prop_assert_eq!(sorted(batches.collect()), (10..10 + n).collect::<Vec<_>>());
        }

        #[test]
        fn starting_at_a_step_equals_skipping_the_steps_before(n in 10u32..60, batch in 1usize..10, first in 0usize..40) {
            let sampler = shuffled(0..n, batch, Stream::Alphas, RankShare::WHOLE);
            let resumed: Vec<_> = sampler.batches(2, first..50).collect();
            let skipped: Vec<_> = sampler.batches(2, 0..50).skip(first).collect();
            prop_assert_eq!(resumed, skipped);
        }
    }

    #[test]
    fn training_drops_what_is_left_after_the_last_whole_batch() {
        let sampler = shuffled(0..10, 4, Stream::Weights, RankShare::WHOLE);
        assert_eq!(epoch(&sampler, 0).iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
    }

    #[test]
    fn order_differs_between_epochs_and_between_streams() {
        let weights = shuffled(0..100, 10, Stream::Weights, RankShare::WHOLE);
        let alphas = shuffled(0..100, 10, Stream::Alphas, RankShare::WHOLE);
        assert_ne!(epoch(&weights, 0), epoch(&weights, 1));
        assert_ne!(epoch(&weights, 0), epoch(&alphas, 0));
        assert_eq!(epoch(&weights, 5), epoch(&weights, 5));
    }

    #[test]
    fn steps_past_the_last_one_begin_another_pass_in_a_new_order() {
        let sampler = shuffled(0..20, 5, Stream::Alphas, RankShare::WHOLE);
        let batches: Vec<_> = sampler.batches(0, 0..8).collect();
        assert_eq!(sorted(batches[..4].to_vec()), (0..20).collect::<Vec<_>>());
        assert_eq!(sorted(batches[4..].to_vec()), (0..20).collect::<Vec<_>>());
        assert_ne!(batches[..4], batches[4..]);
    }

    #[test]
    fn evaluation_keeps_the_order_and_the_last_partial_batch() {
        let sampler = Sampler::sequential(5..12, 3, RankShare::WHOLE).unwrap();
        assert_eq!(epoch(&sampler, 9), [vec![5, 6, 7], vec![8, 9, 10], vec![11]]);
    }

    #[test]
    fn impossible_batches_are_refused() {
        let refused = |batch, size| {
            Sampler::shuffled(0..10, batch, 0, Stream::Weights, RankShare { rank: 0, size }).unwrap_err().to_string()
        };
        assert_eq!(refused(11, 1), "a global batch of 11 is larger than the 10 images it is drawn from");
        assert!(refused(3, 4).starts_with("a global batch of 3 is smaller than the number of ranks (4)"));
        assert!(refused(0, 1).starts_with("a global batch of 0 is smaller than the number of ranks (1)"));
        assert!(matches!(Sampler::sequential(4..4, 2, RankShare::WHOLE), Err(DataError::NoSamples)));
    }
}
