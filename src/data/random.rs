//! Where the randomness of the data comes from.
//!
//! There is no generator state that lives from step to step. Each random decision has its own generator, ChaCha8 with
//! the 32-byte key `seed | stream | epoch | index`, four little-endian `u64`. Two decisions never share a key, a
//! decision never depends on how many were made before it, and nothing has to be saved to resume.
//!
//! | stream | value | `index` | what is drawn |
//! |---|---|---|---|
//! | [`Stream::Weights`] | 0 | pass over the images within the epoch | order of the images the weights train on |
//! | [`Stream::Alphas`] | 1 | the same | order of the images the architecture trains on |
//! | [`Stream::Augmentation`] | 2 | number of the image in the data set | crop, flip and cutout of that image |
//! | [`Stream::Policy`] | 3 | the same | colour and shape operations on that image |
//! | [`Stream::Split`] | 4 | 0 | which images of a set that is stored class by class train and which validate |
//! | | | 1 | which images of each class train weights and which alphas |

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a generator is for. The values are part of every run's result and must not change.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Order of the images that train the weights.
    Weights = 0,
    /// Order of the images that train the architecture parameters.
    Alphas = 1,
    /// Augmentation of one image.
    Augmentation = 2,
    /// Colour and shape operations on one image.
    Policy = 3,
    /// Which images train and which validate.
    Split = 4,
}

/// The generator of one decision; see the table above for what `index` counts.
pub(super) fn generator(seed: u64, stream: Stream, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, stream as u64, epoch, index]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::RngCore;

    use super::*;

    #[test]
    fn every_part_of_the_key_changes_the_stream() {
        let mut firsts = HashSet::new();
        for (seed, epoch, index) in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1 << 40, 0, 0)] {
            for stream in [Stream::Weights, Stream::Alphas, Stream::Augmentation, Stream::Policy] {
                firsts.insert(generator(seed, stream, epoch, index).next_u64());
            }
        }
        assert_eq!(firsts.len(), 20);
    }
}
