//! What is made of a stored image before a network gets it: bytes of one size.
//!
//! One file a transform. [`TrainingView`] and [`CentreView`] take photos of any size, as files or pixels, by way of
//! `decode` and the crate `pdarts_jpeg`; [`SameSize`] takes what is decoded and of one size, of which it may be told without a pixel, as a
//! [`Window`]. They work on bytes; normalisation follows on the device, for a quarter of the memory and of the copies. What
//! has to be zero after normalisation travels with the batch as a [`Rectangle`].

mod centre_view;
mod colour_jitter;
mod cutout;
mod decode;
mod flip;
mod operation;
mod policy;
mod random_resized_crop;
mod resize;
mod same_size;
mod training_view;
mod window;

use fast_image_resize::Resizer;
pub use pdarts_jpeg::{Area, JpegError, Shrink};

use super::StoredImage;

pub use centre_view::CentreView;
pub use colour_jitter::{ColourChange, ColourJitter};
pub use decode::{Decoded, ImageDecoder, ImageError, MAX_PIXELS, Picture};
pub use policy::Policy;
pub use random_resized_crop::RandomResizedCrop;
pub use resize::Filter;
pub use same_size::{Augment, SameSize};
pub use training_view::TrainingView;
pub use window::Window;

/// Part of an image; the default is empty.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// Row past the last one.
    pub bottom: usize,
    /// First column.
    pub left: usize,
    /// Column past the last one.
    pub right: usize,
}

impl Rectangle {
    /// Whether no pixel is in it.
    pub fn is_empty(&self) -> bool {
        self.top >= self.bottom || self.left >= self.right
    }
}

/// Which of an image's random choices: another for each image in each epoch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Counted over the whole run, so that no two epochs are augmented alike.
    pub epoch: u64,
    /// The image's number in its source.
    pub index: u32,
}

/// An image that cannot be made into what a network gets; the loader says which image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableImage(pub String);

/// What a thread keeps from image to image, so that it need not allocate.
#[derive(Debug, Default)]
pub struct Scratch {
    decoder: ImageDecoder,
    resizer: Resizer,
}

impl From<ImageError> for UnreadableImage {
    fn from(error: ImageError) -> Self {
        Self(error.to_string())
    }
}

/// Makes images of one size out of stored ones.
pub trait Transform: Send + Sync {
    /// Height and width of what it makes, in pixels.
    fn side(&self) -> usize;

    /// Writes `[side, side, 3]` bytes to `out` and returns what is to be zero after normalisation.
    ///
    /// The random choices depend on the transform and on `draw` alone, so that threads and ranks may share the work in
    /// any way.
    ///
    /// # Errors
    /// When the image cannot be decoded or has a size that this transform does not take.
    fn apply(
        &self,
        image: StoredImage<'_>,
        draw: Draw,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<Rectangle, UnreadableImage>;

    /// This transform, if all that it does is to cut a window out of an image of its size.
    fn windows(&self) -> Option<SameSize> {
        None
    }
}

#[cfg(test)]
mod tests;
