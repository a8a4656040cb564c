//! BatchNorm over all ranks: ranks on shares of a batch against one process on the whole batch.
//!
//! A loss is the mean over a rank's own share; a parameter's gradient is the mean over ranks, as the reducer leaves it;
//! the gradient of an input is that of the sum of all ranks' losses.

#[path = "../tensors/random.rs"]
mod random;
mod ranks;

use std::sync::Mutex;

use pdarts::genotype::{NetworkKind, Operation, Switches};
use pdarts::search::{ForwardMode, Mixing, Supernet, SupernetShape};
use pdarts::torch::{Branch, NodeBranch, Norm, RunningStatistics, TorchError, branch_sum, mix};
use tch::{Device, Kind, Tensor, no_grad};

use random::draw_alone;
use ranks::{Role, on_ranks, play, share};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// Largest difference, relative to the largest value (or 1 if that is smaller).
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let [found, expected] = [found, expected].map(|tensor| tensor.to_kind(Kind::Double));
    let scale = expected.abs().max().double_value(&[]).max(1.0);
    (found - &expected).abs().max().double_value(&[]) / scale
}

fn assert_close(found: &[Tensor], expected: &[Tensor], tolerance: f64, case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = error(found, expected);
        assert!(error < tolerance, "{case}: tensor {index}: error {error:e}");
    }
}

/// The mean over images of something that tells all values apart.
fn loss_of(y: &Tensor) -> Tensor {
    let size = y.size();
    let wave = Tensor::arange(size[1..].iter().product::<i64>(), DOUBLE).cos().view(&size[1..]).to_kind(y.kind());
    (y * wave + y.sin()).sum_dim_intlist([1i64, 2, 3].as_slice(), false, y.kind()).mean(y.kind())
}

fn leaf(tensor: &Tensor, kind: Kind) -> Tensor {
    tensor.detach().to_kind(kind).copy().set_requires_grad(true)
}

/// A copy in memory of its own, or with gaps that the own kernels do not take.
fn statistic(values: &Tensor, kind: Kind, contiguous: bool) -> Tensor {
    let values = values.to_kind(kind).copy();
    if contiguous { values } else { Tensor::stack(&[&values, &values], 1).select(1, 0) }
}

/// Results of ranks against those of one process: what is per image first (outputs, then gradients that the sum of the
/// losses makes `size` times those of the mean), then statistics, then gradients of parameters.
struct Computed {
    outputs: Vec<Tensor>,
    input_gradients: Vec<Tensor>,
    statistics: Vec<Tensor>,
    parameter_gradients: Vec<Tensor>,
}

fn assert_ranks_equal_whole(ranks: &[Computed], whole: &Computed, tolerance: f64, case: &str) {
    let size = ranks.len();
    for (rank, computed) in ranks.iter().enumerate() {
        let case = format!("{case}: rank {rank} of {size}");
        let of_rank = |tensors: &[Tensor]| tensors.iter().map(|tensor| share(tensor, rank, size)).collect::<Vec<_>>();
        assert_close(&computed.outputs, &of_rank(&whole.outputs), tolerance, &format!("{case}: outputs"));
        let of_sum: Vec<Tensor> =
            of_rank(&whole.input_gradients).iter().map(|gradient| gradient * size as f64).collect();
        assert_close(&computed.input_gradients, &of_sum, tolerance, &format!("{case}: input gradients"));
        assert_close(&computed.statistics, &whole.statistics, tolerance, &format!("{case}: statistics"));
    }
    let num_parameters = whole.parameter_gradients.len();
    let means: Vec<Tensor> = (0..num_parameters)
        .map(|index| {
            let shares: Vec<&Tensor> = ranks.iter().map(|rank| &rank.parameter_gradients[index]).collect();
            Tensor::stack(&shares, 0).mean_dim([0i64].as_slice(), false, None)
        })
        .collect();
    assert_close(&means, &whole.parameter_gradients, tolerance, &format!("{case}: mean parameter gradients"));
}

/// BatchNorm, tanh, BatchNorm: the second makes every rank's gradients depend on the others' images.
struct Layers {
    x: Tensor,
    affine: Vec<(Tensor, Tensor)>,
    running: Vec<(Tensor, Tensor)>,
    kind: Kind,
    contiguous: bool,
}

impl Layers {
    const CHANNELS: i64 = 20;

    fn draw(kind: Kind, with_affine: bool, contiguous: bool) -> Self {
        let values = || Tensor::rand([Self::CHANNELS], DOUBLE) + 0.5;
        let mean = Tensor::randn([Self::CHANNELS], DOUBLE) * 3.0;
        let x = (Tensor::randn([12, 5, 4, Self::CHANNELS], DOUBLE) * 0.7 + mean).permute([0, 3, 1, 2]);
        let affine = if with_affine { vec![(values(), values()), (values(), values())] } else { Vec::new() };
        Self { x, affine, running: vec![(values(), values()), (values(), values())], kind, contiguous }
    }

    /// For another thread.
    fn copy(&self) -> Self {
        let both = |pairs: &[(Tensor, Tensor)]| pairs.iter().map(|(a, b)| (a.copy(), b.copy())).collect();
        Self { x: self.x.copy(), affine: both(&self.affine), running: both(&self.running), ..*self }
    }

    fn compute(
        &self,
        x: &Tensor,
        batch_norm: impl Fn(&Tensor, Option<(&Tensor, &Tensor)>, RunningStatistics<'_>) -> Tensor,
    ) -> Computed {
        let x = leaf(x, self.kind);
        let affine: Vec<_> =
            self.affine.iter().map(|(weight, bias)| (leaf(weight, self.kind), leaf(bias, self.kind))).collect();
        let own = |values: &Tensor| statistic(values, self.kind, self.contiguous);
        let running: Vec<_> = self.running.iter().map(|(mean, var)| (own(mean), own(var))).collect();
        let layer = |x: &Tensor, index: usize| {
            let (mean, var) = &running[index];
            let affine = affine.get(index).map(|(weight, bias)| (weight, bias));
            batch_norm(x, affine, RunningStatistics { mean, var })
        };
        let y = layer(&layer(&x, 0).tanh(), 1);
        let parameters: Vec<&Tensor> = affine.iter().flat_map(|(weight, bias)| [weight, bias]).collect();
        let leaves = [vec![&x], parameters].concat();
        let mut gradients = Tensor::run_backward(&[loss_of(&y)], &leaves, false, false);
        let parameter_gradients = gradients.split_off(1);
        Computed {
            outputs: vec![y.detach()],
            input_gradients: gradients,
            statistics: running.into_iter().flat_map(|(mean, var)| [mean, var]).collect(),
            parameter_gradients,
        }
    }
}

fn plain(x: &Tensor, affine: Option<(&Tensor, &Tensor)>, running: RunningStatistics<'_>) -> Tensor {
    let (weight, bias) = affine.unzip();
    x.batch_norm(weight, bias, Some(running.mean), Some(running.var), true, 0.1, 1e-5, false)
}

fn synchronised(x: &Tensor, affine: Option<(&Tensor, &Tensor)>, running: RunningStatistics<'_>) -> Tensor {
    batch_norm(x, affine, running).unwrap()
}

/// By the statistics of all ranks.
fn batch_norm(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: RunningStatistics<'_>,
) -> Result<Tensor, TorchError> {
    let norm = Norm { affine, running, training: true };
    branch_sum(&[NodeBranch { y: x.shallow_clone(), norm: Some(norm), mask: None }])
}

#[test]
fn single_rank_equals_plain_batch_norm() {
    let _alone = draw_alone(1);
    play(Role::Alone);
    for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 2e-4), (Kind::BFloat16, 0.3)] {
        for (affine, contiguous) in [(false, true), (true, true), (false, false), (true, false)] {
            let layers = Layers::draw(kind, affine, contiguous);
            let found = layers.compute(&layers.x, synchronised);
            let expected = layers.compute(&layers.x, plain);
            assert_ranks_equal_whole(&[found], &expected, tolerance, &format!("{kind:?} {affine} {contiguous}"));
        }
    }
}

#[test]
fn ranks_on_shares_equal_one_process_on_the_whole_batch() {
    let _alone = draw_alone(2);
    for size in [2, 3] {
        for (affine, contiguous) in [(false, true), (true, true), (false, false), (true, false)] {
            let layers = Layers::draw(Kind::Double, affine, contiguous);
            let expected = layers.compute(&layers.x, plain);
            let shared = Mutex::new(layers);
            let (found, num_sums) = on_ranks(size, |rank| {
                let layers = shared.lock().unwrap().copy();
                layers.compute(&share(&layers.x, rank, size), synchronised)
            });
            assert_ranks_equal_whole(&found, &expected, 1e-9, &format!("affine {affine}, contiguous {contiguous}"));
            assert_eq!(num_sums, 4, "two layers, two passes");
        }
    }
}

/// Two calls of `mix` on the same sums, all kinds of branch.
struct Mixed {
    ys: Vec<Tensor>,
    weights: Tensor,
    running: Vec<(Tensor, Tensor)>,
    kind: Kind,
}

/// Whether each edge has its own channels, whether they are normalised, the nodes.
const BRANCHES: [(bool, bool, &[i64]); 5] =
    [(false, true, &[0, 1]), (true, true, &[0, 1]), (false, false, &[1]), (true, true, &[1]), (true, false, &[0])];

impl Mixed {
    const CHANNELS: i64 = 6;

    fn draw(kind: Kind) -> Self {
        let (mut ys, mut running) = (Vec::new(), Vec::new());
        for (per_edge, _, nodes) in BRANCHES.iter().chain(&BRANCHES) {
            let channels = if *per_edge { nodes.len() as i64 } else { 1 } * Self::CHANNELS;
            let y = Tensor::randn([6, 3, 5, channels], DOUBLE) + Tensor::randn([channels], DOUBLE);
            ys.push(y.permute([0, 3, 1, 2]));
            running.push((Tensor::randn([channels], DOUBLE), Tensor::rand([channels], DOUBLE) + 0.5));
        }
        let num_edges: usize = BRANCHES.iter().map(|(.., nodes)| nodes.len()).sum();
        Self { ys, weights: Tensor::rand([2, num_edges as i64], DOUBLE), running, kind }
    }

    /// For another thread.
    fn copy(&self) -> Self {
        Self {
            ys: self.ys.iter().map(Tensor::copy).collect(),
            weights: self.weights.copy(),
            running: self.running.iter().map(|(mean, var)| (mean.copy(), var.copy())).collect(),
            ..*self
        }
    }

    fn compute(&self, ys: &[Tensor]) -> Computed {
        let wide = if self.kind == Kind::BFloat16 { Kind::Float } else { self.kind };
        let ys: Vec<Tensor> = ys.iter().map(|y| leaf(y, self.kind)).collect();
        let weights = leaf(&self.weights, wide);
        let own = |values: &Tensor| values.to_kind(wide).copy();
        let running: Vec<_> = self.running.iter().map(|(mean, var)| (own(mean), own(var))).collect();
        let mut sums = [None, None];
        for call in 0..2 {
            let first = call * BRANCHES.len();
            let branches: Vec<Branch<'_>> = (first..first + BRANCHES.len())
                .map(|index| {
                    let (per_edge, normalised, nodes) = BRANCHES[index - first];
                    let (mean, var) = &running[index];
                    let running = normalised.then_some(RunningStatistics { mean, var });
                    // The second call's operations work on a node of the first.
                    let y = match &sums[0] {
                        Some(node) if !per_edge => (&ys[index] + node).to_kind(self.kind),
                        _ => ys[index].shallow_clone(),
                    };
                    Branch { y, per_edge, running, nodes: nodes.to_vec() }
                })
                .collect();
            mix(&mut sums, &branches, &weights.get(call as i64), true).unwrap();
        }
        let outputs = sums.map(Option::unwrap);
        let loss = loss_of(&outputs[0]) + loss_of(&outputs[1]) * 0.5;
        let leaves = ys.iter().chain([&weights]).collect::<Vec<_>>();
        let mut input_gradients = Tensor::run_backward(&[loss], &leaves, false, false);
        let parameter_gradients = input_gradients.split_off(ys.len());
        let outputs = outputs.map(|output| output.detach()).into();
        let statistics = running.into_iter().flat_map(|(mean, var)| [mean, var]).collect();
        Computed { outputs, input_gradients, statistics, parameter_gradients }
    }
}

#[test]
fn mixed_operations_of_ranks_equal_one_process_and_are_summed_once_in_each_pass() {
    let _alone = draw_alone(3);
    for (kind, tolerance) in [(Kind::Double, 1e-9), (Kind::Float, 1e-4), (Kind::BFloat16, 0.15)] {
        for size in [2, 3] {
            let mixed = Mixed::draw(kind);
            // Without a role a thread is a single rank, which the other tests compare with plain BatchNorm.
            play(Role::Alone);
            let whole = Mixed { kind: Kind::Double, ..mixed.copy() };
            let expected = whole.compute(&whole.ys);
            let shared = Mutex::new(mixed);
            let (found, num_sums) = on_ranks(size, |rank| {
                let mixed = shared.lock().unwrap().copy();
                mixed.compute(&mixed.ys.iter().map(|y| share(y, rank, size)).collect::<Vec<_>>())
            });
            assert_ranks_equal_whole(&found, &expected, tolerance, &format!("{kind:?}"));
            assert_eq!(num_sums, 4, "two calls, two passes");
        }
    }
}

#[test]
fn mixed_operations_of_a_single_rank_equal_plain_batch_norm() {
    let _alone = draw_alone(4);
    play(Role::Alone);
    let y = (Tensor::randn([3, 4, 5, 6], DOUBLE) + 2.0).set_requires_grad(true);
    let [mean, var] = [0.0, 1.0].map(|value| Tensor::full([4], value, DOUBLE));
    let mut sums = [None];
    let running = Some(RunningStatistics { mean: &mean, var: &var });
    let branch = Branch { y: y.shallow_clone(), per_edge: false, running, nodes: vec![0] };
    mix(&mut sums, &[branch], &Tensor::ones([1], DOUBLE), true).unwrap();
    let [expected_mean, expected_var] = [0.0, 1.0].map(|value| Tensor::full([4], value, DOUBLE));
    let expected = plain(&y, None, RunningStatistics { mean: &expected_mean, var: &expected_var });
    let found = sums[0].take().unwrap();
    let gradient = |y_out: &Tensor| Tensor::run_backward(&[loss_of(y_out)], &[&y], false, false).remove(0);
    assert_close(
        &[gradient(&found), found, mean, var],
        &[gradient(&expected), expected, expected_mean, expected_var],
        1e-12,
        "mix",
    );
}

#[test]
fn only_needed_sums_are_taken() {
    let _alone = draw_alone(5);
    let (_, num_sums) = on_ranks(2, |_| {
        let y = Tensor::randn([2, 4, 3, 3], DOUBLE);
        let [mean, var] = [0.0, 1.0].map(|value| Tensor::full([4], value, DOUBLE));
        let weights = Tensor::ones([1], DOUBLE).set_requires_grad(true);
        let mut evaluated = [None];
        for training in [false, true] {
            let running = Some(RunningStatistics { mean: &mean, var: &var });
            let branch = Branch { y: y.shallow_clone(), per_edge: false, running, nodes: vec![0] };
            let mut sums = [None];
            mix(&mut sums, &[branch], &weights, training).unwrap();
            evaluated = sums;
        }
        // The gradient of the weights is a share that needs no other rank.
        evaluated[0].as_ref().unwrap().sin().sum(Kind::Double).backward();
    });
    assert_eq!(num_sums, 1);
}

#[test]
fn failure_of_the_sum_is_an_error_of_either_pass() {
    let _alone = draw_alone(6);
    let x = Tensor::randn([2, 4, 3, 3], DOUBLE).set_requires_grad(true);
    for contiguous in [true, false] {
        let [mean, var] =
            [0.0, 1.0].map(|value| statistic(&Tensor::full([4], value, DOUBLE), Kind::Double, contiguous));
        let call = || batch_norm(&x, None, RunningStatistics { mean: &mean, var: &var });
        play(Role::Failing(0));
        let message = call().unwrap_err().to_string();
        assert!(message.contains("BatchNorm over all ranks: rank 1 is gone"), "{message}");
        assert_eq!(message.lines().count(), 1);
        play(Role::Failing(1));
        let y = call().unwrap();
        let message = Tensor::f_run_backward(&[loss_of(&y)], &[&x], false, false).unwrap_err().to_string();
        assert!(message.contains("rank 1 is gone"), "{message}");
        play(Role::Panicking);
        let message = call().unwrap_err().to_string();
        assert!(message.contains("panicked"), "{message}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    play(Role::Alone);
    let values = |len: i64| Tensor::ones([len], DOUBLE);
    let message = |x: Tensor, len: i64| {
        let (mean, var) = (values(len), values(len));
        batch_norm(&x, None, RunningStatistics { mean: &mean, var: &var }).unwrap_err().to_string()
    };
    assert!(message(Tensor::ones([2, 3], DOUBLE), 3).contains("expected [N, C, H, W]"));
    assert!(message(Tensor::ones([2, 3, 4, 4], DOUBLE), 4).contains("values [4]"));
    assert!(message(Tensor::ones([1, 3, 1, 1], DOUBLE), 3).contains("more than one value per channel"));
}

fn new_supernet() -> Supernet {
    let operations = [Operation::MaxPool3x3, Operation::SkipConnect, Operation::SepConv3x3, Operation::DilConv5x5];
    let switches = Switches::full(&operations).unwrap();
    Supernet::new(
        &SupernetShape {
            stem: NetworkKind::Cifar,
            num_cells: 3,
            channels: 4,
            num_classes: 5,
            partial_channels: 1,
            switches,
        },
        Device::Cpu,
        Kind::Double,
    )
    .unwrap()
}

/// A whole supernet: loss, gradients of weights and mixing weights, statistics.
fn supernet(images: &Tensor, labels: &Tensor, values: &[Tensor], mixing: &[Tensor; 2]) -> Computed {
    let network = new_supernet();
    let parameters: Vec<&Tensor> = network.parameters().trainable().iter().map(|named| &named.tensor).collect();
    no_grad(|| parameters.iter().zip(values).for_each(|(parameter, value)| parameter.shallow_clone().copy_(value)));
    let mixing = mixing.each_ref().map(|weights| leaf(weights, Kind::Double));
    let images = leaf(images, Kind::Double);
    let weights = Mixing::of_operations(mixing[0].shallow_clone(), mixing[1].shallow_clone());
    let logits = network.forward(&images, &weights, ForwardMode::training(0.0)).unwrap();
    let leaves: Vec<&Tensor> = [&images, &mixing[0], &mixing[1]].into_iter().chain(parameters).collect();
    let mut gradients = Tensor::run_backward(&[logits.cross_entropy_for_logits(labels)], &leaves, false, false);
    let parameter_gradients = gradients.split_off(1);
    let statistics = network.parameters().statistics().iter().map(|named| named.tensor.copy()).collect();
    Computed { outputs: vec![logits.detach()], input_gradients: gradients, statistics, parameter_gradients }
}

#[test]
fn supernet_of_two_ranks_equals_one_on_the_whole_batch() {
    let _alone = draw_alone(7);
    play(Role::Alone);
    let images = Tensor::randn([6, 3, 8, 8], DOUBLE);
    let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 0]);
    let mixing = [0, 1].map(|_| Tensor::randn([14, 4], DOUBLE).softmax(-1, None));
    let drawn = new_supernet();
    let values: Vec<Tensor> = drawn.parameters().trainable().iter().map(|named| named.tensor.detach().copy()).collect();
    let expected = supernet(&images, &labels, &values, &mixing);
    let shared = Mutex::new((images, labels, values, mixing));
    let (found, _) = on_ranks(2, |rank| {
        let (images, labels, values, mixing) = {
            let (images, labels, values, mixing) = &*shared.lock().unwrap();
            let values: Vec<Tensor> = values.iter().map(Tensor::copy).collect();
            (share(images, rank, 2).copy(), share(labels, rank, 2).copy(), values, mixing.each_ref().map(Tensor::copy))
        };
        supernet(&images, &labels, &values, &mixing)
    });
    assert_ranks_equal_whole(&found, &expected, 1e-9, "supernet");
}
