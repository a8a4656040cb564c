//! Every optimizer against five steps of a reference in double precision; `tests/fixtures/optimizers/make.py` says whose.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tch::{Kind, Tensor, no_grad};

use super::{
    Adam, AdamDecay, FlatParameters, Lamb, Lars, LarsOptions, MomentOptions, Optimizer, ParameterGroups, Sgd,
    SgdOptions,
};
use crate::model::NamedTensor;

/// Of each tensor's largest value.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Case {
    kind: String,
    spares_norms_and_biases: bool,
    options: Options,
}

#[derive(Deserialize)]
struct Options {
    weight_decay: f64,
    #[serde(default)]
    momentum: f64,
    #[serde(default)]
    nesterov: bool,
    #[serde(default)]
    trust_coefficient: f64,
    #[serde(default)]
    beta1: f64,
    #[serde(default)]
    beta2: f64,
    #[serde(default)]
    epsilon: f64,
}

struct Fixture {
    cases: BTreeMap<String, Case>,
    learning_rates: Vec<f64>,
    names: Vec<String>,
    tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/optimizers/steps.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let entries = metadata.metadata().as_ref().unwrap();
        Self {
            cases: serde_json::from_str(&entries["cases"]).unwrap(),
            learning_rates: serde_json::from_str(&entries["learning_rates"]).unwrap(),
            names: serde_json::from_str(&entries["names"]).unwrap(),
            tensors: Tensor::read_safetensors(path).unwrap().into_iter().collect(),
        }
    }

    fn parameters(&self, kind: Kind) -> FlatParameters {
        let named = |name: &String| NamedTensor {
            name: name.clone(),
            tensor: self.tensors[&format!("initial.{name}")].to_kind(kind).copy().set_requires_grad(true),
        };
        FlatParameters::flatten(&self.names.iter().map(named).collect::<Vec<_>>()).unwrap()
    }

    fn step(&self, index: usize, optimizer: &mut dyn Optimizer, parameters: &FlatParameters) {
        for (name, mut view) in self.names.iter().zip(parameters.split(parameters.gradients())) {
            no_grad(|| view.copy_(&self.tensors[&format!("gradients.{index}.{name}")]));
        }
        optimizer.step(parameters, self.learning_rates[index]).unwrap();
    }
}

impl Case {
    fn optimizer(&self, parameters: &FlatParameters) -> Box<dyn Optimizer> {
        let Options { weight_decay, momentum, nesterov, trust_coefficient, beta1, beta2, epsilon } = self.options;
        let groups = match self.spares_norms_and_biases {
            true => ParameterGroups::sparing_norms_and_biases(parameters, weight_decay),
            false => ParameterGroups::uniform(parameters, weight_decay),
        };
        let moments = MomentOptions { beta1, beta2, epsilon };
        match self.kind.as_str() {
            "sgd" => Box::new(Sgd::new(parameters, &groups, SgdOptions { momentum, nesterov }).unwrap()),
            "lars" => {
                let options = LarsOptions { momentum, nesterov, trust_coefficient, epsilon };
                Box::new(Lars::new(parameters, &groups, options).unwrap())
            }
            "lamb" => Box::new(Lamb::new(parameters, &groups, moments).unwrap()),
            "adam" => Box::new(Adam::new(parameters, &groups, moments, AdamDecay::Gradient).unwrap()),
            "adamw" => Box::new(Adam::new(parameters, &groups, moments, AdamDecay::Values).unwrap()),
            other => panic!("no optimizer {other}"),
        }
    }
}

#[test]
fn every_step_is_that_of_the_reference() {
    let fixture = Fixture::read();
    assert_eq!(fixture.cases.len(), 14);
    for (case_name, case) in &fixture.cases {
        let parameters = fixture.parameters(Kind::Double);
        let mut optimizer = case.optimizer(&parameters);
        for index in 0..fixture.learning_rates.len() {
            fixture.step(index, optimizer.as_mut(), &parameters);
            for (name, found) in fixture.names.iter().zip(parameters.tensors()) {
                let expected = &fixture.tensors[&format!("{case_name}.{index}.{name}")];
                let size = expected.abs().max().double_value(&[]);
                let error = (found.detach() - expected).abs().max().double_value(&[]);
                assert!(
                    error <= TOLERANCE * size,
                    "{case_name}, step {index}, {name}: off by {error}, values of {size}"
                );
            }
        }
    }
}

#[test]
fn steps_in_single_precision_stay_near_the_reference() {
    let fixture = Fixture::read();
    for (case_name, case) in &fixture.cases {
        let parameters = fixture.parameters(Kind::Float);
        let mut optimizer = case.optimizer(&parameters);
        let last = fixture.learning_rates.len() - 1;
        (0..=last).for_each(|index| fixture.step(index, optimizer.as_mut(), &parameters));
        for (name, found) in fixture.names.iter().zip(parameters.tensors()) {
            let expected = &fixture.tensors[&format!("{case_name}.{last}.{name}")];
            let size = expected.abs().max().double_value(&[]);
            let error = (found.detach().to_kind(Kind::Double) - expected).abs().max().double_value(&[]);
            assert!(error <= 1e-5 * size, "{case_name}, {name}: off by {error}, values of {size}");
        }
    }
}

#[test]
fn restored_state_goes_on_bit_for_bit() {
    let fixture = Fixture::read();
    for (case_name, case) in &fixture.cases {
        let parameters = fixture.parameters(Kind::Float);
        let mut optimizer = case.optimizer(&parameters);
        (0..3).for_each(|index| fixture.step(index, optimizer.as_mut(), &parameters));

        let resumed_parameters = fixture.parameters(Kind::Float);
        let mut resumed = case.optimizer(&resumed_parameters);
        no_grad(|| resumed_parameters.values().shallow_clone().copy_(parameters.values()));
        for ((name, target), (saved_name, saved)) in resumed.state().into_iter().zip(optimizer.state()) {
            assert_eq!(name, saved_name);
            assert!(saved.abs().max().double_value(&[]) > 0.0, "{case_name}: {name} is not used");
            no_grad(|| target.shallow_clone().copy_(saved));
        }
        for (name, value) in optimizer.counters() {
            resumed.set_counter(name, value);
        }
        for index in 3..5 {
            fixture.step(index, optimizer.as_mut(), &parameters);
            fixture.step(index, resumed.as_mut(), &resumed_parameters);
        }
        assert_eq!(parameters.values(), resumed_parameters.values(), "{case_name}");
        assert_eq!(optimizer.counters(), resumed.counters());
    }
}

#[test]
fn gaps_between_tensors_stay_zero() {
    let fixture = Fixture::read();
    for (case_name, case) in &fixture.cases {
        let parameters = fixture.parameters(Kind::Float);
        let mut optimizer = case.optimizer(&parameters);
        (0..5).for_each(|index| fixture.step(index, optimizer.as_mut(), &parameters));
        let of_tensors: f64 =
            parameters.tensors().iter().map(|tensor| tensor.detach().abs().sum(Kind::Double).double_value(&[])).sum();
        let of_buffer = parameters.values().detach().abs().sum(Kind::Double).double_value(&[]);
        assert!((of_buffer - of_tensors).abs() <= 1e-12 * of_tensors, "{case_name}");
    }
}
