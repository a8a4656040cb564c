//! PC-DARTS: the network with partial channels and weights of the edges, its training, and the cells it derives.

use pdarts::config::StrategyName;
use pdarts::genotype::{Alphas, Betas, CellAlphas, CellKind, Genotype, Operation, Switches, derive};
use pdarts::search::ForwardMode;
use serde::Deserialize;
use tch::no_grad;

use crate::fixture::fixtures;
use crate::subject::{Subject, SupernetCase};

const KIND: &str = "pc_darts";

#[test]
fn parity_pc_darts_evaluates_and_differentiates_as_the_authors_network() {
    for fixture in fixtures(KIND) {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = Subject::new(&fixture, &case, StrategyName::PcDarts);
        let mixing = subject.state.strategy().mixing(ForwardMode::evaluation()).unwrap();
        for (name, mixing) in [("normal", mixing.normal), ("reduce", mixing.reduction)] {
            let edges = mixing.edges.unwrap();
            fixture.close("weights of the edges", &edges, &format!("beta_weights.{name}"));
            let operations = mixing.operations / edges.unsqueeze(1);
            fixture.close("weights of the operations", &operations, &format!("alpha_weights.{name}"));
        }
        subject.check_passes("grad.");
    }
}

#[test]
fn parity_pc_darts_trains_as_the_authors_network() {
    for fixture in fixtures(KIND) {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = Subject::new(&fixture, &case, StrategyName::PcDarts);
        subject.alternate(&case);
        let logits = no_grad(|| subject.logits(0, ForwardMode::evaluation()));
        fixture.close("evaluation logits", &logits, "final_eval_logits");
    }
}

#[derive(Deserialize)]
struct Derivations {
    primitives: Vec<Operation>,
    cases: Vec<Derivation>,
}

#[derive(Deserialize)]
struct Derivation {
    alphas_normal: CellAlphas,
    alphas_reduce: CellAlphas,
    betas_normal: Vec<f64>,
    betas_reduce: Vec<f64>,
    genotype: Genotype,
}

/// The two edges of a node are one set: the authors list the stronger first.
fn by_source(edges: &[(Operation, usize)]) -> Vec<(Operation, usize)> {
    let sorted = |pair: &[(Operation, usize)]| {
        let mut pair = pair.to_vec();
        pair.sort_by_key(|(_, source)| *source);
        pair
    };
    edges.chunks(2).flat_map(sorted).collect()
}

#[test]
fn parity_pc_darts_derives_the_authors_cells() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pc_darts_derivation.json");
    let fixture: Derivations = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(fixture.primitives, Operation::SEARCH_SPACE);
    let mut num_compared = 0;
    for case in fixture.cases {
        // Of equals the authors of PC-DARTS take the first, those of P-DARTS, and we, the last.
        if case.betas_normal.iter().all(|&beta| beta == 0.0) {
            continue;
        }
        let betas = Some(Betas { normal: case.betas_normal, reduction: case.betas_reduce });
        let alphas = Alphas { normal: case.alphas_normal, reduction: case.alphas_reduce, betas };
        let derived = derive(&Switches::full(&Operation::SEARCH_SPACE).unwrap(), &alphas).unwrap();
        for kind in CellKind::ALL {
            assert_eq!(derived.edges(kind), by_source(case.genotype.edges(kind)));
        }
        num_compared += 1;
    }
    assert_eq!(num_compared, 20);
}
