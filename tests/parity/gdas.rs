//! GDAS: samples from given noise, and what flows back through them.

use std::env;
use std::fs;
use std::path::PathBuf;

use pdarts::search::hard_sample;
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::samples::{assert_close, tensor};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    tau: f64,
    alphas: Vec<Vec<f64>>,
    exponential: Vec<Vec<f64>>,
    upstream: Vec<Vec<f64>>,
    index: Vec<i64>,
    hardwts: Vec<Vec<f64>>,
    grad_alphas: Vec<Vec<f64>>,
    grad_alphas_selected: Vec<Vec<f64>>,
}

/// The gradient of the alphas from `upstream`, that of the sampled weights.
fn gradient(case: &Case, upstream: &Tensor) -> Tensor {
    let alphas = tensor(&case.alphas).set_requires_grad(true);
    let weights = hard_sample(&alphas, &tensor(&case.exponential), case.tau).unwrap();
    (weights * upstream).sum(Kind::Double).backward();
    alphas.grad()
}

/// Of the repository, and further ones where `PDARTS_PARITY_DIR` has any.
fn files() -> Vec<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gdas.json");
    let further = env::var_os("PDARTS_PARITY_DIR").into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("gdas") && name.ends_with(".json")
    };
    [own.into()].into_iter().chain(further.map(|entry| entry.unwrap().path()).filter(is_ours)).collect()
}

#[test]
fn parity_gdas_samples_and_differentiates_as_the_authors_code() {
    for path in files() {
        let fixture: Fixture = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert!(!fixture.cases.is_empty());
        for case in &fixture.cases {
            let weights = hard_sample(&tensor(&case.alphas), &tensor(&case.exponential), case.tau).unwrap();
            assert_close("weights", case.tau, &weights, &tensor(&case.hardwts));
            assert_eq!(Vec::<i64>::try_from(weights.argmax(-1, false)).unwrap(), case.index);
            let upstream = tensor(&case.upstream);
            assert_close("gradient", case.tau, &gradient(case, &upstream), &tensor(&case.grad_alphas));
            // Only the sampled operations run: nothing comes from above to the others.
            let selected = gradient(case, &(upstream * tensor(&case.hardwts).round()));
            assert_close("gradient of sampled ones", case.tau, &selected, &tensor(&case.grad_alphas_selected));
        }
    }
}
