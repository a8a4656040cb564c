//! What a search computes in: how far its losses are from those in single precision.
//!
//! `PDARTS_TEST_DEVICE=cuda` compares on a GPU.

mod tensors;

use pdarts::config::{Precision, SearchConfig, StrategyName};
use pdarts::genotype::{NetworkKind, Operation, Switches};
use pdarts::search::{ForwardMode, SupernetShape};
use pdarts::trainer::{ImageBatch, SearchState};
use tch::{Device, Kind, Tensor};
use tensors::device;

/// Of a step of the alphas and one of the weights.
const ALTERNATIONS: usize = 50;
const OPERATIONS: [Operation; 4] =
    [Operation::AvgPool3x3, Operation::SkipConnect, Operation::SepConv3x3, Operation::DilConv3x3];

/// Losses of alternating steps of the alphas and the weights.
fn losses(precision: Precision) -> Vec<f64> {
    let device = device();
    let shape = SupernetShape {
        stem: NetworkKind::Cifar,
        num_cells: 3,
        channels: 8,
        num_classes: 4,
        partial_channels: 1,
        switches: Switches::full(&OPERATIONS).unwrap(),
    };
    tch::manual_seed(1);
    let optimizer = SearchConfig::default().optimizer;
    let mut state = SearchState::new(&shape, 1e-3, &optimizer, StrategyName::Darts, device, Kind::Float).unwrap();
    state.compute_in(precision);
    // Four classes that differ in their colours, and noise.
    tch::manual_seed(2);
    let labels = Tensor::arange(16, (Kind::Int64, Device::Cpu)).remainder(4);
    let colours = Tensor::randn([4, 3, 1, 1], (Kind::Float, Device::Cpu)).index_select(0, &labels);
    let images = (Tensor::randn([16, 3, 16, 16], (Kind::Float, Device::Cpu)) + colours * 0.1).to_device(device);
    let batch = ImageBatch { images, labels: labels.to_device(device) };
    let mut losses = Vec::new();
    for _ in 0..ALTERNATIONS {
        let mode = ForwardMode::training(0.0);
        let alphas = state.alpha_step(&mut (&batch).into(), mode).unwrap();
        let weights = state.weight_step(&mut (&batch).into(), 0.005, mode).unwrap();
        losses.extend([alphas, weights].map(|result| result.mean_loss().unwrap()));
    }
    losses
}

#[test]
fn losses_stay_close_to_those_in_single_precision() {
    let exact = losses(Precision::Float32);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&exact[80..]) < 0.7 * mean(&exact[..20]), "nothing is learnt: {exact:?}");
    for (precision, first_tolerance, tolerance) in [(Precision::Tf32, 1e-3, 0.01), (Precision::Bf16, 5e-3, 0.02)] {
        let rounded = losses(precision);
        let first = (rounded[0] - exact[0]).abs() / exact[0];
        let difference = |range: std::ops::Range<usize>| (mean(&rounded[range.clone()]) - mean(&exact[range])).abs();
        let greatest = (0..10).map(|tenth| difference(10 * tenth..10 * (tenth + 1))).fold(0.0, f64::max);
        println!("{precision:?}: first loss {first:.1e} off (relative), means of 10 steps at most {greatest:.1e}");
        assert!(first <= first_tolerance && greatest <= tolerance, "{precision:?}: {first:e}, {greatest:e}");
        if precision == Precision::Bf16 {
            assert_ne!(rounded, exact);
        } else if device() == Device::Cpu {
            assert_eq!(rounded, exact);
        }
    }
}
