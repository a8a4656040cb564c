//! SNAS: samples from given noise, and what flows back through them.

use pdarts::search::concrete_sample;
use serde::Deserialize;
use tch::Kind;

use crate::samples::{assert_close, tensor};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    tau: f64,
    alphas: Vec<Vec<f64>>,
    uniform: Vec<Vec<f64>>,
    upstream: Vec<Vec<f64>>,
    weights: Vec<Vec<f64>>,
    grad_alphas: Vec<Vec<f64>>,
}

#[test]
fn parity_snas_samples_and_differentiates_as_the_authors_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/snas.json");
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(fixture.cases.len(), 20);
    for case in fixture.cases {
        let alphas = tensor(&case.alphas).set_requires_grad(true);
        let weights = concrete_sample(&alphas, &tensor(&case.uniform), case.tau).unwrap();
        assert_close("weights", case.tau, &weights, &tensor(&case.weights));
        (weights * tensor(&case.upstream)).sum(Kind::Double).backward();
        assert_close("gradient", case.tau, &alphas.grad(), &tensor(&case.grad_alphas));
    }
}
