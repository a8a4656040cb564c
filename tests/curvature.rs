//! The largest eigenvalue of the loss's Hessian in the alphas, against that of the whole matrix.

#[path = "tensors/mod.rs"]
mod tensors;

use pdarts::config::{SearchConfig, StrategyName};
use pdarts::genotype::{NetworkKind, Operation, Switches};
use pdarts::search::{ForwardMode, SupernetShape};
use pdarts::trainer::{ImageBatch, SearchState, StepImages, largest_eigenvalue};
use tch::{Kind, Tensor, no_grad};
use tensors::device;

/// Of the central differences that make the matrix.
const SHIFT: f64 = 1e-7;

/// Of a cell.
const NUM_ALPHAS: i64 = 14 * 3;

fn state() -> SearchState {
    let operations = [Operation::SkipConnect, Operation::AvgPool3x3, Operation::SepConv3x3];
    let shape = SupernetShape {
        stem: NetworkKind::Cifar,
        num_cells: 3,
        channels: 4,
        num_classes: 3,
        partial_channels: 1,
        switches: Switches::full(&operations).unwrap(),
    };
    tch::manual_seed(4);
    let optimizer = SearchConfig::default().optimizer;
    SearchState::new(&shape, 0.5, &optimizer, StrategyName::Darts, device(), Kind::Double).unwrap()
}

fn batch() -> ImageBatch {
    tch::manual_seed(5);
    let images = Tensor::randn([8, 3, 8, 8], (Kind::Double, device()));
    ImageBatch { images, labels: Tensor::from_slice(&[0i64, 1, 2, 0, 1, 2, 0, 1]).to_device(device()) }
}

/// The gradient of the loss in the alphas, shifted by `shift` along alpha `index`.
fn shifted_gradient(state: &SearchState, batch: &ImageBatch, index: i64, shift: f64) -> Tensor {
    let alphas: Vec<Tensor> = state.strategy().parameters().into_iter().map(|named| named.tensor).collect();
    let (cell, place) = (index / NUM_ALPHAS, index % NUM_ALPHAS);
    let move_by = |shift: f64| no_grad(|| alphas[cell as usize].view([-1]).get(place).g_add_scalar_(shift));
    let _ = move_by(shift);
    let loss = state.forward(batch, ForwardMode::training(0.0)).unwrap().loss;
    let gradients = Tensor::run_backward(&[loss], &alphas.iter().collect::<Vec<_>>(), false, false);
    let _ = move_by(-shift);
    Tensor::cat(&gradients.iter().map(|gradient| gradient.reshape([-1])).collect::<Vec<_>>(), 0)
}

#[test]
fn largest_eigenvalue_is_that_of_the_whole_hessian_from_any_start() {
    let (mut state, batch) = (state(), batch());
    let rows: Vec<Tensor> = (0..2 * NUM_ALPHAS)
        .map(|index| {
            let ahead = shifted_gradient(&state, &batch, index, SHIFT);
            (ahead - shifted_gradient(&state, &batch, index, -SHIFT)) / (2.0 * SHIFT)
        })
        .collect();
    let hessian = Tensor::stack(&rows, 0);
    let asymmetry = (&hessian - hessian.transpose(0, 1)).norm().double_value(&[]) / hessian.norm().double_value(&[]);
    assert!(asymmetry < 1e-3, "the differences see jumps: {asymmetry}");
    let largest = hessian.linalg_eigvalsh("L").max().double_value(&[]);
    for seed in 0..3 {
        let mut images = StepImages::from(&batch);
        let before = state.flat_alphas.values().copy();
        let found = largest_eigenvalue(&mut state, &mut images, seed, || Ok(None)).unwrap().unwrap();
        println!("{found}, of the matrix {largest}");
        assert!((found - largest).abs() < 0.01 * largest.abs(), "{found} instead of {largest}");
        no_grad(|| state.flat_alphas.values().shallow_clone().copy_(&before));
    }
}
