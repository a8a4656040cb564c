//! How fast this machine takes the planned steps now: some are taken, of the same networks with fewer cells and images.
//!
//! What a machine with other work leaves to the program is different from hour to hour, and for arithmetic, memory and
//! the start of kernels it is different too. So peaks alone predict little there; steps on the program's own kernels, at
//! the sizes of the real layers and on all threads, contain all three in the right mixture.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::kind::Planned;
use crate::cli::error::UsageError;
use crate::config::{DeviceChoice, SearchConfig, TrainConfig};
use crate::genotype::{Genotype, NetworkShape, Switches};
use crate::model::NetworkDescription;
use crate::plan::{Cluster, Course, DataSize, Estimate, Hardware, Kernels, Pace, Phase, Steps, estimate};
use crate::search::{ForwardMode, SupernetShape};
use crate::trainer::{ImageBatch, SearchState, StepSettings, TrainState};
use crate::world::World;

/// Rounds of a step of each kind in each phase that count, after one that does not.
const ROUNDS: usize = 5;

/// What the steps have told.
pub(super) struct Trial {
    /// Of each phase.
    pub paces: Vec<Pace>,
    /// Of all paces, the least and the greatest part of the median that a single step took.
    pub spread: (f64, f64),
    /// How long all took.
    pub seconds: f64,
}

/// A network with a batch of noise.
enum Subject {
    Search { state: Box<SearchState>, batch: ImageBatch, learning_rate: f64, alphas: bool },
    Training { state: Box<TrainState>, batch: ImageBatch, settings: StepSettings },
}

impl Trial {
    /// Takes steps of `planned` and compares them with what is predicted of `hardware`, all cores of this machine.
    pub fn run(planned: &Planned, data: DataSize, hardware: &Hardware) -> anyhow::Result<Self> {
        let start = Instant::now();
        let _world = World::single(DeviceChoice::Cpu, 0)?;
        let small = planned.small();
        let course = small.course(data, 1, Kernels::Cpu).map_err(UsageError::new)?;
        let cluster = Cluster::new(1, 1, 1.0, 1.0).map_err(UsageError::new)?;
        let Estimate { phases: predicted, .. } = estimate(&course, hardware, &cluster);
        let subjects = course.phases.iter().map(|phase| Subject::new(&small, phase, &course, data));
        let mut subjects = subjects.collect::<anyhow::Result<Vec<_>>>()?;
        // In turns, so that what slows the machine for a while slows all phases.
        let mut seconds = vec![[Vec::new(), Vec::new()]; subjects.len()];
        for round in 0..=ROUNDS {
            for (subject, seconds) in subjects.iter_mut().zip(&mut seconds) {
                let taken = subject.steps()?;
                if round > 0 {
                    seconds.iter_mut().zip(taken).for_each(|(all, one)| all.extend(one));
                }
            }
        }
        let mut trial = Self { paces: Vec::new(), spread: (1.0, 1.0), seconds: 0.0 };
        for ([alphas, weights], predicted) in seconds.into_iter().zip(predicted) {
            let of_weights = trial.pace(weights, predicted.weight_step.seconds);
            let of_alphas = predicted.alpha_step.map_or(of_weights, |step| trial.pace(alphas, step.seconds));
            trial.paces.push(Pace { alphas: of_alphas, weights: of_weights });
        }
        trial.seconds = start.elapsed().as_secs_f64();
        Ok(trial)
    }

    /// The median of `seconds` in parts of what was predicted; 1 where there are none.
    fn pace(&mut self, mut seconds: Vec<f64>, predicted: f64) -> f64 {
        seconds.sort_by(f64::total_cmp);
        let Some(&median) = seconds.get(seconds.len() / 2) else { return 1.0 };
        for second in seconds {
            let (least, greatest) = self.spread;
            self.spread = (least.min(second / median), greatest.max(second / median));
        }
        median / predicted
    }
}

impl Subject {
    fn new(planned: &Planned, phase: &Phase, course: &Course, data: DataSize) -> anyhow::Result<Self> {
        let (images, side) = (course.global_batch as i64, phase.image_size as i64);
        let batch = ImageBatch {
            images: Tensor::f_randn([images, 3, side, side], (Kind::Float, Device::Cpu))?,
            labels: Tensor::f_randint(data.classes as i64, [images], (Kind::Int64, Device::Cpu))?,
        };
        match planned {
            Planned::Search(config) => Self::search(config, phase, batch, data.classes),
            Planned::Training { config, cell } => Self::training(config, &cell.genotype, phase, batch, data.classes),
        }
    }

    fn search(config: &SearchConfig, phase: &Phase, batch: ImageBatch, num_classes: usize) -> anyhow::Result<Self> {
        let (search, optimizer) = (&config.search, &config.optimizer);
        let shape = SupernetShape {
            stem: config.network_kind(),
            num_cells: phase.cells,
            channels: config.model.channels,
            num_classes,
            partial_channels: search.partial_channels,
            switches: Switches::full(&phase.operations).map_err(UsageError::new)?,
        };
        let (scale, device) = (search.alpha_init_scale, Device::Cpu);
        let mut state = SearchState::new(&shape, scale, optimizer, search.strategy, device, Kind::Float)?;
        state.checkpoint_cells(config.model.checkpoint_cells);
        let alphas = matches!(phase.steps, Steps::Search { .. });
        Ok(Self::Search { state: Box::new(state), batch, learning_rate: optimizer.weights.learning_rate, alphas })
    }

    fn training(
        config: &TrainConfig,
        genotype: &Genotype,
        phase: &Phase,
        batch: ImageBatch,
        num_classes: usize,
    ) -> anyhow::Result<Self> {
        let shape = NetworkShape {
            kind: config.network_kind(),
            channels: config.model.channels as u64,
            cells: phase.cells,
            num_classes: num_classes as u64,
            image_size: phase.image_size,
        };
        let auxiliary_head = config.model.auxiliary_head;
        let description = NetworkDescription { genotype: genotype.clone(), shape, auxiliary_head };
        let state = TrainState::new(description, config, Device::Cpu, None)?;
        let (learning_rate, drop_path) = (config.optimizer.learning_rate, config.train.drop_path);
        let settings = StepSettings { learning_rate, drop_path, mixing: None };
        Ok(Self::Training { state: Box::new(state), batch, settings })
    }

    /// Takes a step of the alphas, if there are any, and one of the weights: how long each took.
    fn steps(&mut self) -> anyhow::Result<[Option<f64>; 2]> {
        let start = Instant::now();
        match self {
            Self::Search { state, batch, learning_rate, alphas } => {
                let mode = ForwardMode::training(0.0);
                let mut of_alphas = None;
                if *alphas {
                    state.alpha_step(&mut (&*batch).into(), mode)?.mean_loss()?;
                    of_alphas = Some(start.elapsed().as_secs_f64());
                }
                state.weight_step(&mut (&*batch).into(), *learning_rate, mode)?.mean_loss()?;
                Ok([of_alphas, Some(start.elapsed().as_secs_f64() - of_alphas.unwrap_or_default())])
            }
            Self::Training { state, batch, settings } => {
                state.weight_step(&mut (&*batch).into(), settings)?.mean_loss()?;
                Ok([None, Some(start.elapsed().as_secs_f64())])
            }
        }
    }
}
