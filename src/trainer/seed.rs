//! Random streams named by what they are for, so that nothing hangs on a generator's hidden state.

use sha2::{Digest, Sha256};

/// A seed for libtorch from the run's seed, the purpose of the stream and where in the run it is drawn.
///
/// Equal arguments give equal seeds; a run that resumes draws what it would have drawn.
pub fn derive_seed(run_seed: u64, purpose: &str, place: &[u64]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(run_seed.to_le_bytes());
    hash.update((purpose.len() as u64).to_le_bytes());
    hash.update(purpose);
    for part in place {
        hash.update(part.to_le_bytes());
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // libtorch's generator takes any non-negative number.
    i64::from_le_bytes(first) & i64::MAX
}

#[cfg(test)]
mod tests {
    use super::derive_seed;

    #[test]
    fn every_part_of_the_place_counts() {
        let seeds = [
            derive_seed(1, "dropout", &[0, 1, 2]),
            derive_seed(2, "dropout", &[0, 1, 2]),
            derive_seed(1, "weights", &[0, 1, 2]),
            derive_seed(1, "dropout", &[0, 2, 1]),
            derive_seed(1, "dropout", &[0, 1]),
        ];
        let mut distinct = seeds.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), seeds.len());
        assert_eq!(seeds[0], derive_seed(1, "dropout", &[0, 1, 2]));
    }
}
