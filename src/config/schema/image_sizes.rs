//! Images that grow during a training: small ones at first are faster and regularise.
//!
//! Source: Touvron et al., *Fixing the train-test resolution discrepancy* (arXiv:1906.06423); Tan and Le,
//! *EfficientNetV2* (arXiv:2104.00298), section 4.

use serde::{Deserialize, Serialize};

/// The side of training images from an epoch on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSizeSection {
    /// From 0.
    pub epoch: usize,
    /// Pixels.
    pub size: usize,
}

/// The side of training images in `epoch`, from 0, in pixels: that of the last of `sizes`, whose epochs ascend, that has
/// begun. `None` where none has: images then have the data set's size.
pub fn image_size_at(sizes: &[ImageSizeSection], epoch: usize) -> Option<usize> {
    sizes.iter().take_while(|from| from.epoch <= epoch).last().map(|from| from.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_holds_from_its_epoch_to_the_next() {
        let sizes = [(0, 128), (10, 160), (11, 224)].map(|(epoch, size)| ImageSizeSection { epoch, size });
        let found = [0, 9, 10, 11, 12, 1000].map(|epoch| image_size_at(&sizes, epoch));
        assert_eq!(found, [Some(128), Some(128), Some(160), Some(224), Some(224), Some(224)]);
    }

    #[test]
    fn without_sizes_the_data_decides() {
        assert_eq!(image_size_at(&[], 7), None);
        assert_eq!(image_size_at(&[ImageSizeSection { epoch: 3, size: 64 }], 2), None);
    }
}
