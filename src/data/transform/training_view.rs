//! What ImageNet networks train on: a random crop of a photo, mirrored and recoloured at random.

use rand::Rng;

use super::flip::flip;
use super::{ColourJitter, Draw, RandomResizedCrop, Rectangle, Scratch, Transform, UnreadableImage};
use crate::data::StoredImage;
use crate::data::random::{Stream, generator};

/// A random crop, then mirroring, then changes of colour.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct TrainingView {
    /// Which part of the photo, and how it is resized.
    pub crop: RandomResizedCrop,
    /// Whether to mirror left to right with probability 1/2.
    pub horizontal_flip: bool,
    /// How colours change; by default not at all.
    pub jitter: ColourJitter,
    /// The run's.
    pub seed: u64,
}

impl TrainingView {
    /// A crop by torchvision's defaults, to `side` x `side` pixels, and mirroring.
    pub fn new(side: usize, seed: u64) -> Self {
        Self { crop: RandomResizedCrop::new(side), horizontal_flip: true, jitter: ColourJitter::default(), seed }
    }
}

impl Transform for TrainingView {
    fn side(&self) -> usize {
        self.crop.side
    }

    /// Draws, in this order, the crop and the flip; changes of colour have a stream of their own.
    fn apply(
        &self,
        image: StoredImage<'_>,
        draw: Draw,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<Rectangle, UnreadableImage> {
        let picture = scratch.decoder.open(image)?;
        let mut rng = generator(self.seed, Stream::Augmentation, draw.epoch, draw.index.into());
        let area = self.crop.draw(picture.width, picture.height, &mut rng);
        let is_flipped = self.horizontal_flip && rng.random();
        self.crop.crop(&picture, &area, scratch, out)?;
        if is_flipped {
            flip(out, self.crop.side);
        }
        if self.jitter != ColourJitter::default() {
            self.jitter.apply(out, &mut generator(self.seed, Stream::Policy, draw.epoch, draw.index.into()));
        }
        Ok(Rectangle::default())
    }
}
