//! The operations that networks are made of.

use std::sync::Arc;

use tch::{Kind, Tensor, no_grad};

use super::comparison::Computed;
use super::values::Values;
use super::{Case, Extent, Failure};
use crate::data::Colours;
use crate::genotype::NetworkKind;
use crate::model::{BatchNorm, Conv2d, FactorizedReduce, Linear, ParameterStore, Stem, channels_last, cross_entropy};
use crate::search::{PartialChannels, concrete_sample, hard_sample};
use crate::torch::{
    Branch, DepthwiseGeometry, ImageWindow, NodeBranch, Norm, RunningStatistics, SeparableCall, SeparableWeights,
    TorchError, as_autocast, avg_pool_3x3, branch_sum, bytes_to_device, dropout, gradients, max_pool_3x3, mix,
    normalised_windows, relu_depthwise, separable_conv, synchronise_batch_norm,
};

/// Images, channels, height and width of an operation's input.
type Size = [i64; 4];

/// Small and even; of a network's middle; odd, with fewer channels than a vector register holds.
const SIZES: [Size; 3] = [[2, 8, 8, 8], [4, 64, 16, 16], [3, 6, 7, 5]];
/// Edges that read one input.
const EDGES: i64 = 3;

pub fn cases(extent: Extent) -> Vec<Case> {
    let sizes = match extent {
        Extent::Quick => &SIZES[..1],
        Extent::Full => &SIZES[..],
    };
    let mut cases = Vec::new();
    for &size in sizes {
        for stride in [1, 2] {
            cases.extend(of_stride(size, stride));
        }
        cases.extend(of_size(size));
    }
    cases.extend(heads());
    cases
}

fn named(operation: &str, size: Size) -> String {
    let [images, channels, height, width] = size;
    format!("{operation}, {images} x {channels} x {height} x {width}")
}

/// What the edges of a cell compute.
fn of_stride(size: Size, stride: i64) -> Vec<Case> {
    let name = |operation: &str| named(&format!("{operation}, stride {stride}"), size);
    let mut cases = vec![
        Case::operation(name("max_pool_3x3"), move |values| pooled(values, size, |x| max_pool_3x3(x, stride)))
            .also_in_bf16(),
        Case::operation(name("avg_pool_3x3"), move |values| pooled(values, size, |x| avg_pool_3x3(x, stride)))
            .also_in_bf16(),
    ];
    for (operation, kernel, dilation) in [
        ("sep_conv_3x3", 3, 1),
        ("sep_conv_5x5", 5, 1),
        ("sep_conv_7x7", 7, 1),
        ("dil_conv_3x3", 3, 2),
        ("dil_conv_5x5", 5, 2),
    ] {
        let geometry = DepthwiseGeometry { stride, dilation };
        cases.push(Case::operation(name(&format!("ReLU and depthwise part of {operation}")), move |values| {
            let (x, weight) = (values.leaf(&size)?, values.leaf(&[EDGES * size[1], 1, kernel, kernel])?);
            Ok(Computed::with_gradients(values, &relu_depthwise(&x, &weight, geometry)?, &[&x, &weight], &[])?)
        }));
        cases.push(Case::operation(name(operation), move |values| separable(values, size, kernel, geometry)));
    }
    cases
}

/// A pooling of values that bfloat16 holds exactly: which of them is the largest must not depend on rounding.
fn pooled(
    values: &mut Values,
    size: Size,
    pool: impl Fn(&Tensor) -> Result<Tensor, TorchError>,
) -> Result<Computed, Failure> {
    let x = values.tensor(&size)?;
    let x = x.f_to_kind(Kind::BFloat16)?.f_to_kind(x.kind())?.f_set_requires_grad(true)?;
    let y = pool(&as_autocast(&x)?)?;
    Ok(Computed::with_gradients(values, &y, &[&x], &[])?)
}

/// BatchNorm, ReLU, depthwise and pointwise convolution for several edges.
fn separable(values: &mut Values, size: Size, kernel: i64, geometry: DepthwiseGeometry) -> Result<Computed, Failure> {
    let channels = size[1];
    let x = values.leaf(&size)?;
    let depthwise = values.leaf(&[EDGES * channels, 1, kernel, kernel])?;
    let pointwise = values.leaf(&[EDGES * channels, channels, 1, 1])?;
    let (scale, shift) = (values.leaf(&[channels])?, values.leaf(&[channels])?);
    let (mean, var) = statistics(values, channels)?;
    let norm =
        Norm { affine: Some((&scale, &shift)), running: RunningStatistics { mean: &mean, var: &var }, training: true };
    let weights = SeparableWeights { depthwise: &depthwise, pointwise: &pointwise };
    let y = separable_conv(SeparableCall { x: &x, weights, geometry, norm: Some(norm) })?;
    let leaves = [&x, &depthwise, &pointwise, &scale, &shift];
    Ok(Computed::with_gradients(values, &y, &leaves, &[&mean, &var])?)
}

/// Running means around 0 and variances around 1.
fn statistics(values: &mut Values, channels: i64) -> Result<(Tensor, Tensor), TorchError> {
    Ok((values.around(0.0, 0.5, &[channels])?, values.around(1.0, 0.5, &[channels])?))
}

/// What does not go by strides.
fn of_size(size: Size) -> Vec<Case> {
    let channels = size[1];
    let mut cases = vec![
        Case::operation(named("weighted sum of normalised operations", size), move |values| mixed(values, size))
            .also_in_bf16(),
        Case::operation(named("sum of a node's branches", size), move |values| summed(values, size)),
        Case::operation(named("BatchNorm", size), move |values| {
            let mut store = values.store();
            let norm = BatchNorm::affine(&mut store, "norm", channels);
            layer(values, &size, &store.checked()?, |x| norm.forward(x, true))
        }),
        Case::operation(named("BatchNorm without scale and shift", size), move |values| {
            let mut store = values.store();
            let norm = BatchNorm::plain(&mut store, "norm", channels);
            layer(values, &size, &store.checked()?, |x| norm.forward(x, true))
        }),
        Case::operation(named("BatchNorm by running statistics", size), move |values| {
            let mut store = values.store();
            let norm = BatchNorm::affine(&mut store, "norm", channels);
            layer(values, &size, &store.checked()?, |x| norm.forward(x, false))
        }),
        Case::operation(named("BatchNorm over ranks", size), move |values| {
            let x = values.leaf(&size)?;
            let (scale, shift) = (values.leaf(&[channels])?, values.leaf(&[channels])?);
            let (mean, var) = statistics(values, channels)?;
            let running = RunningStatistics { mean: &mean, var: &var };
            let norm = Norm { affine: Some((&scale, &shift)), running, training: true };
            // This rank's sums alone.
            synchronise_batch_norm(Some(Arc::new(|_| Ok(()))));
            let computed = branch_sum(&[NodeBranch { y: x.shallow_clone(), norm: Some(norm), mask: None }])
                .and_then(|y| Computed::with_gradients(values, &y, &[&x, &scale, &shift], &[&mean, &var]));
            synchronise_batch_norm(None);
            Ok(computed?)
        }),
        Case::operation(named("pointwise convolution", size), move |values| {
            let mut store = values.store();
            let conv = Conv2d::pointwise(&mut store, "conv", (channels, 2 * channels), 1, 1);
            layer(values, &size, &store.checked()?, |x| conv.forward(x))
        })
        .also_in_bf16(),
    ];
    // Networks have it at even sizes alone.
    if size[2] % 2 == 0 {
        cases.push(Case::operation(named("factorized reduction", size), move |values| {
            let mut store = values.store();
            let reduce = FactorizedReduce::new(&mut store, "reduce", (channels, channels), EDGES);
            layer(values, &size, &store.checked()?, |x| reduce.reduce(&x.f_relu()?))
        }));
    }
    cases
}

/// Two convolutions of several edges, a pooling and the input itself, to one node.
fn mixed(values: &mut Values, size: Size) -> Result<Computed, Failure> {
    let [images, channels, height, width] = size;
    let (x, y) = (values.leaf(&size)?, values.leaf(&[images, 2 * channels, height, width])?);
    let weights = values.leaf(&[4])?;
    let (mean, var) = statistics(values, 2 * channels)?;
    let (pool_mean, pool_var) = statistics(values, channels)?;
    let input = as_autocast(&x)?;
    let branches = [
        Branch {
            y: as_autocast(&y)?,
            per_edge: true,
            running: Some(RunningStatistics { mean: &mean, var: &var }),
            nodes: vec![0, 0],
        },
        Branch {
            y: input.f_relu()?,
            per_edge: false,
            running: Some(RunningStatistics { mean: &pool_mean, var: &pool_var }),
            nodes: vec![0],
        },
        Branch { y: input, per_edge: false, running: None, nodes: vec![0] },
    ];
    let mut sums = [None];
    mix(&mut sums, &branches, &weights, true)?;
    let [sum] = sums;
    let sum = sum.ok_or_else(|| TorchError::Shim("no sum of mixed operations".into()))?;
    Ok(Computed::with_gradients(values, &sum, &[&x, &y, &weights], &[&mean, &var, &pool_mean, &pool_var])?)
}

/// A normalised branch, of which images are dropped, and a state.
fn summed(values: &mut Values, size: Size) -> Result<Computed, Failure> {
    let [images, channels, ..] = size;
    let (y, state) = (values.leaf(&size)?, values.leaf(&size)?);
    let (weight, bias) = (values.leaf(&[channels])?, values.leaf(&[channels])?);
    let (mean, var) = statistics(values, channels)?;
    let running = RunningStatistics { mean: &mean, var: &var };
    let norm = Norm { affine: Some((&weight, &bias)), running, training: true };
    let mask = Tensor::f_ones([images, 1, 1, 1], (y.kind(), y.device()))?;
    let _ = mask.f_narrow(0, 0, 1)?.f_zero_()?;
    let branches = [
        NodeBranch { y: y.shallow_clone(), norm: Some(norm), mask: Some(mask) },
        NodeBranch { y: state.shallow_clone(), norm: None, mask: None },
    ];
    let sum = branch_sum(&branches)?;
    Ok(Computed::with_gradients(values, &sum, &[&y, &state, &weight, &bias], &[&mean, &var])?)
}

/// `forward` of one input of this size with the parameters of `store`.
fn layer(
    values: &mut Values,
    size: &[i64],
    store: &ParameterStore,
    forward: impl Fn(&Tensor) -> Result<Tensor, TorchError>,
) -> Result<Computed, Failure> {
    values.fill(store)?;
    let x = values.leaf(size)?;
    let y = forward(&x)?;
    let trained = store.trainable().iter().map(|named| &named.tensor);
    let leaves: Vec<&Tensor> = std::iter::once(&x).chain(trained).collect();
    let statistics: Vec<&Tensor> = store.statistics().iter().map(|named| &named.tensor).collect();
    Ok(Computed::with_gradients(values, &y, &leaves, &statistics)?)
}

/// What stands once in a network: images, stems, classifier, losses, weights of edges.
fn heads() -> Vec<Case> {
    vec![
        Case::operation("bytes of images", |values| {
            let bytes: Vec<u8> = (0..=255).collect();
            let images = bytes_to_device(&[&bytes], values.device)?;
            Ok(Computed::of(vec![images.f_to_kind(Kind::Double)?]))
        }),
        Case::operation("windows on images", |values| {
            let bytes: Vec<u8> = (0..=255).flat_map(|byte| [byte; 3]).collect();
            let images = bytes_to_device(&[&bytes], values.device)?.f_view([2, 8, 16, 3])?;
            let whole = ImageWindow::default();
            let cut = ImageWindow { image: 1, top: -3, left: 2, mirrored: true, erased: [4, 6, 0, 9] };
            let Colours { mean, std } = Colours::IMAGENET;
            Ok(Computed::of(vec![normalised_windows(&images, &[whole, cut, whole], mean, std, values.kind)?]))
        }),
        Case::operation("stem of CIFAR", |values| stem(values, NetworkKind::Cifar)).also_in_bf16(),
        Case::operation("stem of ImageNet", |values| stem(values, NetworkKind::ImageNet)).also_in_bf16(),
        Case::operation("mean over positions", |values| {
            let x = values.leaf(&[4, 16, 8, 8])?;
            let mean = x.f_mean_dim([2i64, 3].as_slice(), false, x.kind())?;
            Ok(Computed::with_gradients(values, &mean, &[&x], &[])?)
        }),
        Case::operation("classifier", |values| {
            let mut store = values.store();
            let linear = Linear::new(&mut store, "classifier", (48, 10));
            layer(values, &[6, 48], &store.checked()?, |x| linear.forward(x))
        })
        .also_in_bf16(),
        Case::operation("cross-entropy", |values| {
            let (x, classes) = (values.leaf(&[6, 10])?, values.classes(6, 10)?);
            Ok(Computed::with_gradients(values, &cross_entropy(&x, &classes, 0.1)?, &[&x], &[])?)
        }),
        Case::operation("cross-entropy of mixed images", |values| {
            let (x, shares) = (values.leaf(&[6, 10])?, values.tensor(&[6, 10])?.f_softmax(-1, None)?);
            Ok(Computed::with_gradients(values, &cross_entropy(&x, &shares, 0.1)?, &[&x], &[])?)
        }),
        Case::operation("softmax of alphas", |values| {
            let alphas = values.leaf(&[14, 8])?;
            Ok(Computed::with_gradients(values, &alphas.f_softmax(-1, None)?, &[&alphas], &[])?)
        }),
        Case::operation("samples of operations", |values| {
            let (alphas, noise) = (values.leaf(&[14, 8])?, values.tensor(&[14, 8])?.f_sigmoid()?);
            let weights = concrete_sample(&alphas, &noise, 0.5)?.f_add(&hard_sample(&alphas, &noise, 0.5)?)?;
            Ok(Computed::with_gradients(values, &weights, &[&alphas], &[])?)
        }),
        Case::operation("dropout", dropped),
        Case::operation("partial channels", |values| {
            let x = values.leaf(&[2, 16, 8, 8])?;
            let parts = PartialChannels::one_of(4);
            let state = parts.join(&max_pool_3x3(&parts.mixed(&x)?, 2)?, &parts.passing(&x, 2)?)?;
            Ok(Computed::with_gradients(values, &state, &[&x], &[])?)
        }),
    ]
}

/// Dropout by half, which doubles what is left. Devices draw different elements, so what is compared is what follows from
/// those that were drawn: how far values, gradients and the share of what is left are from what they should be.
fn dropped(values: &mut Values) -> Result<Computed, Failure> {
    let x = values.leaf(&[4, 16, 8, 8])?;
    let y = dropout(&x, 0.5)?;
    let gradient = gradients(&y, &y.f_ones_like()?, &[&x])?.remove(0);
    no_grad(|| {
        let factor = y.f_ne(0.0)?.f_to_kind(x.kind())?.f_mul_scalar(2.0)?;
        let is_off = factor.f_mean(x.kind())?.f_sub_scalar(1.0)?.f_abs()?.f_gt(0.1)?;
        let off = [y.f_sub(&x.f_mul(&factor)?)?, gradient.f_sub(&factor)?, is_off.f_to_kind(x.kind())?];
        Ok(Computed::of([x.f_detach()?].into_iter().chain(off).collect()))
    })
}

fn stem(values: &mut Values, kind: NetworkKind) -> Result<Computed, Failure> {
    let mut store = values.store();
    let stem = Stem::new(&mut store, kind, 12);
    layer(values, &[4, 3, 16, 16], &store.checked()?, |x| Ok(stem.forward(&channels_last(x)?, true)?.newer))
}
