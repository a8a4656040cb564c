//! The embedded data set: handwritten digits blended on photographs, in CIFAR-10's binary layout.
//!
//! It ships inside the program, so that a search runs on real images without any download. `data/photodigits/README.md`
//! says where the images come from.

use std::path::Path;

use super::{Colours, DataError, IMAGE_SIDE, MemorySource, Split, cifar_binary};

const TRAIN: &[u8] = include_bytes!("../../data/photodigits/train.bin");
const TEST: &[u8] = include_bytes!("../../data/photodigits/test.bin");
const NUM_TRAIN: usize = 2_200;
const NUM_TEST: usize = 500;

static CLASS_NAMES: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

// Of the 2,200 training images.
pub(super) const COLOURS: Colours =
    Colours { mean: [0.549_282_5, 0.392_097_34, 0.321_248_13], std: [0.258_042_57, 0.240_894_27, 0.256_508_5] };

pub(super) fn load(split: Split) -> Result<MemorySource, DataError> {
    let (bytes, path, num_records) = match split {
        Split::Train => (TRAIN, "photodigits/train.bin (embedded)", NUM_TRAIN),
        Split::Test => (TEST, "photodigits/test.bin (embedded)", NUM_TEST),
    };
    let mut dataset = MemorySource::new(&CLASS_NAMES, IMAGE_SIDE, COLOURS);
    cifar_binary::append(&mut dataset, bytes, Path::new(path), num_records, 1)?;
    Ok(dataset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{CHANNELS, Source};

    #[test]
    fn embedded_sets_are_whole_and_balanced() {
        for (split, per_class) in [(Split::Train, 220), (Split::Test, 50)] {
            let dataset = load(split).unwrap();
            for class in 0..10 {
                assert_eq!((0..dataset.len() as u32).filter(|&i| dataset.label(i) == Some(class)).count(), per_class);
            }
        }
    }

    #[test]
    fn colour_statistics_are_those_of_the_training_images() {
        let dataset = load(Split::Train).unwrap();
        assert_eq!(dataset.colours(), COLOURS);
        for channel in 0..CHANNELS {
            let values: Vec<f64> = (0..dataset.len() as u32)
                .flat_map(|i| dataset.image(i).unwrap().iter().skip(channel).step_by(CHANNELS))
                .map(|&byte| f64::from(byte) / 255.0)
                .collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((mean - f64::from(COLOURS.mean[channel])).abs() < 1e-6);
            assert!((variance.sqrt() - f64::from(COLOURS.std[channel])).abs() < 1e-6);
        }
    }
}
