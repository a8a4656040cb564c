//! Transforms: from a stored image to the bytes that a network sees. One file a transform.

mod centre_crop;
mod colour_jitter;
mod decode;
mod flip;
mod jpeg;
mod random_resized_crop;
mod resize;
mod workspace;

pub use centre_crop::CentreCrop;
pub use colour_jitter::{ColourChange, ColourJitter};
pub use decode::{Decoded, ImageDecoder, ImageError, MAX_PIXELS, Picture};
pub use flip::flip;
pub use jpeg::{Area, JpegDecoder, JpegError, Shrink};
pub use random_resized_crop::RandomResizedCrop;
pub use resize::Filter;
pub use workspace::Workspace;
