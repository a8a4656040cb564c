//! Bytes of an image to what a network sees.

use super::CHANNELS;

/// The normalised value of each byte, by channel: `(byte / 255 - mean) / std`.
pub(super) type ByteTable = [[f32; 256]; CHANNELS];

/// The table for `mean` and `std` of bytes scaled to 0..1.
pub(super) fn byte_table(mean: [f32; CHANNELS], std: [f32; CHANNELS]) -> ByteTable {
    std::array::from_fn(|channel| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean[channel]) / std[channel]))
}
