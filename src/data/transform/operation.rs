//! The colour and shape operations of AutoAugment and RandAugment on one square image.
//!
//! Each gives, to the byte, what the Python Imaging Library gives, in which the policies were found and are used:
//! `ImageOps`, `ImageEnhance` and nearest-pixel affine transforms that fill with black.
//! Source: Cubuk et al., *AutoAugment* (arXiv:1805.09501), table 6.

use crate::data::CHANNELS;

type Image = [u8];

/// An operation with its strength.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum ImageOperation {
    Identity,
    /// Output pixel `(x, y)` is input pixel `(a x + b y + c, d x + e y + f)`, taken at the pixels' centres.
    Affine([f64; 6]),
    /// Each channel stretched to 0..255.
    AutoContrast,
    /// Each channel with as level a histogram as its values allow.
    Equalize,
    Invert,
    /// Values of at least the threshold are inverted.
    Solarize(f64),
    /// Only so many leading bits of each value stay.
    Posterize(u32),
    /// From the mean grey (0) over the image (1) and beyond.
    Contrast(f32),
    /// From grey to the image.
    Color(f32),
    /// From black to the image.
    Brightness(f32),
    /// From a smoothed image to the image.
    Sharpness(f32),
}

impl ImageOperation {
    /// Row `y` moves by `amount * y` pixels to the left.
    pub fn shear_x(amount: f64) -> Self {
        Self::Affine([1.0, amount, 0.0, 0.0, 1.0, 0.0])
    }

    /// Column `x` moves by `amount * x` pixels up.
    pub fn shear_y(amount: f64) -> Self {
        Self::Affine([1.0, 0.0, 0.0, amount, 1.0, 0.0])
    }

    /// To the right, by whole pixels.
    pub fn translate_x(pixels: f64) -> Self {
        Self::Affine([1.0, 0.0, -pixels.trunc(), 0.0, 1.0, 0.0])
    }

    /// Down, by whole pixels.
    pub fn translate_y(pixels: f64) -> Self {
        Self::Affine([1.0, 0.0, 0.0, 0.0, 1.0, -pixels.trunc()])
    }

    /// About the centre of an image of `side` pixels, counter-clockwise.
    pub fn rotate(degrees: f64, side: usize) -> Self {
        let (sin, cos) = (-degrees.to_radians()).sin_cos();
        let centre = side as f64 / 2.0;
        Self::Affine([cos, sin, centre - cos * centre - sin * centre, -sin, cos, centre + sin * centre - cos * centre])
    }

    /// Applies it to `image` `[side, side, 3]`, in place.
    pub fn apply(self, image: &mut Image, side: usize) {
        match self {
            Self::Identity => {}
            Self::Affine(matrix) => affine(image, side, matrix),
            Self::AutoContrast => map_channels(image, stretched),
            Self::Equalize => map_channels(image, equalized),
            Self::Invert => image.iter_mut().for_each(|value| *value = 255 - *value),
            Self::Solarize(threshold) => {
                image
                    .iter_mut()
                    .filter(|value| f64::from(**value) >= threshold)
                    .for_each(|value| *value = 255 - *value);
            }
            Self::Posterize(bits) => {
                let mask = !(0xff_u32 >> bits.min(8)) as u8;
                image.iter_mut().for_each(|value| *value &= mask);
            }
            Self::Contrast(factor) => {
                let grey = mean_grey(image);
                image.iter_mut().for_each(|value| *value = blend(grey, *value, factor));
            }
            Self::Color(factor) => {
                for pixel in image.chunks_exact_mut(CHANNELS) {
                    let grey = luminance(pixel);
                    pixel.iter_mut().for_each(|value| *value = blend(grey, *value, factor));
                }
            }
            Self::Brightness(factor) => image.iter_mut().for_each(|value| *value = blend(0, *value, factor)),
            Self::Sharpness(factor) => {
                let smooth = smoothed(image, side);
                image.iter_mut().zip(smooth).for_each(|(value, smooth)| *value = blend(smooth, *value, factor));
            }
        }
    }
}

/// In 16.16 fixed point, as the library computes it: where a coordinate falls between two pixels, this decides.
fn affine(image: &mut Image, side: usize, [a, b, c, d, e, f]: [f64; 6]) {
    let source = image.to_vec();
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let steps = [a, b, d, e].map(fixed);
    let start = [fixed(c + 0.5 * (a + b)), fixed(f + 0.5 * (d + e))];
    let inside = |coordinate: i64| usize::try_from(coordinate >> 16).ok().filter(|&position| position < side);
    for (position, pixel) in image.chunks_exact_mut(CHANNELS).enumerate() {
        let (x, y) = ((position % side) as i64, (position / side) as i64);
        let column = inside(start[0] + steps[0] * x + steps[1] * y);
        let row = inside(start[1] + steps[2] * x + steps[3] * y);
        match column.zip(row) {
            Some((column, row)) => pixel.copy_from_slice(&source[(row * side + column) * CHANNELS..][..CHANNELS]),
            None => pixel.fill(0),
        }
    }
}

/// Replaces each channel's values as `table` says for the channel's histogram.
fn map_channels(image: &mut Image, table: fn(&[u32; 256]) -> Option<[u8; 256]>) {
    for channel in 0..CHANNELS {
        let mut histogram = [0; 256];
        image.iter().skip(channel).step_by(CHANNELS).for_each(|&value| histogram[usize::from(value)] += 1);
        if let Some(table) = table(&histogram) {
            image.iter_mut().skip(channel).step_by(CHANNELS).for_each(|value| *value = table[usize::from(*value)]);
        }
    }
}

/// `None`: leave the channel as it is.
fn stretched(histogram: &[u32; 256]) -> Option<[u8; 256]> {
    let low = histogram.iter().position(|&count| count > 0)?;
    let high = histogram.iter().rposition(|&count| count > 0)?;
    let scale = (high > low).then(|| 255.0 / (high - low) as f64)?;
    let offset = -(low as f64) * scale;
    // Casts to u8 truncate and stay in its range.
    Some(std::array::from_fn(|value| (value as f64 * scale + offset) as u8))
}

/// `None`: leave the channel as it is.
fn equalized(histogram: &[u32; 256]) -> Option<[u8; 256]> {
    let last = histogram.iter().rfind(|&&count| count > 0)?;
    let step = (histogram.iter().sum::<u32>() - last) / 255;
    let mut below = step.checked_div(2)?;
    let mut table = [0; 256];
    for (entry, count) in table.iter_mut().zip(histogram) {
        *entry = u8::try_from(below.checked_div(step)?).unwrap_or(u8::MAX);
        below += count;
    }
    Some(table)
}

/// From `start` (factor 0) over `end` (1) and beyond, within a byte.
fn blend(start: u8, end: u8, factor: f32) -> u8 {
    let (start, end) = (f32::from(start), f32::from(end));
    // As above.
    (start + factor * (end - start)) as u8
}

/// The luma of ITU-R 601, in 16 bits of fixed point.
fn luminance(pixel: &[u8]) -> u8 {
    let weighted: u32 =
        pixel.iter().zip([19_595, 38_470, 7_471]).map(|(&value, weight)| u32::from(value) * weight).sum();
    ((weighted + 0x8000) >> 16) as u8
}

fn mean_grey(image: &Image) -> u8 {
    let sum: u32 = image.chunks_exact(CHANNELS).map(|pixel| u32::from(luminance(pixel))).sum();
    (f64::from(sum) / (image.len() / CHANNELS) as f64 + 0.5) as u8
}

/// A weighted mean of 3x3 pixels in which the middle counts five times; the border stays as it is.
fn smoothed(image: &Image, side: usize) -> Vec<u8> {
    let at = |row: usize, column: usize, channel: usize| f32::from(image[(row * side + column) * CHANNELS + channel]);
    let value = |position: usize| {
        let (pixel, channel) = (position / CHANNELS, position % CHANNELS);
        let (row, column) = (pixel / side, pixel % side);
        let is_inner = |coordinate: usize| (1..side - 1).contains(&coordinate);
        if !is_inner(row) || !is_inner(column) {
            return image[position];
        }
        let around = (row - 1..=row + 1).flat_map(|row| (column - 1..=column + 1).map(move |column| (row, column)));
        let sum: f32 = around.map(|(row, column)| at(row, column, channel)).sum();
        ((sum + 4.0 * at(row, column, channel)) / 13.0 + 0.5) as u8
    };
    (0..image.len()).map(value).collect()
}

#[cfg(test)]
mod tests;
