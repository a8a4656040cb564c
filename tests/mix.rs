//! The weighted sum of normalised operations against the same in libtorch's operations.

#[path = "tensors/random.rs"]
mod random;
#[path = "tensors/mod.rs"]
mod tensors;

use std::sync::Mutex;

use pdarts::torch::{Branch, RunningStatistics, mix};
use random::draw_alone;
use tch::{Kind, Tensor, no_grad};
use tensors::{computed_in, device, error, leaf, pass_in_emulation};

/// The tests set libtorch's number of threads, which the process shares.
static THREADS: Mutex<()> = Mutex::new(());

const NUM_NODES: usize = 4;

/// Sizes of a call; `branches` are named by whether each edge has its own channels, whether they are normalised, and
/// the nodes.
#[derive(Clone, Debug)]
struct Case {
    batch: i64,
    channels: i64,
    size: (i64, i64),
    branches: Vec<(bool, bool, Vec<i64>)>,
}

impl Case {
    /// All kinds of branch, several to the same node, none to node 0.
    fn new(batch: i64, channels: i64, size: (i64, i64)) -> Self {
        let branches = vec![
            (false, true, vec![1, 2, 3]),
            (true, true, vec![1, 2, 3]),
            (false, false, vec![1, 3]),
            (true, true, vec![2]),
            (true, true, vec![3, 1]),
            (false, true, vec![3]),
            (true, false, vec![2, 3]),
        ];
        Self { batch, channels, size, branches }
    }

    fn all() -> impl Iterator<Item = Case> {
        [1, 4, 16, 20, 32].into_iter().flat_map(|channels| {
            [(2, (1, 1)), (1, (3, 2)), (3, (5, 7)), (2, (16, 16)), (3, (19, 33))]
                .into_iter()
                .map(move |(batch, size)| Case::new(batch, channels, size))
        })
    }

    fn num_edges(&self) -> i64 {
        self.branches.iter().map(|(_, _, nodes)| nodes.len() as i64).sum()
    }

    /// Drawn anew: outputs of operations whose means are far from zero, and weights.
    fn tensors(&self) -> State {
        let options = (Kind::Double, device());
        let (height, width) = self.size;
        let mut ys = Vec::new();
        let mut running = Vec::new();
        for (per_edge, normalised, nodes) in &self.branches {
            let channels = self.channels * if *per_edge { nodes.len() as i64 } else { 1 };
            let mean = Tensor::randn([channels], options) * 3.0;
            let y = Tensor::randn([self.batch, height, width, channels], options) * 0.7 + mean;
            ys.push(leaf(&y.permute([0, 3, 1, 2])));
            let statistics = || (Tensor::randn([channels], options), Tensor::rand([channels], options) + 0.5);
            running.push(normalised.then(statistics));
        }
        State { ys, running, weights: Tensor::rand([self.num_edges()], options).set_requires_grad(true) }
    }
}

/// The tensors of a case.
struct State {
    ys: Vec<Tensor>,
    running: Vec<Option<(Tensor, Tensor)>>,
    weights: Tensor,
}

impl State {
    /// A copy in `kind` with leaves and statistics of its own. What is neither output nor its gradient is never in bfloat16.
    fn copy(&self, kind: Kind) -> State {
        let wide = computed_in(kind);
        let copy = |x: &Tensor, kind| leaf(&x.to_kind(kind).copy());
        let statistics = |(mean, var): &(Tensor, Tensor)| (mean.to_kind(wide).copy(), var.to_kind(wide).copy());
        State {
            ys: self.ys.iter().map(|y| copy(y, kind)).collect(),
            running: self.running.iter().map(|running| running.as_ref().map(statistics)).collect(),
            weights: copy(&self.weights, wide),
        }
    }

    fn branches<'a>(&'a self, case: &Case) -> Vec<Branch<'a>> {
        (self.ys.iter().zip(&self.running).zip(&case.branches))
            .map(|((y, running), (per_edge, _, nodes))| Branch {
                y: y.shallow_clone(),
                per_edge: *per_edge,
                running: running.as_ref().map(|(mean, var)| RunningStatistics { mean, var }),
                nodes: nodes.clone(),
            })
            .collect()
    }

    fn mixed(&self, case: &Case, training: bool) -> Vec<Option<Tensor>> {
        let mut sums = no_sums();
        mix(&mut sums, &self.branches(case), &self.weights, training).unwrap();
        sums
    }

    fn leaves(&self) -> Vec<&Tensor> {
        self.ys.iter().chain([&self.weights]).collect()
    }

    fn gradients(&self, loss: Tensor) -> Vec<Tensor> {
        Tensor::run_backward(&[loss], &self.leaves(), false, false)
    }

    fn statistics(&self) -> Vec<Tensor> {
        self.running.iter().flatten().flat_map(|(mean, var)| [mean.copy(), var.copy()]).collect()
    }
}

fn no_sums() -> Vec<Option<Tensor>> {
    (0..NUM_NODES).map(|_| None).collect()
}

/// The same in libtorch's operations.
fn reference(case: &Case, state: &State, training: bool) -> Vec<Option<Tensor>> {
    let mut sums = no_sums();
    let mut weights = state.weights.unbind(0).into_iter();
    for Branch { y, per_edge, running, nodes } in state.branches(case) {
        let y = match running {
            Some(RunningStatistics { mean, var }) => {
                y.batch_norm(None::<&Tensor>, None::<&Tensor>, Some(mean), Some(var), training, 0.1, 1e-5, false)
            }
            None => y,
        };
        for (edge, node) in (0..).zip(nodes) {
            let block = if per_edge { y.narrow(1, edge * case.channels, case.channels) } else { y.shallow_clone() };
            let term = block * weights.next().unwrap();
            let sum = &mut sums[node as usize];
            *sum = Some(sum.as_ref().map_or_else(|| term.shallow_clone(), |sum| sum + &term));
        }
    }
    sums
}

/// Not linear in the nodes, so that their gradients differ.
fn loss_of(sums: &[Option<Tensor>]) -> Tensor {
    let losses: Vec<Tensor> = (1..)
        .zip(sums.iter().flatten())
        .map(|(index, sum)| {
            let wave = Tensor::arange(sum.numel() as i64, (Kind::Double, device())).cos().view(sum.size().as_slice());
            (sum * wave.to_kind(sum.kind()) * f64::from(index)).sum(sum.kind()) + (sum * sum).mean(sum.kind())
        })
        .collect();
    Tensor::stack(&losses, 0).sum(losses[0].kind())
}

/// Sums, gradients and running statistics.
fn differentiate(state: &State, sums: &[Option<Tensor>]) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = sums.iter().flatten().map(Tensor::detach).collect();
    all.extend(state.gradients(loss_of(sums)));
    all.extend(state.statistics());
    all
}

#[test]
fn sums_gradients_and_statistics_equal_those_of_libtorch() {
    let _alone = draw_alone(1);
    for case in Case::all() {
        let drawn = case.tensors();
        for training in [true, false] {
            let theirs = drawn.copy(Kind::Double);
            let expected = differentiate(&theirs, &reference(&case, &theirs, training));
            for (kind, tolerance) in [(Kind::Double, 1e-9), (Kind::Float, 2e-5)] {
                // A few values a channel may lie close together: too close for the gradient in single precision.
                if kind == Kind::Float && case.batch * case.size.0 * case.size.1 < 8 {
                    continue;
                }
                let ours = drawn.copy(kind);
                let sums = ours.mixed(&case, training);
                assert!(sums[0].is_none());
                let found = differentiate(&ours, &sums);
                assert_eq!(found.len(), expected.len());
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let error = error(found, expected);
                    assert!(error < tolerance, "{case:?} {kind:?} training {training}: {index}: error {error:e}");
                }
            }
        }
    }
}

#[test]
fn bfloat16_is_computed_with_in_single_precision() {
    let _alone = draw_alone(12);
    for case in Case::all().filter(|case| case.batch * case.size.0 * case.size.1 >= 8) {
        let drawn = case.tensors().copy(Kind::BFloat16);
        for training in [true, false] {
            let (ours, theirs) = (drawn.copy(Kind::BFloat16), drawn.copy(Kind::Double));
            let expected = differentiate(&theirs, &reference(&case, &theirs, training));
            let sums = ours.mixed(&case, training);
            assert!(sums.iter().flatten().all(|sum| sum.kind() == Kind::Float));
            let found = differentiate(&ours, &sums);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                // Gradients of outputs are rounded, once.
                let tolerance = if found.kind() == Kind::BFloat16 { 4e-3 } else { 2e-5 };
                let error = error(found, expected);
                assert!(error < tolerance, "{case:?} training {training}: {index}: error {error:e}");
            }
        }
    }
}

#[test]
fn later_calls_add_to_the_sums_of_earlier_ones() {
    let _alone = draw_alone(2);
    let case = Case::new(2, 20, (5, 6));
    let (first, second) = (case.tensors(), case.tensors());
    let run = |mixed: &dyn Fn(&State, &State) -> Vec<Option<Tensor>>| {
        let (first, second) = (first.copy(Kind::Double), second.copy(Kind::Double));
        let sums = mixed(&first, &second);
        let leaves = [first.leaves(), second.leaves()].concat();
        Tensor::run_backward(&[loss_of(&sums)], &leaves, false, false)
    };
    let ours = run(&|first, second| {
        let mut sums = first.mixed(&case, true);
        mix(&mut sums, &second.branches(&case), &second.weights, true).unwrap();
        sums
    });
    let theirs = run(&|first, second| {
        let sums = reference(&case, first, true).into_iter().zip(reference(&case, second, true));
        sums.map(|(first, second)| Some(first? + second?)).collect()
    });
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(error(ours, theirs) < 1e-10);
    }
}

#[test]
fn a_node_that_nobody_uses_has_no_gradient_to_give() {
    let _alone = draw_alone(3);
    let case = Case::new(2, 4, (3, 3));
    let ours = case.tensors();
    let theirs = ours.copy(Kind::Double);
    let only = |sums: Vec<Option<Tensor>>| loss_of(&sums[2..3]);
    let found = Tensor::run_backward(&[only(ours.mixed(&case, true))], &ours.leaves(), false, false);
    only(reference(&case, &theirs, true)).backward();
    for (leaf, found) in theirs.leaves().iter().zip(&found) {
        let expected = if leaf.grad().defined() { leaf.grad() } else { leaf.zeros_like() };
        assert!(error(found, &expected) < 1e-10);
    }
}

#[test]
fn only_the_wanted_gradients_are_computed() {
    let _alone = draw_alone(4);
    let case = Case::new(2, 20, (5, 4));
    let drawn = case.tensors();
    let all = drawn.copy(Kind::Float);
    let all = all.gradients(loss_of(&all.mixed(&case, true)));
    for (train_ys, train_weights) in [(true, false), (false, true)] {
        let state = drawn.copy(Kind::Float);
        state.ys.iter().for_each(|y| drop(y.set_requires_grad(train_ys)));
        let _ = state.weights.set_requires_grad(train_weights);
        loss_of(&state.mixed(&case, true)).backward();
        for (leaf, expected) in state.leaves().iter().zip(&all) {
            assert_eq!(leaf.grad().defined(), leaf.requires_grad());
            assert!(!leaf.requires_grad() || leaf.grad() == *expected);
        }
    }
    let state = drawn.copy(Kind::Float);
    let frozen = no_grad(|| state.mixed(&case, true));
    assert!(frozen.iter().flatten().all(|sum| !sum.requires_grad()));
}

#[test]
fn any_memory_layout_gives_the_same() {
    let _alone = draw_alone(5);
    let case = Case::new(3, 20, (5, 4));
    let drawn = case.tensors();
    let run = |layout: &dyn Fn(&Tensor) -> Tensor| {
        let mut state = drawn.copy(Kind::Float);
        state.ys = state.ys.iter().map(|y| layout(&y.detach()).set_requires_grad(true)).collect();
        let sums = state.mixed(&case, true);
        differentiate(&state, &sums)
    };
    let expected = run(&|y| y.shallow_clone());
    let slice = |y: &Tensor| Tensor::cat(&[y, y], 1).narrow(1, 0, y.size()[1]);
    for found in [run(&|y| y.contiguous()), run(&slice), run(&|y| y.transpose(2, 3).contiguous().transpose(2, 3))] {
        assert_eq!(found, expected);
    }
}

#[test]
fn gradients_in_any_layout_are_accepted() {
    let _alone = draw_alone(6);
    let case = Case::new(2, 4, (3, 5));
    let ours = case.tensors();
    let theirs = ours.copy(Kind::Double);
    // Concatenation gives back slices of channels, a plain sum an expanded number.
    let cat = |sums: Vec<Option<Tensor>>| {
        let sums: Vec<Tensor> = sums.into_iter().flatten().collect();
        Tensor::cat(&sums, 1).contiguous().sin().sum(Kind::Double) + sums[0].sum(Kind::Double)
    };
    let found = ours.gradients(cat(ours.mixed(&case, true)));
    let expected = theirs.gradients(cat(reference(&case, &theirs, true)));
    assert!(found.iter().zip(&expected).all(|(found, expected)| error(found, expected) < 1e-10));
    let state = ours.copy(Kind::Double);
    let sums = state.mixed(&case, true);
    let sums: Vec<&Tensor> = sums.iter().flatten().collect();
    let total = sums.iter().map(|sum| sum.sum(Kind::Double)).reduce(|total, sum| total + sum).unwrap();
    assert!(state.gradients(total).iter().all(|gradient| gradient.isfinite().all().int64_value(&[]) == 1));
}

#[test]
fn statistics_keep_their_digits_far_from_zero() {
    let _alone = draw_alone(7);
    let y = Tensor::randn([8, 4, 16, 16], (Kind::Double, device())) + 1000.0;
    let y = y.to_kind(Kind::Float);
    let (mean, var) = (Tensor::zeros([4], (Kind::Float, device())), Tensor::zeros([4], (Kind::Float, device())));
    let running = Some(RunningStatistics { mean: &mean, var: &var });
    let branch = Branch { y: y.shallow_clone(), per_edge: false, running, nodes: vec![0] };
    mix(&mut no_sums(), &[branch], &Tensor::ones([1], (Kind::Float, device())), true).unwrap();
    let expected = y.to_kind(Kind::Double).var_dim([0i64, 2, 3].as_slice(), true, false) * 0.1;
    assert!(error(&var, &expected) < 1e-6);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let _alone = draw_alone(8);
    let _guard = THREADS.lock().unwrap();
    let threads = tch::get_num_threads();
    for (batch, size) in [(5, (16, 16)), (1, (9, 7)), (2, (40, 50))] {
        let case = Case::new(batch, 36, size);
        let drawn = case.tensors();
        let run = |threads| {
            tch::set_num_threads(threads);
            let state = drawn.copy(Kind::Float);
            let sums = state.mixed(&case, true);
            let loss = Tensor::cat(&sums.into_iter().flatten().collect::<Vec<_>>(), 1);
            let mut all = vec![loss.detach()];
            all.extend(Tensor::run_backward(&[loss.sin().sum(Kind::Float)], &state.leaves(), false, false));
            all.extend(state.statistics());
            all
        };
        let expected = run(1);
        assert_eq!(run(2), expected);
        assert_eq!(run(3), expected);
    }
    tch::set_num_threads(threads);
}

#[test]
fn types_without_own_kernels_use_libtorch() {
    let _alone = draw_alone(9);
    let case = Case::new(2, 4, (6, 5));
    let drawn = case.tensors();
    let (ours, theirs) = (drawn.copy(Kind::Half), drawn.copy(Kind::Half));
    let expected = differentiate(&theirs, &reference(&case, &theirs, true));
    assert_eq!(differentiate(&ours, &ours.mixed(&case, true)), expected);
}

#[test]
fn the_gradient_of_the_gradient_is_refused() {
    let _alone = draw_alone(10);
    let case = Case::new(2, 4, (3, 3));
    let state = case.tensors();
    let loss = loss_of(&state.mixed(&case, true));
    let message = Tensor::f_run_backward(&[loss], &[&state.weights], true, true).unwrap_err().to_string();
    assert!(message.contains("cannot be differentiated"), "{message}");
}

#[test]
fn what_does_not_fit_is_named() {
    let _alone = draw_alone(11);
    let case = Case::new(2, 4, (3, 3));
    let state = case.tensors();
    let refused = |change: &dyn Fn(&mut Vec<Branch<'_>>), weights: &Tensor, expected: &str| {
        let mut branches = state.branches(&case);
        change(&mut branches);
        let message = mix(&mut no_sums(), &branches, weights, true).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1);
    };
    let weights = &state.weights;
    refused(&|_| (), &weights.narrow(0, 0, 3), "weights [3] for 14 edges");
    refused(&|_| (), &weights.to_kind(Kind::Float), "weights of Float");
    let rounded = |branches: &mut Vec<Branch<'_>>| branches[0].y = branches[0].y.to_kind(Kind::BFloat16);
    refused(&rounded, weights, "output of BFloat16");
    refused(&|branches| branches[0].nodes = vec![4, 5, 6], weights, "node 4 of 4");
    refused(&|branches| branches[0].nodes.clear(), weights, "without edges");
    refused(&|branches| branches[1].y = branches[0].y.shallow_clone(), weights, "which 3 edges cannot share");
    refused(&|branches| branches[2].y = branches[2].y.narrow(2, 0, 2), weights, "operations' outputs");
    refused(&|branches| branches[1].running = branches[0].running, weights, "running statistics [4]");
    refused(&|branches| branches[0].y = branches[0].y.get(0), weights, "expected [N, C, H, W]");
    let one_value = |branches: &mut Vec<Branch<'_>>| {
        branches.iter_mut().for_each(|branch| branch.y = branch.y.narrow(0, 0, 1).narrow(2, 0, 1).narrow(3, 0, 1));
    };
    refused(&one_value, weights, "more than one value per channel");
    let mut sums = no_sums();
    sums[1] = Some(Tensor::zeros([2, 4, 3, 3], (Kind::Double, device())));
    let message = mix(&mut sums, &state.branches(&case), weights, true).unwrap_err().to_string();
    assert!(message.contains("did not begin"), "{message}");
}

#[test]
fn gpu_kernels_pass_in_the_emulation() {
    pass_in_emulation(&[
        "sums_gradients_and_statistics_equal_those_of_libtorch",
        "bfloat16_is_computed_with_in_single_precision",
        "later_calls_add_to_the_sums_of_earlier_ones",
        "a_node_that_nobody_uses_has_no_gradient_to_give",
        "only_the_wanted_gradients_are_computed",
        "any_memory_layout_gives_the_same",
        "gradients_in_any_layout_are_accepted",
        "statistics_keep_their_digits_far_from_zero",
        "the_gradient_of_the_gradient_is_refused",
        "what_does_not_fit_is_named",
    ]);
}
