//! What a trained network says about each image of a data set, and how often it is right.

use tch::{Device, Kind, Reduction, Tensor, no_grad};

use super::hits::hits;
use super::{ImageBatch, TestData};
use crate::data::DataError;
use crate::model::{EvaluationNetwork, NetworkError, NetworkMode};
use crate::torch::TorchError;
use crate::world::{CommunicatorError, Label, Pending, ReduceOp, World};

/// A label that cross-entropy would leave out; there is none.
const IGNORED_LABEL: i64 = -100;

/// Logits of every image, with the classes that are right; on the host.
#[derive(Debug)]
pub struct Predictions {
    /// `[N, classes]`, in 32 bits.
    pub logits: Tensor,
    /// `[N]`, int64.
    pub targets: Tensor,
}

/// How often a network is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    /// Percent of images whose largest logit is of the right class.
    pub top1: f64,
    /// Percent of images whose right class is among the five largest logits.
    pub top5: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images.
    pub samples: u64,
    /// By class.
    pub classes: Vec<ClassAccuracy>,
}

/// How often a network is right about the images of one class.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ClassAccuracy {
    /// Images of the class.
    pub samples: u64,
    /// Those whose largest logit is of the class.
    pub correct: u64,
}

/// Why there are no predictions.
#[derive(Debug, thiserror::Error)]
pub enum PredictionError {
    /// The images cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network does not take them.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The ranks that share the images cannot be reached.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for PredictionError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

impl Predictions {
    /// What `network` says in evaluation mode of all images of `data`, which the ranks share; all ranks call this
    /// together and get the same. `progress` hears how many images are done.
    ///
    /// # Errors
    /// When loading, libtorch or the exchange between ranks fails, or the images do not fit the network.
    pub fn of(
        network: &EvaluationNetwork,
        data: &TestData,
        world: &World,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, PredictionError> {
        let (num_images, num_steps) = (data.source.len(), data.loader.num_steps());
        let size = [num_images as i64, data.source.class_names().len() as i64];
        let mut logits = Tensor::f_zeros(size, (Kind::Float, world.device))?;
        for (step, batch) in data.loader.batches(0, 0..num_steps)?.enumerate() {
            let batch = batch?;
            let rows: Vec<i64> = batch.indices().iter().map(|&index| index.into()).collect();
            let rows = Tensor::f_from_slice(&rows)?.f_to_device(world.device)?;
            let images = ImageBatch::from_host(&batch, world.device, Kind::Float)?.images;
            let output = no_grad(|| network.forward(&images, NetworkMode::Evaluation))?;
            let _ = logits.f_index_copy_(0, &rows, &output.logits.f_to_kind(Kind::Float)?)?;
            progress(num_images * (step + 1) / num_steps);
        }
        // Each row is one rank's and zero on the others.
        let sum = world.communicator().all_reduce(&logits, ReduceOp::Sum, Label::new("exchange of logits"));
        sum.and_then(Pending::wait)?;
        let targets: Vec<i64> =
            (0..num_images as u32).filter_map(|index| data.source.label(index)).map(i64::from).collect();
        Ok(Self { logits: logits.f_to_device(Device::Cpu)?, targets: Tensor::f_from_slice(&targets)? })
    }

    /// Images of which a logit is infinite or not a number.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn non_finite(&self) -> Result<u64, PredictionError> {
        let finite = self.logits.f_isfinite()?.f_all_dim(-1, false)?;
        let count = i64::try_from(finite.f_logical_not()?.f_sum(Kind::Int64)?)?;
        Ok(count.unsigned_abs())
    }

    /// Counts; losses are added in double precision.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn accuracy(&self) -> Result<Accuracy, PredictionError> {
        let num_classes = self.logits.size().last().copied().unwrap_or(0);
        let hits = hits(&self.logits, &self.targets)?;
        let correct = hits.f_select(1, 0)?;
        let samples = self.targets.numel() as u64;
        let percent =
            |hits: &Tensor| Ok::<_, tch::TchError>(100.0 * f64::try_from(hits.f_sum(Kind::Double)?)? / samples as f64);
        let logits = self.logits.f_to_kind(Kind::Double)?;
        let loss = logits.f_cross_entropy_loss(&self.targets, None::<&Tensor>, Reduction::Mean, IGNORED_LABEL, 0.0)?;
        let count = |labels: &Tensor| Vec::<i64>::try_from(labels.f_bincount(None::<&Tensor>, num_classes)?);
        let (right, all) = (count(&self.targets.f_masked_select(&correct)?)?, count(&self.targets)?);
        let class = |(&correct, &samples): (&i64, &i64)| ClassAccuracy {
            samples: samples.unsigned_abs(),
            correct: correct.unsigned_abs(),
        };
        Ok(Accuracy {
            top1: percent(&correct)?,
            top5: percent(&hits)?,
            loss: f64::try_from(loss)?,
            samples,
            classes: right.iter().zip(&all).map(class).collect(),
        })
    }
}

impl ClassAccuracy {
    /// Percent; none without images.
    pub fn top1(self) -> Option<f64> {
        (self.samples > 0).then(|| 100.0 * self.correct as f64 / self.samples as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_by_rank_and_by_class() {
        // The right class has rank 1, 5, 6 and 2.
        let row = [7.0f32, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        let logits = Tensor::from_slice(&row).repeat([4, 1]);
        let predictions = Predictions { logits, targets: Tensor::from_slice(&[0i64, 4, 5, 1]) };
        let accuracy = predictions.accuracy().unwrap();
        assert_eq!((accuracy.top1, accuracy.top5, accuracy.samples), (25.0, 75.0, 4));
        let total = row.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
        let expected = [7.0, 3.0, 2.0, 6.0].iter().map(|logit| total - logit).sum::<f64>() / 4.0;
        assert!((accuracy.loss - expected).abs() < 1e-12, "{}", accuracy.loss);
        assert_eq!(accuracy.classes[0], ClassAccuracy { samples: 1, correct: 1 });
        assert_eq!(accuracy.classes[4], ClassAccuracy { samples: 1, correct: 0 });
        assert_eq!((accuracy.classes[6].top1(), accuracy.classes[0].top1()), (None, Some(100.0)));
        assert_eq!(accuracy.classes.len(), 7);
    }

    #[test]
    fn with_two_classes_every_answer_is_among_the_first_five() {
        let logits = Tensor::from_slice(&[0.0f32, 1.0]).view([1, 2]);
        let accuracy = Predictions { logits, targets: Tensor::from_slice(&[0i64]) }.accuracy().unwrap();
        assert_eq!((accuracy.top1, accuracy.top5), (0.0, 100.0));
    }
}
