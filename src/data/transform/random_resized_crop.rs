//! The crop that ImageNet networks train on: a random part of the image, brought to one size.
//!
//! Boxes are drawn as torchvision's `RandomResizedCrop.get_params` draws them, in the same order. Source: Szegedy et
//! al., *Going Deeper with Convolutions* (arXiv:1409.4842), section 6.

use pdarts_jpeg::Area;
use rand::Rng;

use super::Scratch;
use super::decode::{ImageError, Picture};
use super::resize::{Filter, Region, resize, shrink_for};

/// How often a box is drawn before the middle of the image is taken.
const TRIES: usize = 10;

/// A random part of random shape, resized to a square.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct RandomResizedCrop {
    /// Height and width of the result.
    pub side: usize,
    /// Least and greatest part of the image's area.
    pub scale: (f64, f64),
    /// Least and greatest width over height; its logarithm is uniform.
    pub ratio: (f64, f64),
    /// How pixels are interpolated.
    pub filter: Filter,
}

impl RandomResizedCrop {
    /// torchvision's defaults.
    pub fn new(side: usize) -> Self {
        Self { side, scale: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0), filter: Filter::Bilinear }
    }

    /// Draws a box in an image of `width` x `height`.
    ///
    /// In this order, at most ten times: area, shape and, if the box fits, row and column.
    pub fn draw(&self, width: usize, height: usize, rng: &mut impl Rng) -> Area {
        let area = (width * height) as f64;
        let logarithms = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..TRIES {
            let target = area * uniform(self.scale, rng);
            let ratio = uniform(logarithms, rng).exp();
            let box_width = (target * ratio).sqrt().round_ties_even() as usize;
            let box_height = (target / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&box_width) && (1..=height).contains(&box_height) {
                let top = rng.random_range(0..=height - box_height);
                let left = rng.random_range(0..=width - box_width);
                return Area { left, top, width: box_width, height: box_height };
            }
        }
        self.fallback(width, height)
    }

    /// The middle of the image, of the nearest shape that is allowed.
    fn fallback(&self, width: usize, height: usize) -> Area {
        let ratio = width as f64 / height as f64;
        let (box_width, box_height) = if ratio < self.ratio.0 {
            (width, (width as f64 / self.ratio.0).round_ties_even() as usize)
        } else if ratio > self.ratio.1 {
            ((height as f64 * self.ratio.1).round_ties_even() as usize, height)
        } else {
            (width, height)
        };
        // A shape that allows no whole pixel would be no box.
        let (box_width, box_height) = (box_width.clamp(1, width), box_height.clamp(1, height));
        Area { left: (width - box_width) / 2, top: (height - box_height) / 2, width: box_width, height: box_height }
    }

    /// Writes `area` of `picture` to `out` `[side, side, 3]`.
    ///
    /// # Errors
    /// When the file was cut short or is damaged.
    pub fn crop(
        &self,
        picture: &Picture,
        area: &Area,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<(), ImageError> {
        let reduction = area.width.min(area.height) as f64 / self.side as f64;
        let Scratch { decoder, resizer } = scratch;
        let decoded = decoder.decode(picture, area, shrink_for(reduction))?;
        let region = Region {
            left: area.left as f64,
            top: area.top as f64,
            width: area.width as f64,
            height: area.height as f64,
        };
        resize(resizer, &decoded, &region, self.filter, (self.side, self.side), out)
    }
}

fn uniform((low, high): (f64, f64), rng: &mut impl Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}
