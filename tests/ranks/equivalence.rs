//! Several ranks take the steps of one: losses, alphas and weights of alternating steps at the same global batch, with
//! BatchNorm's statistics over all ranks.
//!
//! The test executable calls itself under mpirun to become the ranks. With `PDARTS_TEST_DEVICE=cuda` they sum over NCCL, all on
//! one GPU if there are no more.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use pdarts::config::{BatchNormMode, CommunicatorChoice, DeviceChoice, SearchConfig, Settings};
use pdarts::genotype::{NetworkKind, Switches};
use pdarts::search::{CostPenalty, ForwardMode, Sampling, SupernetShape};
use pdarts::trainer::{
    BatchNormOverRanks, SearchData, SearchState, StepImages, StepInputs, StepResult, Stepped, TallySums,
    architecture_step, largest_eigenvalue,
};
use pdarts::world::{Ranks, World, leave};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::program::{mpirun, texts};

const TASK: &str = "PDARTS_TEST_EQUIVALENCE";
/// Two epochs.
const MANY_ALTERNATIONS: usize = 20;
/// As many as show whether a step is another one.
const FEW_ALTERNATIONS: usize = 5;
const LEARNING_RATE: f64 = 0.025;

/// Which search, without the number of ranks.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Task {
    double: bool,
    accumulate_steps: usize,
    /// As in a configuration: MiB.
    bucket: String,
    checkpoint_cells: bool,
    imagenet_stem: bool,
    /// The strategy's own.
    settings: Vec<String>,
    /// Of a step of the alphas and one of the weights; whole epochs, or fewer than one.
    alternations: usize,
}

/// What came of it.
#[derive(Clone, Serialize, Deserialize)]
struct Course {
    /// Of the alpha step and the weight step of each alternation, over all images; then the curvature, if it is measured.
    losses: Vec<f64>,
    alphas: Vec<f64>,
    weights: Vec<f64>,
    statistics: Vec<f64>,
    genotype: String,
}

impl Task {
    fn plain() -> Task {
        Task {
            double: true,
            accumulate_steps: 1,
            bucket: "25".into(),
            checkpoint_cells: false,
            imagenet_stem: false,
            settings: Vec::new(),
            alternations: MANY_ALTERNATIONS,
        }
    }

    fn short() -> Task {
        Task { alternations: FEW_ALTERNATIONS, ..Self::plain() }
    }

    /// What one rank does.
    fn take_part(&self, ranks: Ranks) -> Course {
        let common = [
            "data.dataset=photodigits".into(),
            "data.limit=240".into(),
            "model.channels=4".into(),
            "search.global_batch=12".into(),
            format!("search.accumulate_steps={}", self.accumulate_steps),
            format!("parallel.bucket_mib={}", self.bucket),
            format!("parallel.first_bucket_mib={}", self.bucket),
        ];
        let config = SearchConfig::from_overrides(&[&common[..], &self.settings].concat()).unwrap();
        let device = ranks.choose_device(device()).unwrap();
        let world = World::new(ranks, device, 1, CommunicatorChoice::Auto).unwrap();
        let data = SearchData::load(&config, &world).unwrap();
        let kind = if self.double { Kind::Double } else { Kind::Float };
        let switches = Switches::full(&config.search.operations).unwrap();
        let shape = SupernetShape {
            stem: if self.imagenet_stem { NetworkKind::ImageNet } else { NetworkKind::Cifar },
            num_cells: 3,
            channels: 4,
            num_classes: 10,
            partial_channels: config.search.partial_channels,
            switches: switches.clone(),
        };
        // Other values on every rank: rank 0's must win.
        tch::manual_seed(world.rank as i64);
        let strategy = config.search.strategy;
        let mut state = SearchState::new(&shape, 1e-3, &config.optimizer, strategy, device, kind).unwrap();
        state.checkpoint_cells(self.checkpoint_cells);
        state.penalise(CostPenalty::of_config(&config, &switches, (kind, device)).unwrap());
        state.replicate(&world, (&config.parallel).into()).unwrap();
        let _statistics = BatchNormOverRanks::begin(&world, BatchNormMode::Sync);

        let mut architecture = architecture_step(&config.search);
        let mut losses = Vec::new();
        let num_steps = data.weight_loader.num_steps().min(self.alternations);
        let epochs = self.alternations.div_ceil(num_steps) as u64;
        for epoch in 0..epochs {
            let steps = 0..num_steps;
            let mut alpha_batches = data.alpha_loader.batches(epoch, steps.clone()).unwrap();
            let mut weight_batches = data.weight_loader.batches(epoch, steps.clone()).unwrap();
            for _ in steps {
                let mode = ForwardMode::training(0.0);
                let mut alpha_images = StepImages::next_of(&mut alpha_batches, device, kind);
                let mut weight_images = StepImages::next_of(&mut weight_batches, device, kind);
                let inputs = StepInputs {
                    alpha_images: &mut alpha_images,
                    weight_images: &mut weight_images,
                    learning_rate: LEARNING_RATE,
                    mode,
                };
                let stepped = architecture.step(&mut state, inputs).unwrap();
                losses.push(mean_loss(stepped.result(), &world));
                if let Stepped::Alphas(_) = stepped {
                    let sampling = Sampling { perturbation: config.search.perturbation, ..mode.sampling };
                    let mode = ForwardMode { sampling, ..mode };
                    let result = state.weight_step(&mut weight_images, LEARNING_RATE, mode).unwrap();
                    losses.push(mean_loss(&result, &world));
                }
            }
        }
        if config.search.eigenvalue_every_epochs > 0 {
            let mut batches = data.alpha_loader.batches(epochs, 0..1).unwrap();
            let mut images = StepImages::next_of(&mut batches, device, kind);
            losses.push(largest_eigenvalue(&mut state, &mut images, 5, || Ok(None)).unwrap().unwrap());
        }
        let variants = state.strategy().derive(&switches, &state.alphas().unwrap()).unwrap();
        Course {
            losses,
            alphas: values(state.flat_alphas.values()),
            weights: values(state.weights.values()),
            statistics: values(state.statistics.values()),
            genotype: format!("{variants:?}"),
        }
    }

    /// Runs it on `num_ranks` ranks, once for all tests.
    fn run(&self, num_ranks: usize) -> Course {
        type Runs = HashMap<(Task, usize), Arc<OnceLock<Course>>>;
        static RUNS: LazyLock<Mutex<Runs>> = LazyLock::new(Mutex::default);
        // Other runs need not wait for this one.
        let run = Arc::clone(RUNS.lock().unwrap().entry((self.clone(), num_ranks)).or_default());
        run.get_or_init(|| self.launch(num_ranks)).clone()
    }

    fn launch(&self, num_ranks: usize) -> Course {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("course.json");
        let mut command = mpirun();
        // NCCL takes ranks that share a GPU for ranks of different machines.
        let named = "NCCL_HOSTID=rank$OMPI_COMM_WORLD_RANK$PMI_RANK exec \"$@\"";
        command.args(["-n", &num_ranks.to_string(), "sh", "-c", named, "sh"]).arg(env::current_exe().unwrap());
        command.env("PDARTS_RANKS_SHARE_GPUS", "1");
        command.args(["--exact", "equivalence::rank_of_a_course"]);
        command.env(TASK, serde_json::to_string(&(self, &out)).unwrap());
        let output = command.output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{num_ranks} ranks: {stdout}\n{stderr}");
        serde_json::from_slice(&fs::read(out).unwrap()).unwrap()
    }
}

fn device() -> DeviceChoice {
    match env::var("PDARTS_TEST_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => DeviceChoice::Cpu,
        Ok("cuda") => DeviceChoice::Cuda,
        Ok(other) => panic!("PDARTS_TEST_DEVICE={other}: cpu or cuda"),
    }
}

fn mean_loss(result: &StepResult, world: &World) -> f64 {
    let own = TallySums { loss: result.mean_loss().unwrap(), num_images: 1, ..TallySums::default() };
    TallySums::total(&own.gather(world).unwrap()).mean_loss()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(Kind::Double)).unwrap()
}

/// What mpirun starts; on its own, the course of a process without MPI, which is that of one MPI rank.
#[test]
fn rank_of_a_course() {
    match env::var(TASK) {
        Ok(task) => {
            let (task, out): (Task, std::path::PathBuf) = serde_json::from_str(&task).unwrap();
            let ranks = Ranks::join().unwrap();
            let is_root = ranks.is_root();
            let course = task.take_part(ranks);
            if is_root {
                fs::write(Path::new(&out), serde_json::to_vec(&course).unwrap()).unwrap();
            }
            leave();
        }
        Err(_) => {
            let alone = Task::short().take_part(Ranks::join().unwrap());
            let course = Task::short().run(1);
            assert_eq!((alone.losses, alone.weights), (course.losses, course.weights));
        }
    }
}

fn relative_error(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    norm(&mut ours.iter().zip(theirs).map(|(a, b)| a - b)) / norm(&mut theirs.iter().copied())
}

/// `num_ranks` ranks with the settings of `task` do what one rank does with those of `reference`.
fn assert_equivalent(task: &Task, num_ranks: usize, reference: &Task, tolerance: f64) {
    let (ours, theirs) = (task.run(num_ranks), reference.run(1));
    // One loss where alphas and weights are stepped together.
    assert!([1, 2].contains(&(ours.losses.len() / task.alternations)));
    for (what, ours, theirs) in [
        ("losses", &ours.losses, &theirs.losses),
        ("alphas", &ours.alphas, &theirs.alphas),
        ("weights", &ours.weights, &theirs.weights),
        ("statistics", &ours.statistics, &theirs.statistics),
    ] {
        let error = relative_error(ours, theirs);
        println!("{num_ranks} ranks, {what}: relative error {error:.1e}");
        assert!(error <= tolerance, "{num_ranks} ranks, {what}: relative error {error:e}");
    }
    assert_eq!(ours.genotype, theirs.genotype);
}

#[test]
fn two_three_and_four_ranks_take_the_steps_of_one() {
    for num_ranks in [2, 3, 4] {
        assert_equivalent(&Task::plain(), num_ranks, &Task::plain(), 1e-9);
    }
}

#[test]
fn ranks_take_the_steps_of_one_behind_the_stem_of_imagenet() {
    let task = Task { imagenet_stem: true, ..Task::short() };
    assert_equivalent(&task, 2, &task, 1e-9);
}

#[test]
fn ranks_take_the_steps_of_one_with_every_strategy() {
    let one_stage = "search.stages=[{cells=3,keep=1,skip_dropout=0.0}]";
    let strategies = [
        &["search.strategy=darts", "search.order=2", "search.eigenvalue_every_epochs=1"][..],
        &["search.strategy=pc-darts", "search.partial_channels=2", "search.parameters_penalty=0.5"],
        &["search.strategy=snas", "search.temperature=0.5"],
        &["search.strategy=gdas", "search.temperature=0.5"],
        &["search.strategy=darts", "search.perturbation=0.2", "search.multiply_adds_penalty=2"],
    ];
    for own in strategies {
        let settings = own.iter().copied().chain([one_stage]).map(String::from).collect();
        let task = Task { settings, ..Task::short() };
        assert_equivalent(&task, 2, &task, 1e-9);
    }
}

#[test]
fn sizes_of_buckets_make_no_difference() {
    // One parameter a bucket.
    assert_equivalent(&Task { bucket: "0".into(), ..Task::short() }, 3, &Task::short(), 1e-9);
    assert_equivalent(&Task { bucket: "0.01".into(), ..Task::short() }, 2, &Task::short(), 1e-9);
}

#[test]
fn accumulated_steps_are_those_of_one_rank_that_accumulates() {
    let task = Task { accumulate_steps: 2, ..Task::short() };
    for num_ranks in [2, 3] {
        assert_equivalent(&task, num_ranks, &task, 1e-9);
    }
}

#[test]
fn cells_computed_again_in_backward_leave_every_bit_as_it_is() {
    let task = Task { checkpoint_cells: true, bucket: "0.01".into(), ..Task::short() };
    let reference = Task { checkpoint_cells: false, ..task.clone() };
    let (ours, theirs) = (task.run(2), reference.run(2));
    assert_eq!((ours.losses, ours.alphas), (theirs.losses, theirs.alphas));
    assert_eq!((ours.weights, ours.statistics), (theirs.weights, theirs.statistics));
}

/// Rounding in float32 grows from step to step: one rank in float32 and in float64 part just as far.
#[test]
fn single_precision_stays_as_close_as_rounding_allows() {
    let task = Task { double: false, alternations: MANY_ALTERNATIONS / 2, ..Task::plain() };
    let (ours, theirs) = (task.run(2), task.run(1));
    let error = |steps: usize| relative_error(&ours.losses[..steps], &theirs.losses[..steps]);
    let (first, all) = (error(4), error(ours.losses.len()));
    println!("relative error of the losses: {first:.1e} in 2 alternations, {all:.1e} in all");
    assert!(first < 1e-4 && all < 5e-2, "{first:e}, {all:e}");
}
