//! Running sums of loss and correct answers, kept on the device until somebody asks.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad};

use crate::world::{CommunicatorError, Label, Ranks};

/// Sums over the steps of an interval or an epoch.
#[derive(Debug)]
pub struct Tally {
    /// [sum of losses over images, correct answers], double precision.
    sums: Tensor,
    num_images: u64,
}

/// The sums on the host; also what a checkpoint keeps of an epoch under way.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TallySums {
    /// Loss summed over images.
    pub loss: f64,
    /// Images whose largest logit was the right class.
    pub correct: f64,
    /// Images seen.
    pub num_images: u64,
}

impl Tally {
    /// Continues from `sums` on `device`.
    pub fn from_sums(sums: TallySums, device: Device) -> Self {
        let TallySums { loss, correct, num_images } = sums;
        Self { sums: Tensor::from_slice(&[loss, correct]).to_device(device), num_images }
    }

    /// Adds a step: its mean `loss`, its `logits` `[N, classes]` and its `labels` `[N]`.
    pub fn add(&mut self, loss: &Tensor, logits: &Tensor, labels: &Tensor) {
        let num_images = labels.numel() as u64;
        no_grad(|| {
            let loss = loss.detach().to_kind(Kind::Double) * num_images as f64;
            let correct = logits.argmax(-1, false).eq_tensor(labels).sum(Kind::Double);
            self.sums += Tensor::stack(&[loss, correct], 0);
        });
        self.num_images += num_images;
    }

    /// This rank's sums; waits for the device.
    pub fn sums(&self) -> TallySums {
        let [loss, correct] = [0, 1].map(|index| self.sums.double_value(&[index]));
        TallySums { loss, correct, num_images: self.num_images }
    }
}

impl TallySums {
    /// What ranks counted, added in their order.
    pub fn total<'a>(sums: impl IntoIterator<Item = &'a TallySums>) -> TallySums {
        sums.into_iter().fold(TallySums::default(), |total, sums| TallySums {
            loss: total.loss + sums.loss,
            correct: total.correct + sums.correct,
            num_images: total.num_images + sums.num_images,
        })
    }

    /// The sums of every rank, in their order.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn gather(&self, ranks: &Ranks) -> Result<Vec<TallySums>, CommunicatorError> {
        // As bits: JSON has no infinite loss.
        let bits = (self.loss.to_bits(), self.correct.to_bits(), self.num_images);
        let all = ranks.gather(&bits, Label::new("exchange of losses"))?;
        let from_bits = |(loss, correct, num_images)| TallySums {
            loss: f64::from_bits(loss),
            correct: f64::from_bits(correct),
            num_images,
        };
        Ok(all.into_iter().map(from_bits).collect())
    }

    /// Mean loss of an image; NaN when there was none.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.num_images as f64
    }

    /// Share of right answers in percent; NaN when there was no image.
    pub fn top1_percent(&self) -> f64 {
        100.0 * self.correct / self.num_images as f64
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &TallySums) -> TallySums {
        TallySums {
            loss: self.loss - earlier.loss,
            correct: self.correct - earlier.correct,
            num_images: self.num_images - earlier.num_images,
        }
    }
}
