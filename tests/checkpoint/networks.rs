//! Whole steps of a search and of a retraining, with and without.

use pdarts::config::{Precision, SearchConfig, StrategyName, TrainConfig};
use pdarts::genotype::{NetworkKind, NetworkShape, Operation, Switches, library};
use pdarts::model::NetworkDescription;
use pdarts::optim::{FlatParameters, FlatStatistics};
use pdarts::search::{ForwardMode, SupernetShape};
use pdarts::trainer::{ImageBatch, SearchState, StepImages, StepResult, StepSettings, TrainState};
use tch::{Kind, Tensor};

use crate::random::draw_alone;
use crate::tensors::device;

const NUM_STEPS: usize = 3;

fn batch(size: i64, num_classes: i64) -> ImageBatch {
    ImageBatch {
        images: Tensor::randn([4, 3, size, size], (Kind::Float, device())),
        labels: Tensor::randint(num_classes, [4], (Kind::Int64, device())),
    }
}

/// What steps leave behind: results, gradients, values, statistics, and what is drawn after all.
#[derive(Default)]
struct Trace(Vec<(String, Tensor)>);

impl Trace {
    fn add(&mut self, what: &str, tensor: &Tensor) {
        self.0.push((what.into(), tensor.detach().copy()));
    }

    fn step(&mut self, result: &StepResult, parameters: &FlatParameters, statistics: &FlatStatistics) {
        self.add("loss", &Tensor::from(result.mean_loss().unwrap()));
        self.add("gradients", parameters.gradients());
        self.add("values", parameters.values());
        self.add("statistics", statistics.values());
        self.add("next random number", &Tensor::rand([1], (Kind::Float, device())));
    }

    fn assert_same(&self, other: &Self) {
        assert_eq!(self.0.len(), other.0.len());
        for (index, ((what, ours), (_, theirs))) in self.0.iter().zip(&other.0).enumerate() {
            assert!(ours.isfinite().all().int64_value(&[]) == 1, "{index}: {what}");
            assert!(ours.equal(theirs), "{index}: {what}: {}", (ours - theirs).abs().max());
        }
    }
}

/// Alternating steps on a small supernet of `num_cells` cells with `live` operations on every edge.
fn search(num_cells: usize, live: &[Operation], checkpoint: bool) -> Trace {
    tch::set_num_threads(1);
    let _alone = draw_alone(3);
    let switches = Switches::full(live).unwrap();
    let shape = SupernetShape {
        stem: NetworkKind::Cifar,
        num_cells,
        channels: 4,
        num_classes: 7,
        partial_channels: 1,
        switches,
    };
    let (strategy, optimizer) = (StrategyName::PDarts, SearchConfig::default().optimizer);
    let mut state = SearchState::new(&shape, 1e-3, &optimizer, strategy, device(), Kind::Float).unwrap();
    state.checkpoint_cells(checkpoint);
    let (batch, mode, mut trace) = (batch(16, 7), ForwardMode::training(0.4), Trace::default());
    for _ in 0..NUM_STEPS {
        let result = state.alpha_step(&mut (&batch).into(), mode).unwrap();
        trace.step(&result, &state.flat_alphas, &state.statistics);
        let result = state.weight_step(&mut (&batch).into(), 0.025, mode).unwrap();
        trace.step(&result, &state.weights, &state.statistics);
    }
    trace
}

#[test]
fn search_takes_the_same_steps() {
    use Operation::{DilConv3x3, DilConv5x5, MaxPool3x3, SepConv3x3, SkipConnect};
    let later_stage = [MaxPool3x3, SkipConnect, SepConv3x3, DilConv3x3, DilConv5x5];
    for (num_cells, live) in [(5, &Operation::SEARCH_SPACE[..]), (6, &later_stage)] {
        search(num_cells, live, true).assert_same(&search(num_cells, live, false));
    }
}

/// Steps of a retraining with drop path and an auxiliary head.
fn retrain(kind: NetworkKind, precision: Precision, accumulate_steps: usize, checkpoint: bool) -> Trace {
    tch::set_num_threads(1);
    let _alone = draw_alone(3);
    let (channels, image_size) = match kind {
        NetworkKind::Cifar => (4, 32),
        // With fewer channels oneDNN's convolutions write beyond their memory.
        NetworkKind::ImageNet => (16, 224),
    };
    let shape = NetworkShape { kind, channels, cells: 5, num_classes: 7, image_size };
    let genotype = library::find("PDARTS_C10").unwrap().genotype;
    let mut config = TrainConfig::default();
    config.train.precision = precision;
    config.train.ema_decay = 0.9;
    config.model.checkpoint_cells = checkpoint;
    let description = NetworkDescription { genotype, shape, auxiliary_head: true };
    let mut state = TrainState::new(description, &config, device(), None).unwrap();
    let (batch, mut trace) = (batch(image_size as i64, 7), Trace::default());
    for _ in 0..NUM_STEPS {
        let settings = StepSettings { learning_rate: 0.025, drop_path: 0.3, mixing: None };
        let mut images = StepImages::in_parts(&batch, accumulate_steps).unwrap();
        let result = state.weight_step(&mut images, &settings).unwrap();
        trace.step(&result, &state.weights, &state.statistics);
    }
    trace
}

#[test]
fn retraining_takes_the_same_steps() {
    for (kind, precision, accumulate_steps) in [
        (NetworkKind::Cifar, Precision::Float32, 1),
        (NetworkKind::Cifar, Precision::Float32, 2),
        (NetworkKind::Cifar, Precision::Bf16, 1),
        (NetworkKind::ImageNet, Precision::Float32, 1),
    ] {
        let [with, without] = [true, false].map(|checkpoint| retrain(kind, precision, accumulate_steps, checkpoint));
        with.assert_same(&without);
    }
}
