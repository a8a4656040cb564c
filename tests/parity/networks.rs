//! The evaluation networks: evaluation, gradients with the auxiliary head, steps.

use std::collections::HashMap;

use pdarts::genotype::{Genotype, NetworkKind, NetworkShape, count};
use pdarts::model::{EvaluationNetwork, NamedTensor, NetworkMode};
use pdarts::optim::{FlatParameters, FlatStatistics, Optimizer, ParameterGroups, Sgd, SgdOptions, clip_gradient_norm};
use serde::Deserialize;
use tch::{Kind, Reduction, Tensor, no_grad};

use crate::fixture::{Fixture, WeightOptimizer, fingerprint, fixtures};
use crate::tensors::device;

const TRAINING: NetworkMode = NetworkMode::Training { drop_path: 0.0 };

#[derive(Deserialize)]
struct NetworkCase {
    layers: usize,
    init_channels: u64,
    num_classes: u64,
    genotype: Genotype,
    steps: usize,
    auxiliary_weight: f64,
    label_smoothing: f64,
    weight_opt: WeightOptimizer,
    params_without_aux: u64,
}

/// The network of a case in double precision with the case's initial values, flattened as in training.
struct Subject<'a> {
    fixture: &'a Fixture,
    case: NetworkCase,
    network: EvaluationNetwork,
    weights: FlatParameters,
    _statistics: FlatStatistics,
}

impl<'a> Subject<'a> {
    fn new(fixture: &'a Fixture, kind: NetworkKind) -> Self {
        let case: NetworkCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let image_size = fixture.tensor("inputs").size()[4] as u64;
        let NetworkCase { layers: cells, init_channels: channels, num_classes, .. } = case;
        let shape = NetworkShape { kind, channels, cells, num_classes, image_size };
        assert_eq!(count(&case.genotype, &shape).parameters, case.params_without_aux);
        let network = EvaluationNetwork::new(&case.genotype, &shape, true, device(), Kind::Double).unwrap();
        let weights = FlatParameters::flatten(network.parameters().trainable()).unwrap();
        let statistics = FlatStatistics::flatten(network.parameters().statistics()).unwrap();
        let subject = Self { fixture, case, network, weights, _statistics: statistics };
        subject.load_initial_values();
        subject
    }

    fn tensors(&self) -> impl Iterator<Item = &NamedTensor> {
        self.network.parameters().trainable().iter().chain(self.network.parameters().statistics())
    }

    fn load_initial_values(&self) {
        let mut names: Vec<String> = self.tensors().map(|named| named.name.clone()).collect();
        names.sort();
        assert_eq!(names, self.fixture.names("init."), "{}", self.fixture.path.display());
        no_grad(|| {
            for NamedTensor { name, tensor } in self.tensors() {
                let value = self.fixture.tensor(&format!("init.{name}"));
                assert_eq!(tensor.size(), value.size(), "{name}");
                tensor.shallow_clone().copy_(value);
            }
        });
    }

    fn cross_entropy(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        logits.cross_entropy_loss(targets, None::<&Tensor>, Reduction::Mean, -100, self.case.label_smoothing)
    }

    /// Loss of a training step on batch `index` after backward.
    fn backward(&mut self, index: usize) -> f64 {
        self.weights.zero_gradients().unwrap();
        let (images, targets) = self.fixture.batch(index);
        let output = self.network.forward(&images, TRAINING).unwrap();
        let auxiliary = self.cross_entropy(&output.auxiliary_logits.unwrap(), &targets);
        let loss = self.cross_entropy(&output.logits, &targets) + auxiliary * self.case.auxiliary_weight;
        loss.backward();
        self.weights.accumulate_gradients().unwrap();
        loss.double_value(&[])
    }

    fn values(&self) -> HashMap<&str, Tensor> {
        self.tensors().map(|named| (named.name.as_str(), named.tensor.detach())).collect()
    }

    fn gradients(&self) -> HashMap<&str, Tensor> {
        let names = self.weights.named_shapes().map(|(name, _)| name);
        names.zip(self.weights.split(self.weights.gradients())).collect()
    }

    /// Compares the fingerprints of all tensors that the fixture has under `prefix` with those of `found`.
    fn check_fingerprints(&self, prefix: &str, found: &HashMap<&str, Tensor>) {
        let expected = self.fixture.names(prefix);
        for name in &expected {
            let tensor = found.get(name.as_str()).unwrap_or_else(|| panic!("no tensor {name}"));
            let name = format!("{prefix}{name}");
            self.fixture.close(&name, &fingerprint(tensor), &name);
        }
        assert!(expected.len() > 100, "{}: {} fingerprints", self.fixture.path.display(), expected.len());
    }
}

fn check_evaluation_and_gradients(kind: NetworkKind, name: &str) {
    for fixture in fixtures(name) {
        let mut subject = Subject::new(&fixture, kind);
        let (images, _) = fixture.batch(0);
        let output = no_grad(|| subject.network.forward(&images, NetworkMode::Evaluation).unwrap());
        fixture.close("evaluation logits", &output.logits, "eval_logits");
        assert!(output.auxiliary_logits.is_none());

        let (images, _) = fixture.batch(1);
        let output = no_grad(|| subject.network.forward(&images, TRAINING).unwrap());
        fixture.close("training logits", &output.logits, "train_logits");
        fixture.close("auxiliary logits", &output.auxiliary_logits.unwrap(), "train_aux_logits");

        subject.load_initial_values();
        subject.backward(1);
        subject.check_fingerprints("grad_fp.", &subject.gradients());
    }
}

fn check_training(kind: NetworkKind, name: &str) {
    for fixture in fixtures(name) {
        let mut subject = Subject::new(&fixture, kind);
        let WeightOptimizer { lr, momentum, weight_decay, grad_clip } = subject.case.weight_opt;
        let groups = ParameterGroups::uniform(&subject.weights, weight_decay);
        let mut sgd = Sgd::new(&subject.weights, &groups, SgdOptions { momentum, nesterov: false }).unwrap();
        let mut losses = Vec::new();
        for step in 0..subject.case.steps {
            losses.push(subject.backward(step + 1));
            let _ = clip_gradient_norm(subject.weights.gradients(), grad_clip).unwrap();
            sgd.step(&subject.weights, lr).unwrap();
        }
        fixture.close_list("losses", &losses);
        subject.check_fingerprints("final_fp.", &subject.values());
    }
}

#[test]
fn parity_cifar_network_evaluates_and_differentiates_as_the_authors_network() {
    check_evaluation_and_gradients(NetworkKind::Cifar, "cifar");
}

#[test]
fn parity_cifar_network_trains_as_the_authors_network() {
    check_training(NetworkKind::Cifar, "cifar");
}

#[test]
fn parity_imagenet_network_evaluates_and_differentiates_as_the_authors_network() {
    check_evaluation_and_gradients(NetworkKind::ImageNet, "imagenet");
}

#[test]
fn parity_imagenet_network_trains_as_the_authors_network() {
    check_training(NetworkKind::ImageNet, "imagenet");
}
