//! A number that tells one batch from another, whichever ranks, parts and threads its images are spread over.
//!
//! It is a sum, wrapped to 64 bits, of a hash of each image with its place in the batch: sums of parts and ranks add up to
//! that of the whole, and images in another order have another sum.

use sha2::{Digest, Sha256};

use super::Rectangle;

/// The summand of an image at `position`, counted over the batches of an epoch on all ranks.
pub(super) fn image_digest(position: u64, label: i64, pixels: &[u8], erased: &Rectangle) -> u64 {
    let Rectangle { top, bottom, left, right } = *erased;
    let mut hash = Sha256::new();
    hash.update(position.to_le_bytes());
    hash.update(label.to_le_bytes());
    [top, bottom, left, right].iter().for_each(|edge| hash.update((*edge as u64).to_le_bytes()));
    hash.update(pixels);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first)
}
