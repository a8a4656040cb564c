//! How many images go where: to train the weights, and to train the alphas or to validate on. Plans count by the same rules as
//! runs.

use std::ops::Range;

/// Splits `num_samples` training images into those that train the weights and those that are left to train the
/// architecture or to validate on: the first `floor(fraction * num_samples)` and the rest, as in the authors' code.
pub fn train_valid_split(num_samples: usize, fraction: f64) -> (Range<u32>, Range<u32>) {
    let end = num_samples as u32;
    let middle = ((fraction * num_samples as f64).floor() as u32).min(end);
    (0..middle, middle..end)
}

/// [`train_valid_split`], of whose second part only `rest_fraction` of all samples are used, unless that is 0.
pub fn search_split(num_samples: usize, fraction: f64, rest_fraction: f64) -> (Range<u32>, Range<u32>) {
    let (first, rest) = train_valid_split(num_samples, fraction);
    let used = match rest_fraction {
        0.0 => rest.len(),
        fraction => train_valid_split(num_samples, fraction).0.len().min(rest.len()),
    };
    (first, rest.start..rest.start + used as u32)
}

/// Images of both parts of [`search_split`], taken class by class from classes of `class_sizes`.
pub fn balanced_sizes(class_sizes: impl IntoIterator<Item = usize>, fractions: [f64; 2]) -> [usize; 2] {
    let parts = class_sizes.into_iter().map(|size| search_split(size, fractions[0], fractions[1]));
    parts.fold([0, 0], |[first, second], (of_first, of_second)| [first + of_first.len(), second + of_second.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_is_the_first_part_and_the_rest() {
        assert_eq!(train_valid_split(50_000, 0.5), (0..25_000, 25_000..50_000));
        assert_eq!(train_valid_split(11, 0.5), (0..5, 5..11));
        assert_eq!(train_valid_split(10, 1.0), (0..10, 10..10));
        assert_eq!(search_split(11, 0.5, 0.0), (0..5, 5..11));
        assert_eq!(search_split(1000, 0.1, 0.025), (0..100, 100..125));
        assert_eq!(search_split(11, 0.5, 0.5), (0..5, 5..10));
    }

    #[test]
    fn shares_of_classes_are_rounded_one_by_one() {
        assert_eq!(balanced_sizes([11, 11, 11], [0.5, 0.0]), [15, 18]);
        assert_eq!(balanced_sizes([11, 11, 11], [0.5, 0.5]), [15, 15]);
        assert_eq!(balanced_sizes([33], [0.5, 0.0]), [16, 17]);
    }
}
