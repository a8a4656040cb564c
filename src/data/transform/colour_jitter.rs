//! Random changes of brightness, contrast, saturation and hue, in random order.
//!
//! Each gives what torchvision's `ColorJitter` gives for images of the Python Imaging Library, hue by its conversion to
//! HSV and back in bytes.

use rand::{Rng, seq::SliceRandom};

use super::operation::ImageOperation;

/// How much each property may change. 0 leaves it.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct ColourJitter {
    /// The factor is uniform within 1 -/+ this, not below 0.
    pub brightness: f64,
    /// As brightness.
    pub contrast: f64,
    /// As brightness.
    pub saturation: f64,
    /// The hue turns by at most this part of the circle, at most 0.5.
    pub hue: f64,
}

/// One change of an image's colours.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum ColourChange {
    /// From black (0) over the image (1) and beyond.
    Brightness(f64),
    /// From the mean grey over the image and beyond.
    Contrast(f64),
    /// From grey over the image and beyond.
    Saturation(f64),
    /// By a part of the circle, -0.5 to 0.5.
    Hue(f64),
}

impl ColourJitter {
    /// Draws the order and, for each property that may change, by how much.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<ColourChange> {
        let mut order = [0, 1, 2, 3];
        order.shuffle(rng);
        let mut around = |middle: f64, amount: f64, least: f64| {
            let (low, high) = ((middle - amount).max(least), middle + amount);
            (amount > 0.0).then(|| low + (high - low) * rng.random::<f64>())
        };
        let changes = [
            around(1.0, self.brightness, 0.0).map(ColourChange::Brightness),
            around(1.0, self.contrast, 0.0).map(ColourChange::Contrast),
            around(1.0, self.saturation, 0.0).map(ColourChange::Saturation),
            around(0.0, self.hue.min(0.5), -0.5).map(ColourChange::Hue),
        ];
        order.into_iter().filter_map(|position| changes[position]).collect()
    }

    /// Draws changes and makes them in `image` `[height, width, 3]`.
    pub fn apply(&self, image: &mut [u8], rng: &mut impl Rng) {
        self.draw(rng).into_iter().for_each(|change| change.apply(image));
    }
}

impl ColourChange {
    /// Makes the change in `image` `[height, width, 3]`.
    pub fn apply(self, image: &mut [u8]) {
        /// Operations on each pixel by itself do not ask for it.
        const SIDE: usize = 0;
        match self {
            Self::Brightness(factor) => ImageOperation::Brightness(factor as f32).apply(image, SIDE),
            Self::Contrast(factor) => ImageOperation::Contrast(factor as f32).apply(image, SIDE),
            Self::Saturation(factor) => ImageOperation::Color(factor as f32).apply(image, SIDE),
            Self::Hue(turn) => turn_hue(image, turn),
        }
    }
}

fn turn_hue(image: &mut [u8], turn: f64) {
    // Bytes go round as hues do.
    let turn = (turn * 255.0) as i32 as u8;
    let (pixels, _) = image.as_chunks_mut::<3>();
    for pixel in pixels {
        let [hue, saturation, value] = hsv_from_rgb(*pixel);
        *pixel = rgb_from_hsv([hue.wrapping_add(turn), saturation, value]);
    }
}

fn hsv_from_rgb([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (greatest, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if greatest == least {
        return [0, 0, greatest];
    }
    let range = f32::from(greatest - least);
    let [from_red, from_green, from_blue] = [red, green, blue].map(|value| f32::from(greatest - value) / range);
    let hue = if red == greatest {
        from_blue - from_green
    } else if green == greatest {
        (2.0 + f64::from(from_red) - f64::from(from_blue)) as f32
    } else {
        (4.0 + f64::from(from_green) - f64::from(from_red)) as f32
    };
    let hue = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    let saturation = range / f32::from(greatest);
    // Casts to u8 truncate and stay in its range.
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, greatest]
}

fn rgb_from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let position = f64::from(hue) * 6.0 / 255.0;
    let sector = position.floor();
    let within = f64::from((position - sector) as f32);
    let saturation = f64::from((f64::from(saturation) / 255.0) as f32);
    let dimmed = |part: f64| (f64::from(value) * (1.0 - part)).round() as u8;
    let (least, falling, rising) =
        (dimmed(saturation), dimmed(saturation * within), dimmed(saturation * (1.0 - within)));
    match sector as u32 % 6 {
        0 => [value, rising, least],
        1 => [falling, value, least],
        2 => [least, value, rising],
        3 => [least, falling, value],
        4 => [rising, least, value],
        _ => [value, least, falling],
    }
}
