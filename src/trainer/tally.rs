//! What a step computed, and running sums of loss and correct answers, kept on the device until somebody asks.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad};

use crate::world::{CommunicatorError, Label, Ranks};

/// The k of top-5 accuracy.
const TOP: i64 = 5;

/// What a step computed, on the device.
#[derive(Debug)]
pub struct StepResult {
    /// Mean loss of the batch, a scalar.
    pub loss: Tensor,
    /// `[N, classes]`.
    pub logits: Tensor,
}

/// Sums over the steps of an interval or an epoch.
#[derive(Debug)]
pub struct Tally {
    /// [sum of losses over images, correct answers, right answers among the first five], double precision.
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
    /// Images whose right class was among the five largest logits.
    #[serde(default)]
    pub correct_top5: f64,
    /// Images seen.
    pub num_images: u64,
}

impl Tally {
    /// Continues from `sums` on `device`.
    pub fn from_sums(sums: TallySums, device: Device) -> Self {
        let TallySums { loss, correct, correct_top5, num_images } = sums;
        Self { sums: Tensor::from_slice(&[loss, correct, correct_top5]).to_device(device), num_images }
    }

    /// Adds a step: its mean `loss`, its `logits` `[N, classes]` and its `labels` `[N]`.
    pub fn add(&mut self, loss: &Tensor, logits: &Tensor, labels: &Tensor) {
        let num_images = labels.numel() as u64;
        no_grad(|| {
            let loss = loss.detach().to_kind(Kind::Double) * num_images as f64;
            let num_classes = logits.size().last().copied().unwrap_or(1);
            let (_, ranked) = logits.topk(num_classes.min(TOP), -1, true, true); // [N, 5]
            let hits = ranked.eq_tensor(&labels.unsqueeze(1));
            let correct = hits.select(1, 0).sum(Kind::Double);
            self.sums += Tensor::stack(&[loss, correct, hits.sum(Kind::Double)], 0);
        });
        self.num_images += num_images;
    }

    /// This rank's sums; waits for the device.
    pub fn sums(&self) -> TallySums {
        let [loss, correct, correct_top5] = [0, 1, 2].map(|index| self.sums.double_value(&[index]));
        TallySums { loss, correct, correct_top5, num_images: self.num_images }
    }
}

impl TallySums {
    /// What ranks counted, added in their order.
    pub fn total<'a>(sums: impl IntoIterator<Item = &'a TallySums>) -> TallySums {
        sums.into_iter().fold(TallySums::default(), |total, sums| TallySums {
            loss: total.loss + sums.loss,
            correct: total.correct + sums.correct,
            correct_top5: total.correct_top5 + sums.correct_top5,
            num_images: total.num_images + sums.num_images,
        })
    }

    /// The sums of every rank, in their order.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn gather(&self, ranks: &Ranks) -> Result<Vec<TallySums>, CommunicatorError> {
        // As bits: JSON has no infinite loss.
        let bits = ([self.loss, self.correct, self.correct_top5].map(f64::to_bits), self.num_images);
        let all = ranks.gather(&bits, Label::new("exchange of losses"))?;
        let from_bits = |(bits, num_images): ([u64; 3], u64)| {
            let [loss, correct, correct_top5] = bits.map(f64::from_bits);
            TallySums { loss, correct, correct_top5, num_images }
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

    /// Share of images whose right class was among the first five, in percent; NaN when there was no image.
    pub fn top5_percent(&self) -> f64 {
        100.0 * self.correct_top5 / self.num_images as f64
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &TallySums) -> TallySums {
        TallySums {
            loss: self.loss - earlier.loss,
            correct: self.correct - earlier.correct,
            correct_top5: self.correct_top5 - earlier.correct_top5,
            num_images: self.num_images - earlier.num_images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_by_their_rank_and_losses_by_their_images() {
        let logits = Tensor::from_slice(&[9.0f32, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]).repeat([3, 1]);
        let labels = Tensor::from_slice(&[0i64, 4, 5]);
        let mut tally = Tally::from_sums(TallySums::default(), Device::Cpu);
        tally.add(&Tensor::from(2.0f32), &logits, &labels);
        tally.add(&Tensor::from(5.0f32), &logits.narrow(0, 0, 1), &labels.narrow(0, 1, 1));
        let sums = tally.sums();
        assert_eq!(sums, TallySums { loss: 11.0, correct: 1.0, correct_top5: 3.0, num_images: 4 });
        assert_eq!((sums.top1_percent(), sums.top5_percent(), sums.mean_loss()), (25.0, 75.0, 2.75));
    }

    #[test]
    fn with_fewer_than_five_classes_every_answer_is_among_the_first() {
        let mut tally = Tally::from_sums(TallySums::default(), Device::Cpu);
        tally.add(
            &Tensor::from(1.0f32),
            &Tensor::from_slice(&[0.0f32, 1.0]).view([1, 2]),
            &Tensor::from_slice(&[0i64]),
        );
        assert_eq!(tally.sums(), TallySums { loss: 1.0, correct: 0.0, correct_top5: 1.0, num_images: 1 });
    }
}
