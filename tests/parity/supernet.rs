//! The supernet of P-DARTS: evaluation, gradients and alternations of first-order steps.

use pdarts::config::StrategyName;

use crate::fixture::fixtures;
use crate::subject::{Subject, SupernetCase};

#[test]
fn parity_supernet_evaluates_and_differentiates_as_the_authors_network() {
    for fixture in fixtures("supernet") {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        Subject::new(&fixture, &case, StrategyName::PDarts).check_passes("grad.");
    }
}

#[test]
fn parity_supernet_trains_as_the_authors_network() {
    for fixture in fixtures("supernet") {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = Subject::new(&fixture, &case, StrategyName::PDarts);
        subject.alternate(&case);
    }
}
