//! The supernet: evaluation, gradients and alternations of steps.

use pdarts::genotype::{CellSwitches, NetworkKind, Switches};
use pdarts::model::cross_entropy;
use pdarts::optim::{
    Adam, AdamDecay, FlatParameters, FlatStatistics, MomentOptions, Optimizer, ParameterGroups, Sgd, SgdOptions,
    clip_gradient_norm,
};
use pdarts::search::{ArchitectureParameters, ForwardMode, Relaxation, Softmax, Supernet, SupernetShape};
use serde::Deserialize;
use tch::{Device, Kind, Tensor, no_grad};

use crate::fixture::{Fixture, WeightOptimizer, fingerprint, fixtures};

#[derive(Deserialize)]
struct SupernetCase {
    layers: usize,
    init_channels: usize,
    num_classes: usize,
    switches_normal: Vec<[bool; 8]>,
    switches_reduce: Vec<[bool; 8]>,
    steps: usize,
    weight_opt: WeightOptimizer,
    arch_opt: ArchitectureOptimizer,
}

#[derive(Deserialize)]
struct ArchitectureOptimizer {
    lr: f64,
    betas: [f64; 2],
    weight_decay: f64,
    grad_clip: f64,
}

/// The supernet of a case in double precision with the case's initial values, flattened as in a search.
struct Subject<'a> {
    fixture: &'a Fixture,
    network: Supernet,
    alphas: ArchitectureParameters,
    weights: FlatParameters,
    flat_alphas: FlatParameters,
    _statistics: FlatStatistics,
}

impl<'a> Subject<'a> {
    fn new(fixture: &'a Fixture, case: &SupernetCase) -> Self {
        let shape = SupernetShape {
            stem: NetworkKind::Cifar,
            num_cells: case.layers,
            channels: case.init_channels,
            num_classes: case.num_classes,
            switches: Switches {
                normal: CellSwitches::from_mask(&case.switches_normal).unwrap(),
                reduction: CellSwitches::from_mask(&case.switches_reduce).unwrap(),
            },
        };
        let num_live = case.switches_normal[0].iter().filter(|on| **on).count();
        let network = Supernet::new(&shape, Device::Cpu, Kind::Double).unwrap();
        let alphas = ArchitectureParameters::random(num_live, 1e-3, Device::Cpu, Kind::Double).unwrap();
        let weights = FlatParameters::flatten(network.parameters().trainable()).unwrap();
        let statistics = FlatStatistics::flatten(network.parameters().statistics()).unwrap();
        let flat_alphas = FlatParameters::flatten(&alphas.named()).unwrap();
        let subject = Self { fixture, network, alphas, weights, flat_alphas, _statistics: statistics };
        subject.load_initial_values();
        subject
    }

    fn load_initial_values(&self) {
        let authors = self.network.authors_tensors();
        let mut names: Vec<String> = authors.iter().map(|tensor| tensor.name.clone()).collect();
        names.extend(["alphas_normal".into(), "alphas_reduce".into()]);
        names.sort();
        assert_eq!(names, self.fixture.names("init."), "{}", self.fixture.path.display());
        no_grad(|| {
            for tensor in &authors {
                let mut view = tensor.view();
                view.copy_(&self.fixture.tensor(&format!("init.{}", tensor.name)).view_as(&view));
            }
            for named in self.alphas.named() {
                named.tensor.shallow_clone().copy_(self.fixture.tensor(&format!("init.{}", named.name)));
            }
        });
    }

    fn logits(&self, images: &Tensor, mode: ForwardMode) -> Tensor {
        let (normal, reduction) =
            (Softmax.weights(&self.alphas.normal).unwrap(), Softmax.weights(&self.alphas.reduction).unwrap());
        self.network.forward(images, &normal, &reduction, mode).unwrap()
    }

    /// Loss of a training step on batch `index` after backward; only `trained` gets gradients.
    fn backward(&mut self, index: usize, train_weights: bool, train_alphas: bool) -> f64 {
        self.weights.set_trained(train_weights);
        self.flat_alphas.set_trained(train_alphas);
        self.weights.zero_gradients().unwrap();
        self.flat_alphas.zero_gradients().unwrap();
        let (images, targets) = self.fixture.batch(index);
        let loss = cross_entropy(&self.logits(&images, ForwardMode::training(0.0)), &targets, 0.0).unwrap();
        loss.backward();
        loss.double_value(&[])
    }
}

#[test]
fn parity_supernet_evaluates_and_differentiates_as_the_authors_network() {
    for fixture in fixtures("supernet") {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = Subject::new(&fixture, &case);
        let (images, targets) = fixture.batch(0);
        let logits = no_grad(|| subject.logits(&images, ForwardMode::evaluation()));
        fixture.close("evaluation logits", &logits, "eval_logits");

        let logits = subject.logits(&images, ForwardMode::training(0.0));
        fixture.close("training logits", &logits, "train_logits");
        fixture.close_list("train_loss", &[cross_entropy(&logits, &targets, 0.0).unwrap().double_value(&[])]);

        subject.load_initial_values();
        subject.backward(0, true, true);
        for named in subject.alphas.named() {
            fixture.close(&named.name, &named.tensor.grad(), &format!("grad.{}", named.name));
        }
        check_fingerprints(&subject, "grad_fp.", |tensor| tensor.grad_view());
    }
}

#[test]
fn parity_supernet_trains_as_the_authors_network() {
    for fixture in fixtures("supernet") {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = Subject::new(&fixture, &case);
        let SupernetCase { weight_opt, arch_opt, .. } = &case;
        let options = SgdOptions { momentum: weight_opt.momentum, nesterov: false };
        let groups = ParameterGroups::uniform(&subject.weights, weight_opt.weight_decay);
        let mut sgd = Sgd::new(&subject.weights, &groups, options);
        let [beta1, beta2] = arch_opt.betas;
        let options = MomentOptions { beta1, beta2, epsilon: 1e-8 };
        let groups = ParameterGroups::uniform(&subject.flat_alphas, arch_opt.weight_decay);
        let mut adam = Adam::new(&subject.flat_alphas, &groups, options, AdamDecay::Gradient);
        let (mut arch_losses, mut weight_losses) = (Vec::new(), Vec::new());
        for step in 0..case.steps {
            arch_losses.push(subject.backward(2 * step, false, true));
            let _ = clip_gradient_norm(subject.flat_alphas.gradients(), arch_opt.grad_clip).unwrap();
            adam.step(&subject.flat_alphas, arch_opt.lr).unwrap();
            weight_losses.push(subject.backward(2 * step + 1, true, false));
            let _ = clip_gradient_norm(subject.weights.gradients(), weight_opt.grad_clip).unwrap();
            sgd.step(&subject.weights, weight_opt.lr).unwrap();
        }
        fixture.close_list("arch_losses", &arch_losses);
        fixture.close_list("weight_losses", &weight_losses);
        for named in subject.alphas.named() {
            fixture.close(&named.name, &named.tensor, &format!("final.{}", named.name));
        }
        check_fingerprints(&subject, "final_fp.", |tensor| tensor.view());
    }
}

/// Compares the fingerprints of all the authors' tensors that the fixture has under `prefix`.
fn check_fingerprints(subject: &Subject, prefix: &str, view: impl Fn(&pdarts::search::AuthorsTensor) -> Tensor) {
    let expected = subject.fixture.names(prefix);
    let authors = subject.network.authors_tensors();
    for name in expected.iter().filter(|name| !name.starts_with("alphas")) {
        let tensor = authors.iter().find(|tensor| tensor.name == *name).unwrap_or_else(|| panic!("no tensor {name}"));
        let name = format!("{prefix}{name}");
        subject.fixture.close(&name, &fingerprint(&view(tensor)), &name);
    }
    assert!(expected.len() > 100, "{}: {} fingerprints", subject.fixture.path.display(), expected.len());
}
