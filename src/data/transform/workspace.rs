//! What one thread keeps from image to image, so that no image takes new memory.

use fast_image_resize::Resizer;

use super::decode::{ImageDecoder, ImageError, Picture};

/// A decoder and a resizer with their buffers.
#[derive(Default)]
pub struct Workspace {
    pub(super) decoder: ImageDecoder,
    pub(super) resizer: Resizer,
}

impl Workspace {
    /// Looks at the header of an image file.
    ///
    /// # Errors
    /// When it is no image that can be decoded, as far as its header tells.
    pub fn open<'a>(&mut self, file: &'a [u8]) -> Result<Picture<'a>, ImageError> {
        self.decoder.open(file)
    }
}
