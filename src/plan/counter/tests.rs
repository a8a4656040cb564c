//! Counts of small cases, by hand, and of whole networks, by other counts.

use super::*;
use crate::genotype::{NetworkKind, NetworkShape, count, library, walk, walk_auxiliary_head};
use crate::plan::{SupernetSize, walk_supernet};

const PAPER: SupernetSize = SupernetSize {
    stem: NetworkKind::Cifar,
    cells: 5,
    channels: 16,
    partial_channels: 1,
    num_classes: 10,
    image_size: 32,
    operations: Vec::new(),
    skip_dropout: false,
};

fn map(channels: u64, side: u64) -> FeatureMap {
    FeatureMap { channels, height: side, width: side }
}

fn pass(multiply_adds: u64, values: u64, launches: u64) -> Pass {
    Pass { multiply_adds, values, launches }
}

fn counter(kernels: Kernels) -> Counter {
    Counter::new(kernels, true, false)
}

/// Of whatever `tell` tells.
fn layers(kernels: Kernels, tell: impl FnOnce(&mut Counter)) -> (Vec<Layer>, u64) {
    let mut counter = counter(kernels);
    tell(&mut counter);
    (counter.layers, counter.parameters)
}

#[test]
fn dense_convolution_computes_as_much_in_each_pass() {
    let (layers, parameters) = layers(Kernels::Cpu, |counter| {
        assert_eq!(counter.convolution(map(3, 8), Convolution::square(4, 3, 2)), map(4, 4));
    });
    // 4 x 3 x 3 x 3 weights on 4 x 4 pixels; 3 x 8 x 8 values in, 4 x 4 x 4 out.
    let expected = pass(108 * 16, 192 + 64, 1);
    let Layer { forward, input_gradient, weight_gradient, kept_values, .. } = layers[0];
    assert_eq!([forward, input_gradient, weight_gradient], [expected; 3]);
    assert_eq!((parameters, kept_values, layers.len()), (108, 0, 1));
}

#[test]
fn separable_convolution_of_three_edges_is_one_kernel_that_computes_again() {
    let separable = Separable { edges: 3, kernel: 3, stride: 1, normalised: false };
    let (layers, parameters) = layers(Kernels::Cpu, |counter| {
        assert_eq!(counter.separable(map(2, 4), separable), map(6, 4));
    });
    // 6 kernels of 9 and 3 matrices of 2 x 2, on 16 pixels; 32 values in, 96 out.
    assert_eq!(parameters, 54 + 12);
    assert_eq!(layers[0].forward, pass(66 * 16, 32 + 96, 1));
    assert_eq!(layers[0].input_gradient, pass(2 * 66 * 16, 2 * 32 + 96, 1));
    assert_eq!(layers[0].weight_gradient, pass(66 * 16, 0, 0));
    assert_eq!((layers.len(), layers[0].kept_values), (1, 0));
}

#[test]
fn second_half_of_a_separable_convolution_keeps_its_input_and_reads_it_for_statistics() {
    let separable = Separable { edges: 3, kernel: 3, stride: 1, normalised: true };
    let (layers, parameters) = layers(Kernels::Cpu, |counter| {
        assert_eq!(counter.separable(map(6, 4), separable), map(6, 4));
    });
    assert_eq!(parameters, 54 + 12 + 2 * 6);
    assert_eq!(layers[0].forward, pass(66 * 16, 3 * 96, 1));
    assert_eq!(layers[0].input_gradient, pass(2 * 66 * 16, 3 * 96 + 3 * 96, 1));
    assert_eq!(layers[0].kept_values, 96);
}

#[test]
fn libtorchs_operations_keep_what_is_between_them() {
    let separable = Separable { edges: 3, kernel: 3, stride: 1, normalised: false };
    let (layers, parameters) = layers(Kernels::Composed, |counter| {
        assert_eq!(counter.separable(map(2, 4), separable), map(6, 4));
    });
    assert_eq!(parameters, 54 + 12);
    // ReLU of the state, a copy for each edge, between the convolutions.
    assert_eq!(layers.iter().map(|layer| layer.kept_values).sum::<u64>(), 32 + 96 + 96);
    // ReLU, copy, two convolutions.
    assert_eq!(layers.iter().map(|layer| layer.forward.launches).sum::<u64>(), 4);
}

#[test]
fn sum_of_operations_reads_each_output_twice() {
    let branch =
        |elements, normalised, is_state| Branch { elements, edges: 2, normalised, is_separable: false, is_state };
    let branches = [branch(32, true, false), branch(64, true, false), branch(32, false, true)];
    let (layers, _) = layers(Kernels::Cpu, |counter| counter.mix(map(2, 4), 2, &branches));
    assert_eq!(layers[0].forward, pass(6 * 32, 2 * 128 + 2 * 64, 1));
    assert_eq!(layers[0].input_gradient, pass(2 * 6 * 32, 3 * 128 + 2 * 64, 1));
    // The state itself is kept by those that read it.
    assert_eq!(layers[0].kept_values, 32 + 64);
}

#[test]
fn sum_of_a_nodes_branches_takes_their_batch_norms_along() {
    let tell = |counter: &mut Counter| {
        counter.branch_norm(map(2, 4));
        counter.add(map(2, 4), 1);
    };
    let (own, parameters) = layers(Kernels::Cpu, tell);
    // 32 values: read for statistics, read twice and written for the sum of two branches; backward the two gradients.
    assert_eq!(own[0].forward.values + own[1].forward.values, 4 * 32);
    assert_eq!(own[0].input_gradient.values + own[1].input_gradient.values, 6 * 32);
    assert_eq!((parameters, own[0].kept_values, own[1].kept_values), (4, 32, 0));
    let (composed, parameters) = layers(Kernels::Composed, tell);
    assert_eq!(composed[0].forward.values + composed[1].forward.values, 6 * 32);
    assert_eq!(parameters, 4);
    let (gpu, _) = layers(Kernels::Gpu, tell);
    assert_eq!(gpu[1].forward.launches, 3);
}

#[test]
fn kernels_of_a_gpu_are_counted_one_by_one() {
    let separable = Separable { edges: 3, kernel: 3, stride: 1, normalised: true };
    let (layers, _) = layers(Kernels::Gpu, |counter| {
        for group in [0, 0, 1] {
            counter.group(group);
            counter.separable(map(6, 4), separable);
        }
    });
    let launches = |index: usize| {
        let Layer { forward, input_gradient, weight_gradient, .. } = &layers[index];
        [forward, input_gradient, weight_gradient].map(|pass| pass.launches)
    };
    // Statistics, what follows, product; product, gather, shares, pass through the norm.
    assert_eq!(launches(0), [3, 4, 0]);
    // Another of the group is computed with it.
    assert_eq!(launches(1), [0, 0, 0]);
    assert_eq!(launches(2), [3, 4, 0]);
}

#[test]
fn gradients_of_all_weights_are_added_by_a_few_kernels_of_a_gpu() {
    let launches = |kernels, num_norms: usize| {
        let mut counter = counter(kernels);
        for _ in 0..num_norms {
            counter.norm(map(2, 4), true);
        }
        counter.accumulation();
        let last = counter.layers.last().unwrap();
        (counter.tensors, last.weight_gradient.launches, last.alpha_gradient.launches)
    };
    assert_eq!(launches(Kernels::Gpu, 224), (448, 1, 1));
    assert_eq!(launches(Kernels::Gpu, 225), (450, 2, 1));
    assert_eq!(launches(Kernels::Cpu, 225), (450, 0, 0));
}

#[test]
fn maximum_keeps_a_byte_a_value_and_libtorchs_eight() {
    for (kernels, bytes) in [(Kernels::Cpu, 1), (Kernels::Composed, 8)] {
        let (layers, _) = layers(kernels, |counter| {
            assert_eq!(counter.pool(map(2, 4), Operation::MaxPool3x3, 2), map(2, 2));
            counter.pool(map(2, 4), Operation::AvgPool3x3, 1);
        });
        assert_eq!(layers.iter().map(|layer| layer.kept_bytes).collect::<Vec<_>>(), [8 * bytes, 0]);
        assert_eq!(layers[0].forward.values, 32 + 8);
    }
}

#[test]
fn with_checkpoints_one_cell_at_a_time_and_all_outputs_are_kept() {
    let mut counter = counter(Kernels::Cpu);
    counter.batch_norm(map(1, 10)); // the stem keeps 100
    for channels in [3, 5] {
        counter.relu_again(map(1, 10));
        counter.relu(map(channels, 10)); // 300, then 500
        counter.concatenation(map(1, 10), 4); // 400
    }
    assert_eq!(counter.kept_bytes(4), 4 * (100 + 300 + 500));
    assert_eq!(counter.kept_bytes_with_checkpoints(4), 4 * (100 + 500 + 2 * 400));
}

#[test]
fn evaluation_networks_have_the_parameters_and_multiply_adds_of_the_other_count() {
    let genotype = library::find("PDARTS_C10").unwrap().genotype;
    for shape in [NetworkShape::cifar(10), NetworkShape::imagenet()] {
        for kernels in [Kernels::Cpu, Kernels::Composed] {
            let mut counter = counter(kernels);
            let input = walk(&genotype, &shape, &mut counter).unwrap();
            let expected = count(&genotype, &shape);
            assert_eq!(counter.parameters, expected.parameters);
            assert_eq!(counter.multiply_adds(), expected.multiply_adds);
            walk_auxiliary_head(input, shape.num_classes, &mut counter);
            assert_eq!(counter.parameters, expected.parameters + expected.auxiliary_parameters);
        }
    }
}

/// What `pdarts bench supernet` says of the real networks.
#[test]
fn supernets_of_the_paper_have_their_parameters() {
    use Operation::{DilConv3x3, DilConv5x5, MaxPool3x3, SepConv3x3, SkipConnect};
    let stages = [
        (5, Operation::SEARCH_SPACE.to_vec(), 1_275_834),
        (11, vec![MaxPool3x3, SkipConnect, SepConv3x3, DilConv3x3, DilConv5x5], 1_687_802),
        (17, vec![SkipConnect, SepConv3x3, DilConv3x3], 1_861_402),
    ];
    for (cells, operations, parameters) in stages {
        for kernels in [Kernels::Cpu, Kernels::Composed] {
            let mut counter = Counter::new(kernels, false, false);
            walk_supernet(&SupernetSize { cells, operations: operations.clone(), ..PAPER }, &mut counter);
            assert_eq!(counter.parameters, parameters);
        }
    }
}
