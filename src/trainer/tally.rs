//! What a step came to, and running sums of loss and correct answers, kept on the device until somebody asks.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::hits::hits;
use crate::world::{CommunicatorError, Label, Ranks};

/// What a network makes of a batch.
#[derive(Debug)]
pub struct ForwardResult {
    /// Mean loss of the batch, a scalar.
    pub loss: Tensor,
    /// `[N, classes]`.
    pub logits: Tensor,
}

/// What a step came to, on the device.
#[derive(Debug)]
pub struct StepResult {
    /// `[sum of losses over images, correct answers, right answers among the first five]`, double precision.
    sums: Tensor,
    num_images: u64,
}

/// The sums of a step under way, in a tensor that stays where it is.
#[derive(Debug)]
pub(super) struct StepSums(Tensor);

/// Sums over the steps of an interval or an epoch.
#[derive(Debug)]
pub struct Tally {
    /// As in [`StepResult`].
    sums: Tensor,
    num_images: u64,
    digest: u64,
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
    /// Wrapping sum of the digests of the images; 0 where there are none.
    #[serde(default)]
    pub digest: u64,
}

/// What a step trains.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The network.
    Weights,
    /// The architecture.
    Alphas,
}

/// The sums of an epoch under way.
#[derive(Debug)]
pub struct EpochTally {
    /// Of the weight steps.
    pub weights: Tally,
    /// Of the alpha steps.
    pub alphas: Tally,
}

/// The same on the host.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    /// Of the weight steps.
    pub weights: TallySums,
    /// Of the alpha steps; a retraining has none.
    pub alphas: TallySums,
}

impl ForwardResult {
    /// The three sums of a [`StepResult`] for images of these `labels` (`[N]`, int64).
    fn sums(&self, labels: &Tensor) -> Result<Tensor, TchError> {
        no_grad(|| {
            let loss = self.loss.f_detach()?.f_to_kind(Kind::Double)?.f_mul_scalar(labels.numel() as f64)?;
            let hits = hits(&self.logits, labels)?;
            let correct = hits.f_select(1, 0)?.f_sum(Kind::Double)?;
            Tensor::f_stack(&[loss, correct, hits.f_sum(Kind::Double)?], 0)
        })
    }

    /// What a step on these images comes to, of which `labels` (`[N]`, int64) are the right answers.
    ///
    /// # Errors
    /// When the labels are not those of the logits.
    pub fn counted(&self, labels: &Tensor) -> Result<StepResult, TchError> {
        Ok(StepResult { sums: self.sums(labels)?, num_images: labels.numel() as u64 })
    }
}

impl StepResult {
    /// Mean loss of the step's images; waits for the device.
    ///
    /// # Errors
    /// When the device fails, which may be the failure of any step before.
    pub fn mean_loss(&self) -> Result<f64, TchError> {
        Ok(self.sums.f_double_value(&[0])? / self.num_images as f64)
    }
}

impl StepSums {
    /// Of no images, on `device`.
    pub fn new(device: Device) -> Result<Self, TchError> {
        Ok(Self(Tensor::f_zeros([3], (Kind::Double, device))?))
    }

    /// Of no images again.
    pub fn clear(&self) -> Result<(), TchError> {
        self.0.shallow_clone().f_zero_().map(drop)
    }

    /// Adds what the network made of images with these `labels`.
    pub fn add(&self, result: &ForwardResult, labels: &Tensor) -> Result<(), TchError> {
        let sums = result.sums(labels)?;
        no_grad(|| self.0.shallow_clone().f_add_(&sums)).map(drop)
    }

    /// What they came to by now, being of so many images.
    pub fn result(&self, num_images: u64) -> Result<StepResult, TchError> {
        Ok(StepResult { sums: no_grad(|| self.0.f_detach_copy())?, num_images })
    }
}

impl Tally {
    /// Continues from `sums` on `device`.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn from_sums(sums: TallySums, device: Device) -> Result<Self, TchError> {
        let TallySums { loss, correct, correct_top5, num_images, digest } = sums;
        let sums = Tensor::f_from_slice(&[loss, correct, correct_top5])?.f_to_device(device)?;
        Ok(Self { sums, num_images, digest })
    }

    /// Adds a step.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn add(&mut self, step: &StepResult) -> Result<(), TchError> {
        let _ = no_grad(|| self.sums.f_add_(&step.sums))?;
        self.num_images += step.num_images;
        Ok(())
    }

    /// Adds the digest of a step's images.
    pub fn add_digest(&mut self, digest: u64) {
        self.digest = self.digest.wrapping_add(digest);
    }

    /// This rank's sums; waits for the device.
    ///
    /// # Errors
    /// When the device fails, which may be the failure of any step before.
    pub fn sums(&self) -> Result<TallySums, TchError> {
        let value = |index: i64| self.sums.f_double_value(&[index]);
        let (num_images, digest) = (self.num_images, self.digest);
        Ok(TallySums { loss: value(0)?, correct: value(1)?, correct_top5: value(2)?, num_images, digest })
    }
}

/// [`TallySums`] as they travel between ranks.
type SumsBits = ([u64; 3], u64, u64);

impl TallySums {
    /// These sums and `other`.
    fn plus(&self, other: &TallySums) -> TallySums {
        TallySums {
            loss: self.loss + other.loss,
            correct: self.correct + other.correct,
            correct_top5: self.correct_top5 + other.correct_top5,
            num_images: self.num_images + other.num_images,
            digest: self.digest.wrapping_add(other.digest),
        }
    }

    /// What ranks counted, added in their order.
    pub fn total<'a>(sums: impl IntoIterator<Item = &'a TallySums>) -> TallySums {
        sums.into_iter().fold(TallySums::default(), |total, sums| total.plus(sums))
    }

    /// The sums of every rank, in their order.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn gather(&self, ranks: &Ranks) -> Result<Vec<TallySums>, CommunicatorError> {
        let all = ranks.gather(&self.to_bits(), Label::new("exchange of losses"))?;
        Ok(all.into_iter().map(TallySums::from_bits).collect())
    }

    /// As bits, to be exchanged: JSON has no infinite loss.
    fn to_bits(self) -> SumsBits {
        ([self.loss, self.correct, self.correct_top5].map(f64::to_bits), self.num_images, self.digest)
    }

    fn from_bits((bits, num_images, digest): SumsBits) -> TallySums {
        let [loss, correct, correct_top5] = bits.map(f64::from_bits);
        TallySums { loss, correct, correct_top5, num_images, digest }
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

    /// The digest of the images as a record has it.
    pub fn digest_text(&self) -> String {
        format!("{:016x}", self.digest)
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &TallySums) -> TallySums {
        TallySums {
            loss: self.loss - earlier.loss,
            correct: self.correct - earlier.correct,
            correct_top5: self.correct_top5 - earlier.correct_top5,
            num_images: self.num_images - earlier.num_images,
            digest: self.digest.wrapping_sub(earlier.digest),
        }
    }
}

impl EpochTally {
    /// Continues from `sums` on `device`.
    ///
    /// # Errors
    /// Those of [`Tally`].
    pub fn from_sums(sums: EpochSums, device: Device) -> Result<Self, TchError> {
        Ok(Self { weights: Tally::from_sums(sums.weights, device)?, alphas: Tally::from_sums(sums.alphas, device)? })
    }

    /// This rank's sums; waits for the device.
    ///
    /// # Errors
    /// Those of [`Tally`].
    pub fn sums(&self) -> Result<EpochSums, TchError> {
        Ok(EpochSums { weights: self.weights.sums()?, alphas: self.alphas.sums()? })
    }
}

impl EpochSums {
    /// What ranks counted, added in their order.
    pub fn total(sums: &[EpochSums]) -> EpochSums {
        sums.iter().fold(EpochSums::default(), |total, sums| EpochSums {
            weights: total.weights.plus(&sums.weights),
            alphas: total.alphas.plus(&sums.alphas),
        })
    }

    /// The sums of every rank, in their order.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn gather(&self, ranks: &Ranks) -> Result<Vec<EpochSums>, CommunicatorError> {
        let bits = [self.weights, self.alphas].map(TallySums::to_bits);
        let all = ranks.gather(&bits, Label::new("exchange of losses"))?;
        let of_rank = |bits: [SumsBits; 2]| {
            let [weights, alphas] = bits.map(TallySums::from_bits);
            EpochSums { weights, alphas }
        };
        Ok(all.into_iter().map(of_rank).collect())
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &EpochSums) -> EpochSums {
        EpochSums { weights: self.weights.since(&earlier.weights), alphas: self.alphas.since(&earlier.alphas) }
    }

    /// Images of both kinds of step.
    pub fn num_images(&self) -> u64 {
        self.weights.num_images + self.alphas.num_images
    }

    /// The first loss that is infinite or not a number, with the steps that it is of.
    pub fn not_finite(&self) -> Option<(StepKind, f64)> {
        let losses = [(StepKind::Weights, self.weights.loss), (StepKind::Alphas, self.alphas.loss)];
        losses.into_iter().find(|(_, loss)| !loss.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_by_their_rank_and_losses_by_their_images() {
        let logits = Tensor::from_slice(&[9.0f32, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]).repeat([3, 1]);
        let labels = Tensor::from_slice(&[0i64, 4, 5]);
        let mut tally = Tally::from_sums(TallySums::default(), Device::Cpu).unwrap();
        let first = logits.narrow(0, 0, 1);
        let second = labels.narrow(0, 1, 1);
        tally.add(&ForwardResult { loss: Tensor::from(2.0f32), logits }.counted(&labels).unwrap()).unwrap();
        tally.add(&ForwardResult { loss: Tensor::from(5.0f32), logits: first }.counted(&second).unwrap()).unwrap();
        let sums = tally.sums().unwrap();
        assert_eq!(sums, TallySums { loss: 11.0, correct: 1.0, correct_top5: 3.0, num_images: 4, digest: 0 });
        assert_eq!((sums.top1_percent(), sums.top5_percent(), sums.mean_loss()), (25.0, 75.0, 2.75));
    }

    #[test]
    fn with_fewer_than_five_classes_every_answer_is_among_the_first() {
        let mut tally = Tally::from_sums(TallySums::default(), Device::Cpu).unwrap();
        let logits = Tensor::from_slice(&[0.0f32, 1.0]).view([1, 2]);
        let labels = Tensor::from_slice(&[0i64]);
        tally.add(&ForwardResult { loss: Tensor::from(1.0f32), logits }.counted(&labels).unwrap()).unwrap();
        let expected = TallySums { loss: 1.0, correct: 0.0, correct_top5: 1.0, num_images: 1, digest: 0 };
        assert_eq!(tally.sums().unwrap(), expected);
    }
}
