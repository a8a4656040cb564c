//! What ImageNet networks train on: a random crop of a photo, mirrored, changed and recoloured at random.

use rand::Rng;

use super::cutout::cutout;
use super::flip::flip;
use super::{ColourJitter, Draw, Policy, RandomResizedCrop, Rectangle, Scratch, Transform, UnreadableImage};
use crate::data::StoredImage;
use crate::data::random::{Stream, generator};

/// A random crop, then mirroring, a policy, changes of colour, cutout.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct TrainingView {
    /// Which part of the photo, and how it is resized.
    pub crop: RandomResizedCrop,
    /// Whether to mirror left to right with probability 1/2.
    pub horizontal_flip: bool,
    /// Colour and shape operations before those of `jitter`; by default none.
    pub policy: Option<Policy>,
    /// How colours change; by default not at all.
    pub jitter: ColourJitter,
    /// Side in pixels of the square erased around a random centre, clipped at the borders; 0 turns it off.
    pub cutout: usize,
    /// The run's.
    pub seed: u64,
}

impl TrainingView {
    /// A crop by torchvision's defaults, to `side` x `side` pixels, and mirroring.
    pub fn new(side: usize, seed: u64) -> Self {
        let (crop, jitter) = (RandomResizedCrop::new(side), ColourJitter::default());
        Self { crop, horizontal_flip: true, policy: None, jitter, cutout: 0, seed }
    }
}

impl Transform for TrainingView {
    fn side(&self) -> usize {
        self.crop.side
    }

    /// Draws, in this order, the crop, the flip and the cutout; policy and changes of colour have a stream of their own.
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
        let mut of_policy = generator(self.seed, Stream::Policy, draw.epoch, draw.index.into());
        if let Some(policy) = self.policy {
            policy.apply(out, self.crop.side, &mut of_policy);
        }
        if self.jitter != ColourJitter::default() {
            self.jitter.apply(out, &mut of_policy);
        }
        Ok(if self.cutout > 0 { cutout(self.cutout, self.crop.side, &mut rng) } else { Rectangle::default() })
    }
}
