//! Estimates of a network of one layer on hardware of round numbers.

use super::*;
use crate::config::{SearchConfig, TrainConfig};
use crate::genotype::{Convolution, FeatureMap, Layers, library};
use crate::plan::{Calibration, DataSize, Efficiency, Pace};

const DATA: DataSize = DataSize { train: 1000, test: 100, classes: 10, search_shares: None };

/// 1e9 operations and 1e9 bytes a second, half of both reached, 1 ms to start a kernel.
fn hardware(kernels: Kernels) -> Hardware {
    Hardware {
        name: "slow".to_owned(),
        memory_bytes: Some(1e6),
        flops: 1e9,
        bf16_flops: 4e9,
        bandwidth: 1e9,
        efficiency: [Efficiency { arithmetic: 0.5, memory: 0.5 }; 4],
        replayed_launch_seconds: 0.5e-3,
        launch_seconds: 1e-3,
        kernels,
        node_link: 1e9,
        program_bytes: 1000.0,
        calibration: Calibration::Measured,
    }
}

fn alone() -> Cluster {
    Cluster::new(1, 1, 1e9, 1e9).unwrap()
}

/// Steps of 10 images through a convolution of 100 weights on 10 x 10 pixels.
fn course() -> Course {
    let mut network = Counter::new(Kernels::Cpu, false, false);
    network.convolution(FeatureMap { channels: 10, height: 10, width: 10 }, Convolution::pointwise(10));
    let phase = Phase {
        name: "only".to_owned(),
        network,
        image_size: 10,
        cells: 1,
        operations: Vec::new(),
        pace: Pace::default(),
        steps: Steps::Train,
        steps_per_epoch: 100,
        epochs: 3,
        evaluated_images: 0,
    };
    Course {
        global_batch: 10,
        parts: 1,
        optimizer_buffers: 1,
        activation_bytes: 4,
        checkpoint_cells: false,
        obstacle_to_graphs: None,
        obstacle_to_weight_graphs: None,
        buckets: (1e6, 1e6, 1.0),
        loader_threads: 1,
        decodes: true,
        phases: vec![phase],
    }
}

fn assert_close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
}

/// Three passes of 10,000 multiply-adds an image, and ten over 400 bytes of weights.
const ARITHMETIC: f64 = 3.0 * 2.0 * 10_000.0 * 10.0 / 0.5e9;
const OPTIMIZER: f64 = 10.0 * 400.0 / 0.5e9;

#[test]
fn a_cpu_computes_and_starts_kernels_in_turn_and_a_gpu_at_once() {
    let on = |kernels| estimate(&course(), &hardware(kernels), &alone()).phases[0].weight_step;
    let cpu = on(Kernels::Cpu);
    assert_close(cpu.device_seconds, ARITHMETIC + OPTIMIZER);
    assert_close(cpu.launch_seconds, 23e-3);
    assert_close(cpu.seconds, ARITHMETIC + OPTIMIZER + 23e-3);
    assert_close(on(Kernels::Composed).seconds, 23e-3);
}

#[test]
fn steps_that_a_gpu_repeats_start_their_kernels_sooner() {
    let cell = library::find("PDARTS_C10").unwrap().genotype;
    let step = |cuda_graphs| {
        let mut config = TrainConfig::default();
        config.run.cuda_graphs = cuda_graphs;
        let course = Course::of_training(&config, &cell, DATA, 1, Kernels::Gpu).unwrap();
        estimate(&course, &hardware(Kernels::Gpu), &alone()).phases[0].weight_step
    };
    let (replayed, launched) = (step(true), step(false));
    assert_close(2.0 * replayed.launch_seconds, launched.launch_seconds);
    assert_close(launched.seconds - replayed.seconds, replayed.launch_seconds);
}

#[test]
fn search_that_perturbs_repeats_the_passes_of_its_alphas_alone() {
    let steps = |perturbation| {
        let mut config = SearchConfig::default();
        config.search.perturbation = perturbation;
        let course = Course::of_search(&config, DATA, 1, Kernels::Gpu).unwrap();
        let phase = estimate(&course, &hardware(Kernels::Gpu), &alone()).phases.swap_remove(0);
        (phase.alpha_step.unwrap(), phase.weight_step)
    };
    let ((alphas, weights), (alphas_beside, launched)) = (steps(0.0), steps(0.3));
    assert_eq!(alphas.seconds, alphas_beside.seconds);
    // The optimizer's kernels are replayed.
    assert!(
        launched.launch_seconds > 1.9 * weights.launch_seconds
            && launched.launch_seconds < 2.0 * weights.launch_seconds
    );
}

#[test]
fn memory_bounds_what_computes_little() {
    let mut course = course();
    course.phases[0].network = Counter::new(Kernels::Cpu, false, false);
    course.phases[0].network.batch_norm(FeatureMap { channels: 10, height: 10, width: 10 });
    let step = estimate(&course, &hardware(Kernels::Cpu), &alone()).phases[0].weight_step;
    // 3 + 5 values of 4 bytes, 1,000 an image.
    assert_close(step.device_seconds, 8.0 * 4.0 * 1000.0 * 10.0 / 0.5e9);
}

#[test]
fn memory_is_weights_activations_and_what_a_layer_works_on() {
    let found = estimate(&course(), &hardware(Kernels::Cpu), &alone());
    let Memory { weights, gradients, optimizer, images, activations, workspace, program } = found.phases[0].memory;
    assert_eq!([weights, gradients, optimizer], [400.0; 3]);
    assert_eq!(images, 4.0 * 300.0 * 10.0);
    // A convolution's input is kept by the layer that made it.
    assert_eq!((activations, workspace, program), (0.0, 4.0 * 2000.0 * 10.0, 1000.0));
    assert_eq!(found.totals.fits, Some(true));
    let small = Hardware { memory_bytes: Some(50_000.0), ..hardware(Kernels::Cpu) };
    assert_eq!(estimate(&course(), &small, &alone()).totals.fits, Some(false));
}

#[test]
fn hours_and_cores_follow_from_the_step() {
    let found = estimate(&course(), &hardware(Kernels::Cpu), &alone());
    let seconds = found.phases[0].weight_step.seconds;
    assert_close(found.totals.hours, 300.0 * seconds / 3600.0);
    assert_close(found.loader.cores, 10.0 / seconds / 630.0);
}

#[test]
fn ranks_share_a_step_and_wait_for_sums() {
    let two = Cluster::new(2, 1, 1e6, 1e6).unwrap();
    let found = estimate(&course(), &hardware(Kernels::Composed), &two);
    let step = found.phases[0].weight_step;
    assert_eq!(found.images_of_part, 5);
    assert_close(step.communication_seconds, 400.0 / 1e6 + 20e-6);
    assert_close(step.seconds, 23e-3 + step.exposed_seconds);
    assert_close(found.totals.gpu_hours, 2.0 * found.totals.hours);
}

#[test]
fn parts_need_less_memory_and_cells_that_are_computed_again_more_time() {
    let config = TrainConfig::default();
    let cell = library::find("PDARTS_C10").unwrap().genotype;
    let phase = |change: fn(&mut TrainConfig)| {
        let mut config = config.clone();
        change(&mut config);
        let course = Course::of_training(&config, &cell, DATA, 1, Kernels::Cpu).unwrap();
        estimate(&course, &hardware(Kernels::Cpu), &alone()).phases.remove(0)
    };
    let plain = phase(|_| {});
    let parts = phase(|config| config.train.accumulate_steps = 4);
    assert_close(4.0 * parts.memory.activations, plain.memory.activations);
    let again = phase(|config| config.model.checkpoint_cells = true);
    assert!(again.memory.activations < 0.5 * plain.memory.activations);
    let ratio = again.weight_step.device_seconds / plain.weight_step.device_seconds;
    assert!((1.15..1.5).contains(&ratio), "{ratio}");
    let bf16 = phase(|config| config.train.precision = crate::config::Precision::Bf16);
    assert!(bf16.memory.activations < 0.6 * plain.memory.activations);
}

#[test]
fn stages_have_the_epochs_and_operations_of_the_configuration() {
    let course = Course::of_search(&SearchConfig::default(), DataSize { train: 50_000, ..DATA }, 1, Kernels::Cpu);
    let phases = course.unwrap().phases;
    let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
    let expected =
        ["stage 1 (5 cells, 8 operations)", "stage 2 (11 cells, 5 operations)", "stage 3 (17 cells, 3 operations)"];
    assert_eq!(names, expected);
    for phase in phases {
        assert_eq!(
            (phase.steps, phase.steps_per_epoch),
            (Steps::Search { alpha_epochs: 15, second_order: false }, 260)
        );
        assert_eq!(phase.evaluated_images, 5 * 25_000);
    }
}

#[test]
fn image_sizes_are_phases_of_their_own() {
    let sizes = [(0, 24), (2, 32)].map(|(epoch, size)| crate::config::ImageSizeSection { epoch, size });
    let mut config = TrainConfig::default();
    (config.train.epochs, config.train.image_sizes) = (5, sizes.to_vec());
    let cell = library::find("PDARTS_C10").unwrap().genotype;
    let phases = Course::of_training(&config, &cell, DATA, 1, Kernels::Cpu).unwrap().phases;
    let found: Vec<_> = phases.iter().map(|phase| (phase.image_size, phase.epochs, phase.evaluated_images)).collect();
    assert_eq!(found, [(24, 2, 0), (32, 3, 100)]);
}

#[test]
fn measured_paces_stretch_the_steps_that_they_were_measured_of() {
    let plain = course();
    let mut slow = course();
    slow.phases[0].pace = Pace { alphas: 5.0, weights: 3.0 };
    let step = |course: &Course| estimate(course, &hardware(Kernels::Cpu), &alone()).phases[0].weight_step;
    assert_close(step(&slow).seconds, 3.0 * step(&plain).seconds);
    let steps = Steps::Search { alpha_epochs: 1, second_order: false };
    let alphas = |mut course: Course| {
        course.phases[0].steps = steps;
        estimate(&course, &hardware(Kernels::Cpu), &alone()).phases[0].alpha_step.unwrap().seconds
    };
    assert_close(alphas(slow), 5.0 * alphas(plain));
}
