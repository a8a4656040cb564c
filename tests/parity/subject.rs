//! A search's state in double precision with a fixture's initial values.

use std::collections::HashMap;

use pdarts::config::{AlphaOptimizerSection, SearchOptimizerSection, StrategyName, WeightOptimizerSection};
use pdarts::genotype::{CellSwitches, NetworkKind, Switches};
use pdarts::optim::FlatParameters;
use pdarts::search::{AuthorsTensor, ForwardMode, SupernetShape};
use pdarts::trainer::{ImageBatch, SearchState};
use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use crate::fixture::{Fixture, WeightOptimizer, fingerprint};
use crate::tensors::device;

/// Beyond any gradient: the authors do not clip.
const UNCLIPPED: f64 = 1e9;

#[derive(Deserialize)]
pub struct SupernetCase {
    layers: usize,
    init_channels: usize,
    num_classes: usize,
    #[serde(default = "all_channels")]
    partial_channels: usize,
    switches_normal: Vec<[bool; 8]>,
    switches_reduce: Vec<[bool; 8]>,
    pub steps: usize,
    pub weight_opt: WeightOptimizer,
    arch_opt: ArchitectureOptimizer,
}

#[derive(Deserialize)]
struct ArchitectureOptimizer {
    lr: f64,
    betas: [f64; 2],
    weight_decay: f64,
    grad_clip: Option<f64>,
}

impl SupernetCase {
    fn optimizer(&self) -> SearchOptimizerSection {
        let (weights, alphas) = (&self.weight_opt, &self.arch_opt);
        SearchOptimizerSection {
            weights: WeightOptimizerSection {
                learning_rate: weights.lr,
                learning_rate_min: 0.0,
                momentum: weights.momentum,
                weight_decay: weights.weight_decay,
                gradient_clip: weights.grad_clip,
            },
            alphas: AlphaOptimizerSection {
                learning_rate: alphas.lr,
                beta1: alphas.betas[0],
                beta2: alphas.betas[1],
                weight_decay: alphas.weight_decay,
                gradient_clip: alphas.grad_clip.unwrap_or(UNCLIPPED),
            },
        }
    }
}

fn all_channels() -> usize {
    1
}

pub struct Subject<'a> {
    pub fixture: &'a Fixture,
    pub state: SearchState,
}

impl<'a> Subject<'a> {
    pub fn new(fixture: &'a Fixture, case: &SupernetCase, strategy: StrategyName) -> Self {
        let shape = SupernetShape {
            stem: NetworkKind::Cifar,
            num_cells: case.layers,
            channels: case.init_channels,
            num_classes: case.num_classes,
            partial_channels: case.partial_channels,
            switches: Switches {
                normal: CellSwitches::from_mask(&case.switches_normal).unwrap(),
                reduction: CellSwitches::from_mask(&case.switches_reduce).unwrap(),
            },
        };
        let state = SearchState::new(&shape, 1e-3, &case.optimizer(), strategy, device(), Kind::Double).unwrap();
        let subject = Self { fixture, state };
        subject.load_initial_values();
        subject
    }

    /// Sets every tensor of the fixture, which has no others than ours.
    pub fn load_initial_values(&self) {
        let (authors, parameters) = (self.authors_tensors(), self.state.strategy().parameters());
        let ours =
            authors.iter().map(|(name, _)| name.clone()).chain(parameters.iter().map(|named| named.name.clone()));
        let mut names: Vec<String> = ours.collect();
        names.sort();
        assert_eq!(names, self.fixture.names("init."), "{}", self.fixture.path.display());
        let initial = |name: &str| self.fixture.tensor(&format!("init.{name}"));
        no_grad(|| {
            for (name, tensor) in &authors {
                let mut view = tensor.view();
                view.copy_(&initial(name).view_as(&view));
            }
            for named in &parameters {
                named.tensor.shallow_clone().copy_(initial(&named.name));
            }
        });
    }

    /// Our tensors by the names of the fixture: P-DARTS's code renamed the operations of DARTS's.
    pub fn authors_tensors(&self) -> Vec<(String, AuthorsTensor)> {
        let is_darts = self.fixture.case["kind"] != "supernet";
        let name = |name: &str| match is_darts {
            true => name.replace("cell_ops", "_ops").replace("m_ops", "_ops"),
            false => name.to_owned(),
        };
        self.state.network().authors_tensors().into_iter().map(|tensor| (name(&tensor.name), tensor)).collect()
    }

    pub fn batch(&self, index: usize) -> ImageBatch {
        let (images, labels) = self.fixture.batch(index);
        ImageBatch { images, labels }
    }

    pub fn logits(&self, index: usize, mode: ForwardMode) -> Tensor {
        self.state.forward(&self.batch(index), mode).unwrap().logits
    }

    /// Loss of a training pass on batch `index` after backward.
    pub fn backward(&mut self, index: usize) -> f64 {
        self.state.weights.set_trained(true);
        self.state.flat_alphas.set_trained(true);
        self.state.weights.zero_gradients().unwrap();
        self.state.flat_alphas.zero_gradients().unwrap();
        let loss = self.state.forward(&self.batch(index), ForwardMode::training(0.0)).unwrap().loss;
        loss.backward();
        self.state.weights.accumulate_gradients().unwrap();
        self.state.flat_alphas.accumulate_gradients().unwrap();
        loss.double_value(&[])
    }

    /// The gradients of all parameters, by where their values lie.
    pub fn gradients(&self) -> HashMap<usize, Tensor> {
        let of = |group: &FlatParameters| {
            let places = group.tensors().into_iter().map(|parameter| parameter.data_ptr() as usize);
            places.zip(group.split(group.gradients())).collect::<Vec<_>>()
        };
        of(&self.state.weights).into_iter().chain(of(&self.state.flat_alphas)).collect()
    }

    /// Compares the network's outputs and gradients at the initial values; `gradient` is before the names of the
    /// architecture parameters' gradients.
    pub fn check_passes(&mut self, gradient: &str) {
        let logits = no_grad(|| self.logits(0, ForwardMode::evaluation()));
        self.fixture.close("evaluation logits", &logits, "eval_logits");
        let logits = self.logits(0, ForwardMode::training(0.0));
        self.fixture.close("training logits", &logits, "train_logits");
        self.load_initial_values();
        let loss = self.backward(0);
        self.fixture.close_list("train_loss", &[loss]);
        let gradients = self.gradients();
        let gradient_of = |parameter: &Tensor| &gradients[&(parameter.data_ptr() as usize)];
        self.check_parameters(gradient, |parameter| gradient_of(parameter).shallow_clone());
        self.check_fingerprints("grad_fp.", |tensor| tensor.select(gradient_of(&tensor.ours)));
    }

    /// Takes the case's alternations of first-order steps and compares all that comes of them.
    pub fn alternate(&mut self, case: &SupernetCase) {
        let mode = ForwardMode::training(0.0);
        let (mut arch_losses, mut weight_losses) = (Vec::new(), Vec::new());
        for step in 0..case.steps {
            let [alpha_batch, weight_batch] = [2 * step, 2 * step + 1].map(|index| self.batch(index));
            let result = self.state.alpha_step(&mut (&alpha_batch).into(), mode).unwrap();
            arch_losses.push(result.mean_loss().unwrap());
            let result = self.state.weight_step(&mut (&weight_batch).into(), case.weight_opt.lr, mode).unwrap();
            weight_losses.push(result.mean_loss().unwrap());
        }
        self.check_course(&arch_losses, &weight_losses);
    }

    /// Compares losses and state after all alternations.
    pub fn check_course(&self, arch_losses: &[f64], weight_losses: &[f64]) {
        self.fixture.close_list("arch_losses", arch_losses);
        self.fixture.close_list("weight_losses", weight_losses);
        self.check_parameters("final.", Tensor::shallow_clone);
        self.check_fingerprints("final_fp.", AuthorsTensor::view);
    }

    /// Compares the architecture parameters, or what `of` makes of them, with the tensors under `prefix`.
    pub fn check_parameters(&self, prefix: &str, of: impl Fn(&Tensor) -> Tensor) {
        for named in self.state.strategy().parameters() {
            let name = format!("{prefix}{}", named.name);
            self.fixture.close(&name, &of(&named.tensor), &name);
        }
    }

    /// Compares the fingerprints of all the authors' tensors that the fixture has under `prefix`.
    pub fn check_fingerprints(&self, prefix: &str, view: impl Fn(&AuthorsTensor) -> Tensor) {
        let expected = self.fixture.names(prefix);
        let authors = self.authors_tensors();
        for name in expected.iter().filter(|name| !name.starts_with("alphas") && !name.starts_with("betas")) {
            let found = authors.iter().find(|(ours, _)| ours == name);
            let (_, tensor) = found.unwrap_or_else(|| panic!("no tensor {name}"));
            let name = format!("{prefix}{name}");
            self.fixture.close(&name, &fingerprint(&view(tensor)), &name);
        }
        assert!(expected.len() > 100, "{}: {} fingerprints", self.fixture.path.display(), expected.len());
    }
}
