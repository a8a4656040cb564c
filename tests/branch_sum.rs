//! The sum of a node's normalised and masked branches against the same in libtorch's operations.

#[path = "tensors/random.rs"]
mod random;
#[path = "tensors/mod.rs"]
mod tensors;

use std::sync::Mutex;

use pdarts::torch::{NodeBranch, Norm, RunningStatistics, branch_sum, gradients, num_layout_copies};
use random::draw_alone;
use tch::{Kind, Tensor, no_grad};
use tensors::{computed_in, device, error, leaf, on_cpu_kernels, pass_in_emulation};

/// The tests set libtorch's number of threads, which the process shares.
static THREADS: Mutex<()> = Mutex::new(());

/// What a branch has.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Normalised {
    No,
    Plain,
    Affine,
}

use Normalised::{Affine, No, Plain};

/// Shape of a call; each branch is named by its BatchNorm and whether it has a mask.
#[derive(Clone, Debug)]
struct Case {
    size: [i64; 4],
    branches: Vec<(Normalised, bool)>,
}

impl Case {
    fn new(size: [i64; 4], branches: &[(Normalised, bool)]) -> Self {
        Self { size, branches: branches.to_vec() }
    }

    /// Every pair of branches that a cell can have, and one branch alone; sizes of vectors and beside them.
    fn all() -> impl Iterator<Item = Case> {
        let pairs: [&[(Normalised, bool)]; 9] = [
            &[(Affine, true), (Affine, true)],
            &[(Affine, false), (Affine, false)],
            &[(Affine, true), (No, false)],
            &[(No, true), (Affine, true)],
            &[(No, true), (No, false)],
            &[(No, false), (No, false)],
            &[(Plain, false), (Affine, true)],
            &[(Affine, false)],
            &[(Plain, true)],
        ];
        [[3, 4, 5, 7], [2, 20, 3, 2], [5, 36, 8, 8], [1, 1, 9, 1], [2, 16, 19, 33], [4, 70, 2, 2]]
            .into_iter()
            .flat_map(move |size| pairs.map(|branches| Case::new(size, branches)))
    }

    /// Drawn anew, with means far from zero. Of every three images a mask leaves out one.
    fn tensors(&self) -> State {
        let options = (Kind::Double, device());
        let [images, channels, height, width] = self.size;
        let branches = self.branches.iter().map(|&(normalised, masked)| {
            let mean = Tensor::randn([channels], options) * 3.0;
            let y = Tensor::randn([images, height, width, channels], options) * 0.7 + mean;
            let parameter = || leaf(&(Tensor::rand([channels], options) + 0.5));
            let statistics = || (Tensor::randn([channels], options), Tensor::rand([channels], options) + 0.5);
            let mask: Vec<f64> = (0..images).map(|image| if image % 3 == 1 { 0.0 } else { 1.25 }).collect();
            BranchState {
                y: leaf(&y.permute([0, 3, 1, 2])),
                affine: (normalised == Affine).then(|| (parameter(), parameter())),
                running: (normalised != No).then(statistics),
                mask: masked.then(|| Tensor::from_slice(&mask).view([images, 1, 1, 1]).to_device(device())),
            }
        });
        State { branches: branches.collect() }
    }
}

struct BranchState {
    y: Tensor,
    affine: Option<(Tensor, Tensor)>,
    running: Option<(Tensor, Tensor)>,
    mask: Option<Tensor>,
}

impl BranchState {
    fn as_node_branch(&self, training: bool) -> NodeBranch<'_> {
        let affine = self.affine.as_ref().map(|(weight, bias)| (weight, bias));
        let norm = |(mean, var)| Norm { affine, running: RunningStatistics { mean, var }, training };
        let mask = self.mask.as_ref().map(Tensor::shallow_clone);
        NodeBranch { y: self.y.shallow_clone(), norm: self.running.as_ref().map(|(mean, var)| norm((mean, var))), mask }
    }
}

/// The tensors of a case.
struct State {
    branches: Vec<BranchState>,
}

impl State {
    /// A copy whose branches are in `kind`, with leaves and statistics of its own.
    fn copy(&self, kind: Kind) -> State {
        let values = computed_in(kind);
        let pair = |(first, second): &(Tensor, Tensor)| (first.to_kind(values).copy(), second.to_kind(values).copy());
        let copy = |branch: &BranchState| BranchState {
            y: leaf(&branch.y.to_kind(kind).copy()),
            affine: branch.affine.as_ref().map(pair).map(|(weight, bias)| (leaf(&weight), leaf(&bias))),
            running: branch.running.as_ref().map(|(mean, var)| pair(&(mean.detach(), var.detach()))),
            mask: branch.mask.as_ref().map(|mask| mask.to_kind(kind)),
        };
        State { branches: self.branches.iter().map(copy).collect() }
    }

    fn node_branches(&self, training: bool) -> Vec<NodeBranch<'_>> {
        self.branches.iter().map(|branch| branch.as_node_branch(training)).collect()
    }

    fn sum(&self, training: bool) -> Tensor {
        branch_sum(&self.node_branches(training)).unwrap()
    }

    fn leaves(&self) -> Vec<&Tensor> {
        let mut leaves = Vec::new();
        for branch in &self.branches {
            leaves.push(&branch.y);
            leaves.extend(branch.affine.iter().flat_map(|(weight, bias)| [weight, bias]));
        }
        leaves
    }

    /// The sum, gradients and running statistics.
    fn differentiate(&self, sum: &Tensor) -> Vec<Tensor> {
        let mut all = vec![sum.detach()];
        all.extend(Tensor::run_backward(&[loss_of(sum)], &self.leaves(), false, false));
        all.extend(
            self.branches.iter().flat_map(|branch| &branch.running).flat_map(|(mean, var)| [mean.copy(), var.copy()]),
        );
        all
    }
}

/// The same in libtorch's operations.
fn reference(state: &State, training: bool) -> Tensor {
    let terms = state.branches.iter().map(|BranchState { y, affine, running, mask }| {
        let (weight, bias) = affine.as_ref().map_or((None, None), |(weight, bias)| (Some(weight), Some(bias)));
        let y = running.as_ref().map_or_else(
            || y.shallow_clone(),
            |(mean, var)| y.batch_norm(weight, bias, Some(mean), Some(var), training, 0.1, 1e-5, false),
        );
        mask.as_ref().map_or_else(|| y.shallow_clone(), |mask| &y * mask)
    });
    terms.reduce(|sum, term| sum + term).unwrap()
}

/// Not linear in the sum.
fn loss_of(sum: &Tensor) -> Tensor {
    let wave = Tensor::arange(sum.numel() as i64, (Kind::Double, device())).cos().view(sum.size().as_slice());
    let sum = sum.to_kind(computed_in(sum.kind()));
    (&sum * wave.to_kind(sum.kind())).sum(sum.kind()) + (&sum * &sum).mean(sum.kind())
}

#[test]
fn sums_gradients_and_statistics_equal_those_of_libtorch() {
    let _alone = draw_alone(1);
    for case in Case::all() {
        let drawn = case.tensors();
        for training in [true, false] {
            let theirs = drawn.copy(Kind::Double);
            let expected = theirs.differentiate(&reference(&theirs, training));
            for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 2e-5)] {
                let ours = drawn.copy(kind);
                let found = ours.differentiate(&ours.sum(training));
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
fn bfloat16_is_computed_with_in_single_precision_and_rounded_once() {
    let _alone = draw_alone(2);
    for case in Case::all().filter(|case| case.size[0] > 1) {
        let drawn = case.tensors().copy(Kind::BFloat16);
        let (ours, theirs) = (drawn.copy(Kind::BFloat16), drawn.copy(Kind::Double));
        let sum = ours.sum(true);
        assert_eq!(sum.kind(), Kind::BFloat16);
        let gradient = (Tensor::arange(sum.numel() as i64, (Kind::Float, device())).sin()).view(sum.size().as_slice());
        let gradient = gradient.to_kind(Kind::BFloat16);
        let mut found = vec![sum.detach()];
        found.extend(gradients(&sum, &gradient, &ours.leaves()).unwrap());
        let sum = reference(&theirs, true);
        let mut expected = vec![sum.detach()];
        expected.extend(gradients(&sum, &gradient.to_kind(Kind::Double), &theirs.leaves()).unwrap());
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            // Weights and biases are not rounded.
            let tolerance = if found.kind() == Kind::BFloat16 { 4e-3 } else { 1e-4 };
            let error = error(found, expected);
            assert!(error < tolerance, "{case:?}: {index}: error {error:e}");
        }
    }
}

#[test]
fn only_the_wanted_gradients_are_computed() {
    let _alone = draw_alone(3);
    let case = Case::new([2, 20, 5, 4], &[(Affine, true), (No, true)]);
    let drawn = case.tensors();
    let all = drawn.copy(Kind::Float);
    let all = all.differentiate(&all.sum(true)).split_off(1);
    for wanted in [[true, false, false], [false, true, false], [false, false, true], [true, true, false]] {
        let state = drawn.copy(Kind::Float);
        let groups = [vec![0], vec![1, 2], vec![3]];
        let leaves = state.leaves();
        for (group, wanted) in groups.iter().zip(wanted) {
            group.iter().for_each(|&index| drop(leaves[index].set_requires_grad(wanted)));
        }
        loss_of(&state.sum(true)).backward();
        for (leaf, expected) in leaves.iter().zip(&all) {
            assert_eq!(leaf.grad().defined(), leaf.requires_grad());
            assert!(!leaf.requires_grad() || leaf.grad() == *expected);
        }
    }
    let state = drawn.copy(Kind::Float);
    assert!(!no_grad(|| state.sum(true)).requires_grad());
}

#[test]
fn what_a_mask_leaves_out_has_no_say() {
    let _alone = draw_alone(4);
    let case = Case::new([3, 8, 4, 4], &[(No, true), (No, false)]);
    let state = case.tensors().copy(Kind::Float);
    let sum = state.sum(true);
    let [dropped, kept] = [0, 1].map(|branch| state.branches[branch].y.detach());
    assert!(sum.get(1).equal(&kept.get(1)));
    assert!(error(&sum.get(0), &(dropped.get(0) * 1.25 + kept.get(0))) < 1e-6);
    let gradients = Tensor::run_backward(&[loss_of(&sum)], &state.leaves(), false, false);
    assert_eq!(gradients[0].get(1).abs().max().double_value(&[]), 0.0);
    assert!(gradients[1].get(1).abs().max().double_value(&[]) > 0.0);
}

#[test]
fn any_memory_layout_gives_the_same() {
    let _alone = draw_alone(5);
    let case = Case::new([3, 20, 5, 4], &[(Affine, true), (No, false)]);
    let drawn = case.tensors();
    let run = |layout: &dyn Fn(&Tensor) -> Tensor| {
        let mut state = drawn.copy(Kind::Float);
        for branch in &mut state.branches {
            branch.y = layout(&branch.y.detach()).set_requires_grad(true);
        }
        let sum = state.sum(true);
        // A gradient that is one number, expanded, and one that is contiguous.
        let loss = sum.contiguous().sin().sum(Kind::Float) + sum.sum(Kind::Float);
        let mut all = vec![sum.detach()];
        all.extend(Tensor::run_backward(&[loss], &state.leaves(), false, false));
        all
    };
    let expected = run(&|y| y.shallow_clone());
    let slice = |y: &Tensor| Tensor::cat(&[y, y], 1).narrow(1, 0, y.size()[1]);
    for found in [run(&|y| y.contiguous()), run(&slice), run(&|y| y.transpose(2, 3).contiguous().transpose(2, 3))] {
        assert_eq!(found, expected);
    }
}

#[test]
fn channels_last_tensors_are_not_copied() {
    let _alone = draw_alone(6);
    let state = Case::new([2, 16, 4, 4], &[(Affine, true), (Affine, false)]).tensors().copy(Kind::Float);
    let before = num_layout_copies();
    let sum = state.sum(true);
    gradients(&sum, &sum.detach(), &state.leaves()).unwrap();
    assert_eq!(num_layout_copies(), before);
}

#[test]
fn statistics_keep_their_digits_far_from_zero() {
    let _alone = draw_alone(7);
    let y = (Tensor::randn([8, 4, 16, 16], (Kind::Double, device())) + 1000.0).to_kind(Kind::Float);
    let (mean, var) = (Tensor::zeros([4], (Kind::Float, device())), Tensor::zeros([4], (Kind::Float, device())));
    let norm = Norm { affine: None, running: RunningStatistics { mean: &mean, var: &var }, training: true };
    let _ = branch_sum(&[NodeBranch { y: y.shallow_clone(), norm: Some(norm), mask: None }]).unwrap();
    let expected = y.to_kind(Kind::Double).var_dim([0i64, 2, 3].as_slice(), true, false) * 0.1;
    assert!(error(&var, &expected) < 1e-6);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    if !on_cpu_kernels() {
        return;
    }
    let _alone = draw_alone(8);
    let _guard = THREADS.lock().unwrap();
    let threads = tch::get_num_threads();
    for (size, masked) in [([5, 36, 16, 16], true), ([1, 36, 9, 7], false), ([2, 36, 40, 50], false)] {
        let drawn = Case::new(size, &[(Affine, masked), (Affine, masked)]).tensors();
        let run = |threads| {
            tch::set_num_threads(threads);
            let state = drawn.copy(Kind::Float);
            state.differentiate(&state.sum(true))
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
    let drawn = Case::new([2, 4, 6, 5], &[(Affine, true), (No, false)]).tensors();
    let in_half = |state: &State| {
        let mut state = state.copy(Kind::Float);
        for branch in &mut state.branches {
            branch.y = leaf(&branch.y.to_kind(Kind::Half));
            branch.mask = branch.mask.as_ref().map(|mask| mask.to_kind(Kind::Half));
        }
        let sum = state.sum(false);
        assert_eq!(sum.kind(), Kind::Half);
        sum.to_kind(Kind::Double)
    };
    let theirs = drawn.copy(Kind::Double);
    assert!(error(&in_half(&drawn), &reference(&theirs, false)) < 2e-3);
}

#[test]
fn the_gradient_of_the_gradient_is_refused() {
    let _alone = draw_alone(10);
    let state = Case::new([2, 4, 3, 3], &[(Affine, false), (No, false)]).tensors();
    let message = Tensor::f_run_backward(&[loss_of(&state.sum(true))], &state.leaves(), true, true);
    let message = message.unwrap_err().to_string();
    assert!(message.contains("cannot be differentiated"), "{message}");
}

#[test]
fn what_does_not_fit_is_named() {
    let _alone = draw_alone(11);
    let state = Case::new([2, 4, 3, 3], &[(Affine, true), (Affine, false)]).tensors();
    let refused = |change: &dyn Fn(&mut Vec<NodeBranch<'_>>), expected: &str| {
        let mut branches = state.node_branches(true);
        change(&mut branches);
        let message = branch_sum(&branches).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1);
    };
    refused(&|branches| branches.clear(), "there are none");
    refused(&|branches| branches[1].y = branches[1].y.narrow(2, 0, 2), "branches [2, 4, 3, 3]");
    refused(&|branches| branches[1].y = branches[1].y.to_kind(Kind::Float), "of Float");
    refused(&|branches| branches[0].y = branches[0].y.get(0), "expected [N, C, H, W]");
    let cut = |mask: &Option<Tensor>| mask.as_ref().map(|mask| mask.narrow(0, 0, 1));
    refused(&|branches| branches[0].mask = cut(&branches[0].mask), "a mask [1, 1, 1, 1]");
    let channels = |branch: &mut NodeBranch<'_>| branch.y = Tensor::cat(&[&branch.y, &branch.y], 1);
    refused(&|branches| branches.iter_mut().for_each(channels), "weight [4]");
    let one_value = |branch: &mut NodeBranch<'_>| {
        branch.y = branch.y.narrow(0, 0, 1).narrow(2, 0, 1).narrow(3, 0, 1);
        branch.mask = None;
    };
    refused(&|branches| branches.iter_mut().for_each(one_value), "more than one value per channel");
}

#[test]
fn gpu_kernels_pass_in_the_emulation() {
    pass_in_emulation(&[
        "sums_gradients_and_statistics_equal_those_of_libtorch",
        "bfloat16_is_computed_with_in_single_precision_and_rounded_once",
        "only_the_wanted_gradients_are_computed",
        "what_a_mask_leaves_out_has_no_say",
        "any_memory_layout_gives_the_same",
        "statistics_keep_their_digits_far_from_zero",
        "the_gradient_of_the_gradient_is_refused",
        "what_does_not_fit_is_named",
    ]);
}
