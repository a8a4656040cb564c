//! `--kernels`: which of libtorch's operations run under either choice, and that results agree.
//!
//! One test, because the choice is the process's.

use std::sync::Arc;

use pdarts::torch::{
    Branch, DepthwiseGeometry, Kernels, NodeBranch, Norm, RunningStatistics, branch_sum, choose_kernels,
    chosen_kernels, gradients, mix, profile, relu_depthwise, synchronise_batch_norm,
};
use tch::{Device, Kind, Tensor};

const OPTIONS: (Kind, Device) = (Kind::Double, Device::Cpu);
const GEOMETRY: DepthwiseGeometry = DepthwiseGeometry { stride: 1, dilation: 1 };

/// Outputs and input gradients of each operation, with the names of all that ran.
struct Outcome {
    tensors: Vec<Tensor>,
    operations: Vec<String>,
}

impl Outcome {
    fn of(x: &Tensor, weight: &Tensor) -> Self {
        let (result, times) = profile(|| {
            let depthwise = relu_depthwise(x, weight, GEOMETRY).unwrap();
            [with_gradient(&depthwise, x), with_gradient(&mixed(x), x), normalised(x)]
        })
        .unwrap();
        let operations = times.into_iter().map(|time| time.name).collect();
        Self { tensors: result.into_iter().flatten().collect(), operations }
    }

    fn ran(&self, operation: &str) -> bool {
        self.operations.iter().any(|name| name == operation)
    }
}

/// `y`, and the gradient of `x` for some gradient of `y`.
fn with_gradient(y: &Tensor, x: &Tensor) -> [Tensor; 2] {
    [y.detach(), gradients(y, &y.detach().sin(), &[x]).unwrap().remove(0)]
}

/// BatchNorm of `x` with half its weight.
fn mixed(x: &Tensor) -> Tensor {
    let (mean, var) = (Tensor::zeros([3], OPTIONS), Tensor::ones([3], OPTIONS));
    let running = Some(RunningStatistics { mean: &mean, var: &var });
    let branch = Branch { y: x.shallow_clone(), per_edge: false, running, nodes: vec![0] };
    let mut sums = [None];
    mix(&mut sums, &[branch], &Tensor::full([1], 0.5, OPTIONS), true).unwrap();
    sums[0].take().unwrap()
}

/// BatchNorm of `x` over the images of one rank, with its gradient.
fn normalised(x: &Tensor) -> [Tensor; 2] {
    let (mean, var) = (Tensor::zeros([3], OPTIONS), Tensor::ones([3], OPTIONS));
    synchronise_batch_norm(Some(Arc::new(|_| Ok(()))));
    let norm = Norm { affine: None, running: RunningStatistics { mean: &mean, var: &var }, training: true };
    let y = branch_sum(&[NodeBranch { y: x.shallow_clone(), norm: Some(norm), mask: None }]).unwrap();
    // Backward sums over ranks, too.
    let result = with_gradient(&y, x);
    synchronise_batch_norm(None);
    result
}

#[test]
fn reference_kernels_are_libtorchs_operations_and_agree_with_the_fused_ones() {
    tch::set_num_threads(1);
    tch::manual_seed(1);
    let x = Tensor::randn([2, 5, 5, 3], OPTIONS).permute([0, 3, 1, 2]).set_requires_grad(true);
    let weight = Tensor::randn([6, 1, 3, 3], OPTIONS);
    assert_eq!(chosen_kernels(), Kernels::Fused);
    let fused = Outcome::of(&x, &weight);
    choose_kernels(Kernels::Reference);
    assert_eq!(chosen_kernels(), Kernels::Reference);
    let reference = Outcome::of(&x, &weight);
    for operation in ["aten::conv2d", "aten::batch_norm", "aten::var_mean"] {
        assert!(!fused.ran(operation) && reference.ran(operation), "{operation}");
    }
    for (ours, theirs) in fused.tensors.iter().zip(&reference.tensors) {
        assert!(ours.allclose(theirs, 1e-10, 1e-10, false), "{ours} {theirs}");
    }
    reference_is_right_in_bfloat16();
}

/// Libtorch's own dilated convolution is not, at this size.
fn reference_is_right_in_bfloat16() {
    let leaf = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
    let x = leaf(&[8, 32, 32, 16]).permute([0, 3, 1, 2]).set_requires_grad(true);
    let weight = leaf(&[16, 1, 5, 5]).set_requires_grad(true);
    let geometry = DepthwiseGeometry { stride: 1, dilation: 2 };
    let of = |kernels| {
        choose_kernels(kernels);
        let y = relu_depthwise(&x, &weight, geometry).unwrap();
        let mut all = gradients(&y, &y.detach().sin(), &[&x, &weight]).unwrap();
        all.push(y.detach());
        all
    };
    for (ours, theirs) in of(Kernels::Fused).iter().zip(&of(Kernels::Reference)) {
        let difference = ours.to_kind(Kind::Float) - theirs.to_kind(Kind::Float);
        let error = difference.norm().double_value(&[]) / ours.to_kind(Kind::Float).norm().double_value(&[]);
        assert!(error < 0.01, "{:?}: {error:e}", ours.size());
    }
}
