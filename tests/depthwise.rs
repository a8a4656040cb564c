//! `relu_depthwise` on the CPU against libtorch's own ReLU, concatenation and grouped convolution. On a GPU libtorch computes it:
//! the kernels there are of whole separable convolutions.

#[path = "tensors/random.rs"]
mod random;
#[allow(dead_code)] // this is of the CPU alone
#[path = "tensors/mod.rs"]
mod tensors;

use std::process::Command;

use pdarts::torch::{DepthwiseGeometry, gradients, num_layout_copies, relu_depthwise};
use random::draw_alone;
use tch::{Device, Kind, Tensor, no_grad};
use tensors::{error, leaf, on_fast_kernels};

const SIZES: [(i64, i64); 5] = [(1, 1), (3, 2), (5, 7), (8, 8), (4, 19)];

#[derive(Copy, Clone, Debug)]
struct Case {
    batch: i64,
    channels: i64,
    size: (i64, i64),
    edges: i64,
    kernel: i64,
    stride: i64,
    dilation: i64,
}

impl Case {
    fn all() -> impl Iterator<Item = Case> {
        let kernels = [3, 5, 7].into_iter().flat_map(|kernel| [1, 2].map(|stride| (kernel, stride)));
        let geometries = kernels.flat_map(|(kernel, stride)| [1, 2].map(|dilation| (kernel, stride, dilation)));
        let cases = geometries.flat_map(|(kernel, stride, dilation)| {
            (1..=5).flat_map(move |edges| {
                [1, 4, 16, 20].into_iter().flat_map(move |channels| {
                    SIZES.into_iter().map(move |size| {
                        let batch = if edges % 2 == 1 { 3 } else { 1 };
                        Case { batch, channels, size, edges, kernel, stride, dilation }
                    })
                })
            })
        });
        // The slow do a third, of all sizes and shapes.
        cases.enumerate().filter(|(turn, _)| on_fast_kernels() || turn % 3 == 0).map(|(_, case)| case)
    }

    fn geometry(&self) -> DepthwiseGeometry {
        DepthwiseGeometry { stride: self.stride, dilation: self.dilation }
    }

    /// Input and weights, drawn anew; the input has exact zeros, where the ReLU's gradient is zero.
    fn tensors(&self, kind: Kind) -> (Tensor, Tensor) {
        let (height, width) = self.size;
        let options = (Kind::Double, Device::Cpu);
        let x = Tensor::randn([self.batch, height, width, self.channels], options);
        let x = x.where_self(&Tensor::rand_like(&x).gt(0.1), &Tensor::zeros_like(&x)).permute([0, 3, 1, 2]);
        let weight = Tensor::randn([self.edges * self.channels, 1, self.kernel, self.kernel], options);
        (leaf(&x.to_kind(kind)), leaf(&weight.to_kind(kind)))
    }
}

/// The same in libtorch's operations.
fn reference(x: &Tensor, weight: &Tensor, geometry: DepthwiseGeometry) -> Tensor {
    let edges = weight.size()[0] / x.size()[1];
    let relu = x.relu();
    let repeated = Tensor::cat(&vec![&relu; edges as usize], 1);
    let padding = geometry.dilation * (weight.size()[2] - 1) / 2;
    let DepthwiseGeometry { stride, dilation } = geometry;
    repeated.conv2d(weight, None::<&Tensor>, [stride; 2], [padding; 2], [dilation; 2], weight.size()[0])
}

/// Output, gradient of the input and gradient of the weights, for a random gradient of the output.
fn differentiate(y: Tensor, y_gradient: &Tensor, x: &Tensor, weight: &Tensor) -> [Tensor; 3] {
    let [x_gradient, weight_gradient] = gradients(&y, y_gradient, &[x, weight]).unwrap().try_into().unwrap();
    [y.detach(), x_gradient, weight_gradient]
}

#[test]
fn values_and_gradients_equal_those_of_libtorch() {
    let _alone = draw_alone(1);
    tch::set_num_threads(1);
    for case in Case::all() {
        let (x, weight) = case.tensors(Kind::Double);
        let theirs = reference(&x, &weight, case.geometry());
        let y_gradient = Tensor::randn_like(&theirs);
        let theirs = differentiate(theirs, &y_gradient, &x, &weight);
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
            let (x, weight) = (leaf(&x.to_kind(kind)), leaf(&weight.to_kind(kind)));
            let y = relu_depthwise(&x, &weight, case.geometry()).unwrap();
            let ours = differentiate(y, &y_gradient.to_kind(kind), &x, &weight);
            for ((what, ours), theirs) in ["output", "input gradient", "weight gradient"].iter().zip(&ours).zip(&theirs)
            {
                let error = error(ours, theirs);
                assert!(error < tolerance, "{case:?} {kind:?}: {what}: error {error:e}");
            }
        }
    }
}

/// The unit roundoff of bfloat16, for a value just above a power of two; the rest is what single precision is allowed.
const BFLOAT16_TOLERANCE: f64 = 1.0 / 256.0 + 1e-5;

#[test]
fn bfloat16_is_computed_in_single_precision_and_rounded_once() {
    let _alone = draw_alone(2);
    tch::set_num_threads(1);
    for case in Case::all() {
        let (x, weight) = case.tensors(Kind::BFloat16);
        let (wide_x, wide_weight) = (leaf(&x.to_kind(Kind::Double)), leaf(&weight.to_kind(Kind::Double)));
        let theirs = reference(&wide_x, &wide_weight, case.geometry());
        let y_gradient = Tensor::randn_like(&theirs).to_kind(Kind::BFloat16);
        let theirs = differentiate(theirs, &y_gradient.to_kind(Kind::Double), &wide_x, &wide_weight);
        for weight_kind in [Kind::Float, Kind::BFloat16] {
            let weight = leaf(&weight.to_kind(weight_kind));
            let y = relu_depthwise(&x, &weight, case.geometry()).unwrap();
            let ours = differentiate(y, &y_gradient, &x, &weight);
            let expected_kinds = [Kind::BFloat16, Kind::BFloat16, weight_kind];
            for ((kind, ours), theirs) in expected_kinds.into_iter().zip(&ours).zip(&theirs) {
                assert_eq!(ours.kind(), kind, "{case:?}");
                let tolerance = if kind == Kind::Float { 1e-5 } else { BFLOAT16_TOLERANCE };
                let error = error(ours, theirs);
                assert!(error < tolerance, "{case:?} {weight_kind:?}: error {error:e}");
            }
        }
    }
}

/// The kernel's centre is all that meets the one pixel, so the output is the rounded weight.
#[test]
fn bfloat16_is_rounded_as_libtorch_rounds_it() {
    let one = 1.0f32.to_bits();
    let ties_and_neighbours = [0x7fff, 0x8000, 0x8001, 0x1_7fff, 0x1_8000, 0x1_8001, 0xffff].map(|low| one | low);
    let special = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-40]
        .map(f32::to_bits);
    // NaN whose fraction is in the lower half alone, where it would be cut off.
    let low_nan = [0x7f80_0001, 0xff80_0001];
    let others = (0..1000u32).map(|index| index.wrapping_mul(2_654_435_769));
    let bits = ties_and_neighbours.into_iter().chain(special).chain(low_nan).chain(others);
    let values: Vec<f32> = bits.map(f32::from_bits).filter(|value| *value != 0.0).collect();
    let channels = values.len() as i64;
    let weight = Tensor::zeros([channels, 1, 3, 3], (Kind::Float, Device::Cpu));
    weight
        .narrow(2, 1, 1)
        .narrow(3, 1, 1)
        .copy_(&Tensor::from_slice(&values).to_device(Device::Cpu).view([channels, 1, 1, 1]));
    let x = Tensor::ones([1, channels, 1, 1], (Kind::BFloat16, Device::Cpu));
    let y = relu_depthwise(&x, &weight, DepthwiseGeometry { stride: 1, dilation: 1 }).unwrap();
    let floats = |tensor: &Tensor| Vec::<f32>::try_from(tensor.to_kind(Kind::Float).view([-1])).unwrap();
    let expected = floats(&Tensor::from_slice(&values).to_device(Device::Cpu).to_kind(Kind::BFloat16));
    for ((value, ours), expected) in values.iter().zip(floats(&y)).zip(expected) {
        let equal = ours.to_bits() == expected.to_bits() || (ours.is_nan() && expected.is_nan());
        assert!(equal, "{value:e} ({:x}): {ours:e}, expected {expected:e}", value.to_bits());
        assert_eq!(ours.is_nan(), value.is_nan());
    }
}

/// The choice is libtorch's, made once per process: lower ones are tested in processes that are told to use them.
#[test]
fn every_instruction_set_passes() {
    for instruction_set in ["default", "avx2"] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "values_and_gradients_equal_those_of_libtorch"])
            .args(["bfloat16_is_computed_in_single_precision_and_rounded_once"])
            .args(["bfloat16_is_rounded_as_libtorch_rounds_it"])
            .env("ATEN_CPU_CAPABILITY", instruction_set)
            .status()
            .unwrap();
        assert!(status.success(), "{instruction_set}");
    }
}

const CASE: Case = Case { batch: 3, channels: 20, size: (9, 13), edges: 3, kernel: 5, stride: 2, dilation: 1 };

#[test]
fn any_memory_layout_of_the_input_gives_the_same() {
    let _alone = draw_alone(3);
    let (x, weight) = CASE.tensors(Kind::Float);
    let forward = |x: &Tensor| {
        let x = leaf(x);
        let y = relu_depthwise(&x, &weight, CASE.geometry()).unwrap();
        let y_gradient = Tensor::arange(y.numel() as i64, (Kind::Float, Device::Cpu)).sin().view_as(&y);
        differentiate(y, &y_gradient, &x, &weight)
    };
    let expected = forward(&x);
    let nchw = x.detach().contiguous();
    assert_eq!(nchw.stride()[3], 1);
    let copies = num_layout_copies();
    let _ = forward(&nchw);
    assert!(num_layout_copies() > copies);
    let channel_slice = Tensor::cat(&[&x, &x], 1).detach().narrow(1, 20, 20);
    assert_eq!(channel_slice.stride()[3], 40);
    let pixel_slice = Tensor::cat(&[&x, &x], 3).detach().narrow(3, 13, 13);
    let transposed = x.detach().transpose(2, 3).contiguous().transpose(2, 3);
    for x in [nchw, channel_slice, pixel_slice, transposed] {
        for (ours, expected) in forward(&x).iter().zip(&expected) {
            assert_eq!(ours, expected, "strides {:?}", x.stride());
        }
    }
}

#[test]
fn an_expanded_output_gradient_is_accepted() {
    let _alone = draw_alone(4);
    let (x, weight) = CASE.tensors(Kind::Double);
    let ours = relu_depthwise(&x, &weight, CASE.geometry()).unwrap().sum(Kind::Double);
    let theirs = reference(&x, &weight, CASE.geometry()).sum(Kind::Double);
    let ours = Tensor::run_backward(&[ours], &[&x, &weight], false, false);
    let theirs = Tensor::run_backward(&[theirs], &[&x, &weight], false, false);
    assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| error(ours, theirs) < 1e-12));
}

#[test]
fn only_the_wanted_gradients_are_computed() {
    let _alone = draw_alone(5);
    let (x, weight) = CASE.tensors(Kind::Double);
    let both = differentiate(
        relu_depthwise(&x, &weight, CASE.geometry()).unwrap(),
        &Tensor::ones([3, 60, 5, 7], (Kind::Double, Device::Cpu)),
        &x,
        &weight,
    );
    for (train_x, train_weight) in [(true, false), (false, true)] {
        let x = x.detach().set_requires_grad(train_x);
        let weight = weight.detach().set_requires_grad(train_weight);
        relu_depthwise(&x, &weight, CASE.geometry()).unwrap().sum(Kind::Double).backward();
        assert_eq!((x.grad().defined(), weight.grad().defined()), (train_x, train_weight));
        for (leaf, expected) in [(&x, &both[1]), (&weight, &both[2])] {
            assert!(!leaf.grad().defined() || leaf.grad() == *expected);
        }
    }
    let frozen = no_grad(|| relu_depthwise(&x, &weight, CASE.geometry()).unwrap());
    assert!(!frozen.requires_grad());
    assert_eq!(frozen, both[0]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let _alone = draw_alone(6);
    let threads = tch::get_num_threads();
    for (batch, size) in [(5, (16, 16)), (1, (9, 7)), (2, (90, 130))] {
        let case = Case { batch, size, channels: 36, edges: 4, kernel: 5, stride: 1, dilation: 2 };
        for kind in [Kind::Float, Kind::BFloat16] {
            let (x, weight) = case.tensors(kind);
            let y_gradient = Tensor::randn([batch, 4 * 36, size.0, size.1], (kind, Device::Cpu));
            let run = |threads| {
                tch::set_num_threads(threads);
                differentiate(relu_depthwise(&x, &weight, case.geometry()).unwrap(), &y_gradient, &x, &weight)
            };
            assert_eq!(run(1), run(2));
            assert_eq!(run(1), run(3));
        }
    }
    tch::set_num_threads(threads);
}

#[test]
fn types_without_own_kernels_use_libtorch() {
    let _alone = draw_alone(7);
    let (x, weight) = CASE.tensors(Kind::Half);
    let ours = relu_depthwise(&x, &weight, CASE.geometry()).unwrap();
    assert_eq!(ours.kind(), Kind::Half);
    let y_gradient = Tensor::randn_like(&ours);
    let theirs = reference(&x, &weight, CASE.geometry());
    let ours = differentiate(ours, &y_gradient, &x, &weight);
    assert_eq!(ours, differentiate(theirs, &y_gradient, &x, &weight));
}

#[test]
fn nan_passes_and_negative_infinity_does_not() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let x = Tensor::from_slice(&[f32::NAN, f32::NEG_INFINITY, 2.0])
            .to_device(Device::Cpu)
            .view([1, 1, 1, 3])
            .to_kind(kind);
        let weight = Tensor::zeros([1, 1, 3, 3], (Kind::Float, Device::Cpu));
        let mut centre = weight.narrow(2, 1, 1).narrow(3, 1, 1);
        let _ = centre.fill_(1.0);
        let y = relu_depthwise(&x, &weight, DepthwiseGeometry { stride: 2, dilation: 1 }).unwrap();
        assert!(y.double_value(&[0, 0, 0, 0]).is_nan());
        let geometry = DepthwiseGeometry { stride: 1, dilation: 1 };
        let shifted = relu_depthwise(&x.narrow(3, 1, 2), &weight, geometry).unwrap().to_kind(Kind::Float);
        assert_eq!(Vec::<f32>::try_from(shifted.view([-1])).unwrap(), [0.0, 2.0]);
    }
}

#[test]
fn an_empty_batch_gives_an_empty_output_and_zero_weight_gradient() {
    let _alone = draw_alone(8);
    let (_, weight) = CASE.tensors(Kind::Float);
    let x = leaf(&Tensor::zeros([0, 20, 9, 13], (Kind::Float, Device::Cpu)));
    let y = relu_depthwise(&x, &weight, CASE.geometry()).unwrap();
    assert_eq!(y.size(), [0, 60, 5, 7]);
    y.sum(Kind::Float).backward();
    assert_eq!(weight.grad(), weight.zeros_like());
}

#[test]
fn the_gradient_of_the_gradient_is_refused() {
    let _alone = draw_alone(9);
    let (x, weight) = CASE.tensors(Kind::Float);
    let loss = relu_depthwise(&x, &weight, CASE.geometry()).unwrap().sum(Kind::Float);
    let message = Tensor::f_run_backward(&[loss], &[&x], true, true).unwrap_err().to_string();
    assert!(message.contains("cannot be differentiated"), "{message}");
}

#[test]
fn shapes_and_types_that_do_not_fit_are_named() {
    let _alone = draw_alone(10);
    let (x, weight) = CASE.tensors(Kind::Float);
    let refused = |x: &Tensor, weight: &Tensor, stride: i64, expected: &str| {
        let geometry = DepthwiseGeometry { stride, dilation: 1 };
        let message = relu_depthwise(x, weight, geometry).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1);
    };
    refused(&x, &weight.narrow(0, 0, 30), 1, "for 20 channels");
    refused(&x, &weight.narrow(2, 0, 2).narrow(3, 0, 2), 1, "kernel 2: expected 3, 5 or 7");
    refused(&x, &weight, 3, "stride 3");
    refused(&x.get(0), &weight, 1, "expected [N, C, H, W]");
    refused(&x, &weight.to_kind(Kind::Double), 1, "weight of Double");
}
