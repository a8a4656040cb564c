//! Mirroring left to right.

const CHANNELS: usize = 3;

/// Mirrors an image `[height, width, 3]`.
pub fn flip(image: &mut [u8], width: usize) {
    for row in image.chunks_exact_mut(width * CHANNELS) {
        let (pixels, _) = row.as_chunks_mut::<CHANNELS>();
        pixels.reverse();
    }
}
