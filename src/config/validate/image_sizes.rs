//! Relations between the sizes of a training's images.

use super::require;
use crate::config::{ImageSizeSection, Violation};

/// Checks the `sizes` of a training of `epochs`.
pub(super) fn validate_image_sizes(sizes: &[ImageSizeSection], epochs: usize) -> Result<(), Violation> {
    let key = |index: usize, name: &str| format!("train.image_sizes.{index}.{name}");
    let mut least = 0;
    for (index, &ImageSizeSection { epoch, size }) in sizes.iter().enumerate() {
        require(index > 0 || epoch == 0, key(index, "epoch"), || {
            format!("the first size holds from the start of the training; state 0, not {epoch}")
        })?;
        require(epoch >= least && epoch < epochs, key(index, "epoch"), || {
            format!("{epoch} does not follow the size before it; state {least} to {}", epochs - 1)
        })?;
        require(size >= 1, key(index, "size"), || "an image has pixels; state its side".to_owned())?;
        least = epoch + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sizes: &[(usize, usize)]) -> Result<(), String> {
        let sizes: Vec<_> = sizes.iter().map(|&(epoch, size)| ImageSizeSection { epoch, size }).collect();
        validate_image_sizes(&sizes, 20).map_err(|violation| violation.to_string())
    }

    #[test]
    fn sizes_begin_at_the_start_and_follow_each_other() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[(0, 128), (5, 160), (19, 224)]), Ok(()));
        let refused = [
            (
                check(&[(1, 128)]),
                "train.image_sizes.0.epoch: the first size holds from the start of the training; state 0, not 1",
            ),
            (
                check(&[(0, 128), (0, 160)]),
                "train.image_sizes.1.epoch: 0 does not follow the size before it; state 1 to 19",
            ),
            (
                check(&[(0, 128), (20, 160)]),
                "train.image_sizes.1.epoch: 20 does not follow the size before it; state 1 to 19",
            ),
            (check(&[(0, 0)]), "train.image_sizes.0.size: an image has pixels; state its side"),
        ];
        for (outcome, expected) in refused {
            assert_eq!(outcome.unwrap_err(), expected);
        }
    }
}
