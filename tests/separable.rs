//! `separable_conv` against libtorch's own BatchNorm, ReLU and convolutions.

#[path = "tensors/random.rs"]
mod random;
#[path = "tensors/mod.rs"]
mod tensors;

use std::process::Command;

use pdarts::torch::{
    DepthwiseGeometry, Norm as InputNorm, RunningStatistics, SeparableCall, SeparableWeights, num_layout_copies,
    separable_conv, separable_convs,
};
use random::draw_alone;
use tch::{Kind, Tensor, no_grad};
use tensors::{computed_in, device, error, leaf, on_cpu_kernels, on_fast_kernels, pass_in_emulation};

const SIZES: [(i64, i64); 4] = [(1, 1), (3, 2), (5, 7), (4, 19)];

#[derive(Copy, Clone, Debug, PartialEq)]
enum Norm {
    Without,
    Plain,
    Affine,
    /// By the running statistics.
    Evaluation,
}

#[derive(Copy, Clone, Debug)]
struct Case {
    batch: i64,
    channels: i64,
    size: (i64, i64),
    edges: i64,
    /// Of the pointwise convolution: one for each edge, or for each input of as many edges' channels.
    groups: i64,
    outputs: i64,
    kernel: i64,
    stride: i64,
    dilation: i64,
    norm: Norm,
}

impl Case {
    fn all() -> impl Iterator<Item = Case> {
        let norms = [Norm::Without, Norm::Plain, Norm::Affine, Norm::Evaluation];
        let geometries = [3, 5, 7].into_iter().flat_map(|kernel| [(1, 1), (2, 1), (1, 2), (2, 2)].map(|g| (kernel, g)));
        // The slow do one norm for each geometry and shape, in turns.
        let is_taken = move |turn: usize, norm| on_fast_kernels() || norms[turn % norms.len()] == norm;
        let shapes = geometries.enumerate().flat_map(move |geometry| norms.map(|norm| (geometry, norm)));
        // Rows of which GPUs compute several pixels at a time, and patches, whose rows are as many.
        let rows = [3, 5].into_iter().flat_map(move |kernel| {
            [
                (16, 2, 2, 16, 1, (6, 8)),
                (36, 1, 1, 36, 2, (8, 12)),
                (16, 3, 3, 16, 2, (6, 8)),
                (16, 3, 3, 16, 1, (12, 8)),
                (4, 2, 1, 12, 2, (12, 12)),
            ]
            .into_iter()
            .flat_map(move |(channels, edges, groups, outputs, dilation, size)| {
                [Norm::Without, Norm::Affine].map(|norm| Case {
                    batch: 4,
                    channels,
                    size,
                    edges,
                    groups,
                    outputs,
                    kernel,
                    stride: 1,
                    dilation,
                    norm,
                })
            })
        });
        let others = shapes.flat_map(move |((turn, (kernel, (stride, dilation))), norm)| {
            let channels = [
                (1, 1, 1, 1),
                (4, 2, 2, 4),
                (16, 3, 3, 16),
                (20, 1, 1, 36),
                (36, 1, 3, 12),
                (16, 2, 1, 70),
                (16, 2, 2, 68),
                (68, 1, 1, 16),
            ];
            let shapes = channels.into_iter().zip(SIZES.into_iter().cycle()).enumerate();
            shapes.filter(move |(index, _)| is_taken(turn + index, norm)).map(
                move |(_, ((channels, edges, groups, outputs), size))| {
                    // Also for so many images.
                    let has_many = kernel == 5 && (on_fast_kernels() || norm == Norm::Affine);
                    let batch = if has_many { 35 } else { 3 };
                    Case { batch, channels, size, edges, groups, outputs, kernel, stride, dilation, norm }
                },
            )
        });
        others.chain(rows)
    }

    fn geometry(&self) -> DepthwiseGeometry {
        DepthwiseGeometry { stride: self.stride, dilation: self.dilation }
    }

    /// Input, two weights, scale and shift.
    fn leaves(&self) -> [Tensor; 5] {
        let options = (Kind::Double, device());
        let ((height, width), middle) = (self.size, self.edges * self.channels);
        let x = Tensor::randn([self.batch, height, width, self.channels], options) * 2.0 + 0.5;
        [
            leaf(&x.permute([0, 3, 1, 2])),
            leaf(&Tensor::randn([middle, 1, self.kernel, self.kernel], options)),
            leaf(&Tensor::randn([self.groups * self.outputs, middle / self.groups, 1, 1], options)),
            leaf(&Tensor::randn([self.channels], options)),
            leaf(&Tensor::randn([self.channels], options)),
        ]
    }

    /// Mean and variance to begin with.
    fn running(&self, kind: Kind) -> (Tensor, Tensor) {
        let values = |from: f64| Tensor::linspace(from, from + 1.0, self.channels, (kind, device()));
        (values(-0.5), values(0.5))
    }

    fn ours(&self, leaves: &[Tensor; 5], running: &(Tensor, Tensor)) -> Tensor {
        separable_conv(self.call(leaves, running)).unwrap()
    }

    fn call<'a>(&self, leaves: &'a [Tensor; 5], running: &'a (Tensor, Tensor)) -> SeparableCall<'a> {
        let [x, depthwise, pointwise, weight, bias] = leaves;
        let norm = InputNorm {
            affine: matches!(self.norm, Norm::Affine | Norm::Evaluation).then_some((weight, bias)),
            running: RunningStatistics { mean: &running.0, var: &running.1 },
            training: self.norm != Norm::Evaluation,
        };
        let norm = (self.norm != Norm::Without).then_some(norm);
        let weights = SeparableWeights { depthwise, pointwise };
        SeparableCall { x, weights, geometry: self.geometry(), norm }
    }

    /// What goes into the ReLU.
    fn normalised(&self, leaves: &[Tensor; 5], running: &(Tensor, Tensor)) -> Tensor {
        let [x, _, _, weight, bias] = leaves;
        let affine = matches!(self.norm, Norm::Affine | Norm::Evaluation).then_some((weight, bias));
        let (weight, bias) = (affine.map(|affine| affine.0), affine.map(|affine| affine.1));
        let training = self.norm != Norm::Evaluation;
        match self.norm {
            Norm::Without => x.shallow_clone(),
            _ => x.batch_norm(weight, bias, Some(&running.0), Some(&running.1), training, 0.1, 1e-5, false),
        }
    }

    /// Leaves, rounded, of which no value is so near to the ReLU's kink that single precision may see it on the other
    /// side, where its gradient is another.
    fn clear_leaves(&self, round: impl Fn([Tensor; 5]) -> [Tensor; 5]) -> [Tensor; 5] {
        let distance = |leaves: &[Tensor; 5]| {
            let values = self.normalised(&cast(leaves, Kind::Double), &self.running(Kind::Double));
            values.abs().min().double_value(&[])
        };
        std::iter::repeat_with(|| round(self.leaves())).find(|leaves| distance(leaves) > 2e-6).unwrap()
    }

    fn reference(&self, leaves: &[Tensor; 5], running: &(Tensor, Tensor)) -> Tensor {
        let [_, depthwise, pointwise, ..] = leaves;
        let relu = self.normalised(leaves, running).relu();
        let repeated = Tensor::cat(&vec![&relu; self.edges as usize], 1);
        let padding = self.dilation * (self.kernel - 1) / 2;
        let channels = depthwise.size()[0];
        repeated
            .conv2d(depthwise, None::<&Tensor>, [self.stride; 2], [padding; 2], [self.dilation; 2], channels)
            .conv2d(pointwise, None::<&Tensor>, [1; 2], [0; 2], [1; 2], self.groups)
    }

    /// The leaves that the result depends on.
    fn num_used(&self) -> usize {
        if matches!(self.norm, Norm::Affine | Norm::Evaluation) { 5 } else { 3 }
    }

    /// One value has no variance.
    fn is_defined(&self) -> bool {
        self.batch * self.size.0 * self.size.1 > 1
    }
}

fn cast(leaves: &[Tensor; 5], kind: Kind) -> [Tensor; 5] {
    leaves.each_ref().map(|values| leaf(&values.to_kind(kind)))
}

/// Input in bfloat16, the weights of the convolutions in `weights`, BatchNorm's in single precision.
fn bfloat16(leaves: &[Tensor; 5], weights: Kind) -> [Tensor; 5] {
    let kinds = [Kind::BFloat16, weights, weights, Kind::Float, Kind::Float];
    std::array::from_fn(|index| leaf(&leaves[index].to_kind(kinds[index])))
}

/// The output, and the gradients of the first `num_used` leaves for a random gradient of the output.
fn differentiate(y: Tensor, y_gradient: &Tensor, leaves: &[Tensor; 5], num_used: usize) -> Vec<Tensor> {
    let leaves: Vec<&Tensor> = leaves[..num_used].iter().collect();
    let mut all = vec![y.detach()];
    all.extend(pdarts::torch::gradients(&y, y_gradient, &leaves).unwrap());
    all
}

#[test]
fn values_gradients_and_statistics_equal_those_of_libtorch() {
    const WHAT: [&str; 6] = ["output", "input", "depthwise", "pointwise", "norm's weight", "norm's bias"];
    let _alone = draw_alone(1);
    tch::set_num_threads(1);
    for case in Case::all().filter(Case::is_defined) {
        let leaves = case.clear_leaves(|leaves| leaves);
        let running = case.running(Kind::Double);
        let theirs = case.reference(&leaves, &running);
        let y_gradient = Tensor::randn_like(&theirs);
        let theirs = differentiate(theirs, &y_gradient, &leaves, case.num_used());
        for (kind, tolerance) in [(Kind::Double, 1e-11), (Kind::Float, 2e-4)] {
            let (leaves, our_running) = (cast(&leaves, kind), case.running(kind));
            let y = case.ours(&leaves, &our_running);
            let ours = differentiate(y, &y_gradient.to_kind(kind), &leaves, case.num_used());
            for ((what, ours), theirs) in WHAT.iter().zip(&ours).zip(&theirs) {
                let error = error(ours, theirs);
                assert!(error < tolerance, "{case:?} {kind:?}: {what}: error {error:e}");
            }
            assert!(error(&our_running.0, &running.0) < tolerance, "{case:?} {kind:?}: running mean");
            assert!(error(&our_running.1, &running.1) < tolerance, "{case:?} {kind:?}: running variance");
        }
    }
}

/// What is stored in bfloat16 is rounded to a 256th at most: BatchNorm's input gradient before and after its means are
/// taken away. The gradients of its weight and bias are sums of such values, of which most may cancel, so their tolerance
/// is wide, and BatchNorm is tested on more than a few values. All else is in single precision.
#[test]
fn bfloat16_is_computed_in_single_precision() {
    const ROUNDOFF: f64 = 1.0 / 256.0;
    let _alone = draw_alone(2);
    tch::set_num_threads(1);
    let averages = |case: &Case| case.norm == Norm::Without || case.batch * case.size.0 * case.size.1 > 100;
    for case in Case::all().filter(averages) {
        let leaves = case.clear_leaves(|leaves| bfloat16(&leaves, Kind::BFloat16));
        let (wide, running) = (cast(&leaves, Kind::Double), case.running(Kind::Double));
        let theirs = case.reference(&wide, &running);
        let y_gradient = Tensor::randn_like(&theirs).to_kind(Kind::BFloat16);
        let theirs = differentiate(theirs, &y_gradient.to_kind(Kind::Double), &wide, case.num_used());
        for weights in [Kind::Float, Kind::BFloat16] {
            let (leaves, our_running) = (bfloat16(&leaves, weights), case.running(Kind::Float));
            let ours = differentiate(case.ours(&leaves, &our_running), &y_gradient, &leaves, case.num_used());
            let input = if case.norm == Norm::Without { ROUNDOFF } else { 8.0 * ROUNDOFF };
            let weight = if weights == Kind::Float { 0.0 } else { ROUNDOFF };
            let tolerances = [ROUNDOFF, input, weight, weight, 32.0 * ROUNDOFF, 32.0 * ROUNDOFF];
            let kinds = [Kind::BFloat16, Kind::BFloat16, weights, weights, Kind::Float, Kind::Float];
            for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                assert_eq!(ours.kind(), kinds[index]);
                let error = error(ours, theirs);
                assert!(error < tolerances[index] + 2e-4, "{case:?} {weights:?}: {index}: error {error:e}");
            }
            assert!(error(&our_running.0, &running.0) < 2e-4, "{case:?}: running mean");
            assert!(error(&our_running.1, &running.1) < 2e-4, "{case:?}: running variance");
        }
    }
}

/// The choice is libtorch's, made once per process: lower ones are tested in processes that are told to use them.
#[test]
fn every_instruction_set_passes() {
    for instruction_set in ["default", "avx2"] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "values_gradients_and_statistics_equal_those_of_libtorch"])
            .args(["bfloat16_is_computed_in_single_precision"])
            .env("ATEN_CPU_CAPABILITY", instruction_set)
            .status()
            .unwrap();
        assert!(status.success(), "{instruction_set}");
    }
}

const CASE: Case = Case {
    batch: 3,
    channels: 20,
    size: (9, 13),
    edges: 3,
    groups: 3,
    outputs: 20,
    kernel: 5,
    stride: 2,
    dilation: 1,
    norm: Norm::Affine,
};

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let _alone = draw_alone(3);
    let threads = tch::get_num_threads();
    for (batch, size) in [(5, (16, 16)), (1, (9, 7)), (70, (6, 5)), (2, (60, 70))] {
        let case = Case { batch, size, channels: 36, outputs: 36, stride: 1, dilation: 2, ..CASE };
        let leaves = case.leaves();
        for leaves in [cast(&leaves, Kind::Float), bfloat16(&leaves, Kind::Float)] {
            let y_gradient = Tensor::randn([batch, 3 * 36, size.0, size.1], (leaves[0].kind(), device()));
            let run = |threads| {
                tch::set_num_threads(threads);
                differentiate(case.ours(&leaves, &case.running(Kind::Float)), &y_gradient, &leaves, 5)
            };
            assert_eq!(run(1), run(2));
            assert_eq!(run(1), run(3));
        }
    }
    tch::set_num_threads(threads);
}

#[test]
fn any_memory_layout_gives_the_same() {
    let _alone = draw_alone(4);
    let leaves = cast(&CASE.leaves(), Kind::Float);
    let forward = |x: &Tensor| {
        let mut leaves = cast(&leaves, Kind::Float);
        leaves[0] = leaf(x);
        let y = CASE.ours(&leaves, &CASE.running(Kind::Float));
        let y_gradient = Tensor::arange(y.numel() as i64, (Kind::Float, device())).sin().view_as(&y.contiguous());
        differentiate(y, &y_gradient, &leaves, 5)
    };
    let x = &leaves[0].detach();
    let expected = forward(x);
    let nchw = x.contiguous();
    assert_eq!(nchw.stride()[3], 1);
    let copies = num_layout_copies();
    let _ = forward(&nchw);
    assert!(num_layout_copies() > copies || !on_cpu_kernels());
    let channel_slice = Tensor::cat(&[x, x], 1).narrow(1, 20, 20);
    assert_eq!(channel_slice.stride()[3], 40);
    let pixel_slice = Tensor::cat(&[x, x], 3).narrow(3, 13, 13);
    for x in [nchw, channel_slice, pixel_slice] {
        for (ours, expected) in forward(&x).iter().zip(&expected) {
            assert_eq!(ours, expected, "strides {:?}", x.stride());
        }
    }
}

/// Calls on one input, of which the last two normalise it, and more than a GPU computes in one kernel.
fn cases_together() -> [(Vec<Case>, &'static str); 4] {
    let case = |kernel: i64, dilation: i64, norm: Norm| Case {
        batch: 2,
        channels: 16,
        size: (6, 8),
        edges: 2,
        groups: 2,
        outputs: 16,
        kernel,
        stride: 1,
        dilation,
        norm,
    };
    let plain =
        [(3, 1), (5, 1), (3, 2), (5, 2), (7, 1)].map(|(kernel, dilation)| case(kernel, dilation, Norm::Without));
    let adjacent: Vec<Case> = plain.into_iter().chain([case(3, 1, Norm::Plain), case(5, 1, Norm::Affine)]).collect();
    // Without the 7 x 7, beside which a GPU computes no adjacent pixels: at both strides, and in rows that end with fewer of them.
    let of_strides = |size| {
        let small = adjacent.iter().filter(|case| case.kernel < 7);
        small.zip([2, 1].into_iter().cycle()).map(move |(case, stride)| Case { stride, size, ..*case }).collect()
    };
    let (strides, uneven) = (of_strides((5, 12)), of_strides((5, 10)));
    let odd = adjacent.iter().map(|case| Case { channels: 5, outputs: 7, size: (5, 3), ..*case }).collect();
    [(adjacent, "adjacent pixels"), (strides, "both strides"), (uneven, "uneven rows"), (odd, "odd sizes")]
}

/// The leaves of each in `kind`, the first of which is one for all.
fn leaves_together(cases: &[Case], kind: Kind) -> Vec<[Tensor; 5]> {
    let x = leaf(&cases[0].leaves()[0].to_kind(kind));
    let of_case = |case: &Case| {
        let [_, depthwise, pointwise, weight, bias] =
            case.leaves().map(|values| leaf(&values.to_kind(computed_in(kind))));
        [x.shallow_clone(), depthwise, pointwise, weight, bias]
    };
    cases.iter().map(of_case).collect()
}

#[test]
fn calls_together_give_what_they_give_alone() {
    let _alone = draw_alone(10);
    for ((cases, what), kind) in cases_together()
        .into_iter()
        .flat_map(|cases| [Kind::Double, Kind::Float, Kind::BFloat16].map(move |kind| (cases.clone(), kind)))
    {
        let leaves = leaves_together(&cases, kind);
        let running = || -> Vec<_> { cases.iter().map(|case| case.running(computed_in(kind))).collect() };
        let (of_together, of_alone) = (running(), running());
        let calls = cases.iter().zip(&leaves).zip(&of_together);
        let calls: Vec<_> = calls.map(|((case, leaves), running)| case.call(leaves, running)).collect();
        let together = separable_convs(&calls).unwrap();
        let each = cases.iter().zip(&leaves).zip(&of_alone);
        let alone: Vec<_> = each.map(|((case, leaves), running)| case.ours(leaves, running)).collect();
        assert_eq!(together, alone, "{what} {kind:?}");
        assert_eq!(of_together, of_alone, "{what} {kind:?}");

        let weights = leaves.iter().zip(&cases).flat_map(|(leaves, case)| &leaves[1..case.num_used()]);
        let all: Vec<&Tensor> = std::iter::once(&leaves[0][0]).chain(weights).collect();
        let y_gradients: Vec<_> = alone.iter().map(Tensor::randn_like).collect();
        let backward = |outputs: &[Tensor]| {
            let products = outputs.iter().zip(&y_gradients).map(|(y, gradient)| (y * gradient).sum(Kind::Double));
            Tensor::run_backward(&[products.reduce(|sum, product| sum + product).unwrap()], &all, false, false)
        };
        let (together, alone) = (backward(&together), backward(&alone));
        assert_eq!(together[1..], alone[1..], "{what} {kind:?}");
        // Which is added up in another order, in bfloat16 without a rounding for each call.
        let tolerance = if kind == Kind::BFloat16 { 0.02 } else { 1e-5 };
        let error = error(&together[0], &alone[0]);
        assert!(error < tolerance, "{what} {kind:?}: input's gradient: error {error:e}");
    }
}

#[test]
fn no_calls_give_nothing() {
    assert!(separable_convs(&[]).unwrap().is_empty());
}

#[test]
fn an_expanded_output_gradient_is_accepted() {
    let _alone = draw_alone(5);
    let leaves = CASE.leaves();
    let ours = CASE.ours(&leaves, &CASE.running(Kind::Double)).sum(Kind::Double);
    let theirs = CASE.reference(&leaves, &CASE.running(Kind::Double)).sum(Kind::Double);
    let ours = Tensor::run_backward(&[ours], &leaves, false, false);
    let theirs = Tensor::run_backward(&[theirs], &leaves, false, false);
    assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| error(ours, theirs) < 1e-11));
}

#[test]
fn only_the_wanted_gradients_are_computed() {
    let _alone = draw_alone(6);
    let leaves = CASE.leaves();
    let all = {
        let y = CASE.ours(&leaves, &CASE.running(Kind::Double));
        differentiate(y.shallow_clone(), &y.ones_like(), &leaves, 5)
    };
    for wanted in 0..5 {
        let leaves: [Tensor; 5] =
            std::array::from_fn(|index| leaves[index].detach().set_requires_grad(index == wanted));
        CASE.ours(&leaves, &CASE.running(Kind::Double)).sum(Kind::Double).backward();
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(leaf.grad().defined(), index == wanted);
        }
        assert!(error(&leaves[wanted].grad(), &all[1 + wanted]) < 1e-12, "leaf {wanted}");
    }
    let frozen = no_grad(|| CASE.ours(&leaves, &CASE.running(Kind::Double)));
    assert!(!frozen.requires_grad());
    assert_eq!(frozen, all[0]);
}

#[test]
fn types_without_own_kernels_use_libtorch() {
    let _alone = draw_alone(7);
    let case = Case { norm: Norm::Without, ..CASE };
    let leaves = cast(&case.leaves(), Kind::Half);
    let running = case.running(Kind::Half);
    let ours = case.ours(&leaves, &running);
    assert_eq!(ours.kind(), Kind::Half);
    let y_gradient = Tensor::randn_like(&ours);
    let theirs = differentiate(case.reference(&leaves, &running), &y_gradient, &leaves, 3);
    assert_eq!(differentiate(ours, &y_gradient, &leaves, 3), theirs);
}

#[test]
fn an_empty_batch_gives_an_empty_output() {
    let _alone = draw_alone(8);
    let case = Case { norm: Norm::Without, ..CASE };
    let mut leaves = case.leaves();
    leaves[0] = leaf(&leaves[0].narrow(0, 0, 0));
    let y = case.ours(&leaves, &case.running(Kind::Double));
    assert_eq!(y.size(), [0, 60, 5, 7]);
    y.sum(Kind::Double).backward();
    assert_eq!(leaves[2].grad(), leaves[2].zeros_like());
}

#[test]
fn what_does_not_fit_is_named() {
    let _alone = draw_alone(9);
    let [x, depthwise, pointwise, weight, bias] = CASE.leaves();
    let (mean, var) = CASE.running(Kind::Double);
    let refused = |x: &Tensor, depthwise: &Tensor, pointwise: &Tensor, mean: &Tensor, expected: &str| {
        let running = RunningStatistics { mean, var: &var };
        let norm = InputNorm { affine: Some((&weight, &bias)), running, training: true };
        let weights = SeparableWeights { depthwise, pointwise };
        let call = SeparableCall { x, weights, geometry: CASE.geometry(), norm: Some(norm) };
        let message = separable_conv(call).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1);
    };
    refused(&x, &depthwise.narrow(0, 0, 50), &pointwise, &mean, "for 20 channels");
    refused(&x, &depthwise, &pointwise.narrow(1, 0, 7), &mean, "for 60 channels");
    refused(&x, &depthwise, &pointwise.narrow(0, 0, 20), &mean, "for 3 groups");
    refused(&x, &depthwise, &pointwise.to_kind(Kind::Float), &mean, "pointwise weight of Float");
    refused(&x, &depthwise, &pointwise, &mean.narrow(0, 0, 3), "BatchNorm values [3]");
    refused(&x.narrow(0, 0, 1).narrow(2, 0, 1).narrow(3, 0, 1), &depthwise, &pointwise, &mean, "no variance");
}

#[test]
fn gpu_kernels_pass_in_the_emulation() {
    pass_in_emulation(&[
        "values_gradients_and_statistics_equal_those_of_libtorch",
        "bfloat16_is_computed_in_single_precision",
        "any_memory_layout_gives_the_same",
        "calls_together_give_what_they_give_alone",
        "an_expanded_output_gradient_is_accepted",
        "only_the_wanted_gradients_are_computed",
        "an_empty_batch_gives_an_empty_output",
        "what_does_not_fit_is_named",
    ]);
}
