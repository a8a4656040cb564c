//! What stands before the cells of a network: it turns an image into the two inputs of the first cell.

use tch::Tensor;

use super::{BatchNorm, Conv2d, ParameterStore};
use crate::genotype::NetworkKind;
use crate::torch::TorchError;

/// The stem of either network.
#[derive(Debug)]
pub enum Stem {
    /// One 3x3 convolution.
    Cifar(ConvBn),
    /// Three 3x3 convolutions of stride 2, the first to half of the channels.
    ImageNet(Box<[ConvBn; 3]>),
}

/// A 3x3 convolution with BatchNorm.
#[derive(Debug)]
pub struct ConvBn {
    /// Of convolution and normalisation in the authors' state dict.
    pub names: [&'static str; 2],
    /// The convolution.
    pub conv: Conv2d,
    /// Its normalisation, with scale and shift.
    pub bn: BatchNorm,
}

/// The inputs of the first cell.
pub struct StemOutput {
    /// The older one, through the ReLU that the layers after it begin with; none where both are one.
    pub older: Option<Tensor>,
    /// The newer one, before that ReLU.
    pub newer: Tensor,
}

impl ConvBn {
    fn new(store: &mut ParameterStore, names: [&'static str; 2], channels: (i64, i64), stride: i64) -> Self {
        let [conv, bn] = names;
        let (conv, bn) = (Conv2d::dense(store, conv, channels, 3, stride), BatchNorm::affine(store, bn, channels.1));
        Self { names, conv, bn }
    }

    fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        self.bn.forward(&self.conv.forward(x)?, training)
    }
}

impl Stem {
    /// One whose outputs have `channels` channels, even for ImageNet's.
    pub fn new(store: &mut ParameterStore, kind: NetworkKind, channels: i64) -> Self {
        match kind {
            NetworkKind::Cifar => Self::Cifar(ConvBn::new(store, ["stem.0", "stem.1"], (3, channels), 1)),
            NetworkKind::ImageNet => Self::ImageNet(Box::new([
                ConvBn::new(store, ["stem0.0", "stem0.1"], (3, channels / 2), 2),
                ConvBn::new(store, ["stem0.3", "stem0.4"], (channels / 2, channels), 2),
                ConvBn::new(store, ["stem1.1", "stem1.2"], (channels, channels), 2),
            ])),
        }
    }

    /// Its layers, from the image on.
    pub fn layers(&self) -> &[ConvBn] {
        match self {
            Self::Cifar(layer) => std::slice::from_ref(layer),
            Self::ImageNet(layers) => &**layers,
        }
    }

    /// `images`: `[N, 3, H, W]`, channels last.
    ///
    /// # Errors
    /// Those of [`BatchNorm::forward`].
    pub fn forward(&self, images: &Tensor, training: bool) -> Result<StemOutput, TorchError> {
        Ok(match self {
            Self::Cifar(layer) => StemOutput { older: None, newer: layer.forward(images, training)? },
            Self::ImageNet(layers) => {
                let [half, quarter, eighth] = &**layers;
                let older = quarter.forward(&half.forward(images, training)?.f_relu()?, training)?.f_relu()?;
                StemOutput { newer: eighth.forward(&older, training)?, older: Some(older) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn close(ours: &Tensor, theirs: &Tensor) {
        assert_eq!(ours.size(), theirs.size());
        let error = (ours - theirs).norm().double_value(&[]) / theirs.norm().double_value(&[]);
        assert!(error < 1e-12, "{error:e}");
    }

    /// A 3x3 convolution of stride 2 and BatchNorm by the batch's statistics, of plain operations.
    fn plain(layer: &ConvBn, x: &Tensor) -> Tensor {
        let y = x.conv2d(&layer.conv.weight, None::<Tensor>, [2, 2], [1, 1], [1, 1], 1);
        let dimensions = [0, 2, 3].as_slice();
        let mean = y.mean_dim(dimensions, true, Kind::Double);
        let centred = &y - mean;
        let variance = centred.square().mean_dim(dimensions, true, Kind::Double);
        let (weight, bias) = layer.bn.affine.as_ref().unwrap();
        centred / (variance + 1e-5).sqrt() * weight.view([1, -1, 1, 1]) + bias.view([1, -1, 1, 1])
    }

    #[test]
    fn imagenet_stem_is_three_convolutions_of_stride_2_with_their_gradients() {
        let mut store = ParameterStore::new(Device::Cpu, Kind::Double);
        let stem = Stem::new(&mut store, NetworkKind::ImageNet, 6);
        let images = Tensor::randn([2, 3, 64, 64], (Kind::Double, Device::Cpu));
        let StemOutput { older, newer } = stem.forward(&images, true).unwrap();
        let older = older.unwrap();
        assert_eq!((older.size(), newer.size()), (vec![2, 6, 16, 16], vec![2, 6, 8, 8]));
        let [half, quarter, eighth] = stem.layers() else { panic!("{stem:?}") };
        let expected_older = plain(quarter, &plain(half, &images).relu()).relu();
        let expected_newer = plain(eighth, &expected_older);
        close(&older, &expected_older);
        close(&newer, &expected_newer);

        let parameters: Vec<&Tensor> = store.trainable().iter().map(|named| &named.tensor).collect();
        let gradients = |older: &Tensor, newer: &Tensor| {
            let loss = (older.square().sum(Kind::Double) + newer.sin().sum(Kind::Double)) / 100.0;
            Tensor::run_backward(&[loss], &parameters, false, false)
        };
        let (ours, theirs) = (gradients(&older, &newer), gradients(&expected_older, &expected_newer));
        assert_eq!(ours.len(), 9);
        ours.iter().zip(&theirs).for_each(|(ours, theirs)| close(ours, theirs));
    }

    #[test]
    fn cifar_stem_keeps_the_size_and_gives_both_inputs_as_one() {
        let mut store = ParameterStore::new(Device::Cpu, Kind::Float);
        let stem = Stem::new(&mut store, NetworkKind::Cifar, 12);
        let images = Tensor::randn([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        let StemOutput { older, newer } = stem.forward(&images, false).unwrap();
        assert!(older.is_none());
        assert_eq!(newer.size(), [2, 12, 8, 8]);
    }
}
