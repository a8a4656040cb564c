//! DARTS: the second-order step of the alphas, and what it leaves of weights, momentum and statistics.

use pdarts::config::StrategyName;
use pdarts::search::ForwardMode;
use pdarts::trainer::{ArchitectureStep, SecondOrder, StepImages, StepInputs};
use tch::{Tensor, no_grad};

use crate::fixture::{Fixture, fingerprint, fixtures};
use crate::subject::{Subject, SupernetCase};

const KIND: &str = "darts_second_order";

/// At the initial values, with the momentum of the steps before them.
fn subject<'a>(fixture: &'a Fixture, case: &SupernetCase) -> Subject<'a> {
    let subject = Subject::new(fixture, case, StrategyName::Darts);
    momentum(&subject, |name, view| {
        no_grad(|| {
            view.shallow_clone().copy_(&fixture.tensor(&format!("momentum.{name}")).view_as(view));
        })
    });
    subject
}

/// Calls `of` with every trained tensor's name and momentum.
fn momentum(subject: &Subject<'_>, of: impl Fn(&str, &Tensor)) {
    let weights = &subject.state.weights;
    let buffers = weights.split(subject.state.sgd.momentum());
    for (name, tensor) in subject.authors_tensors() {
        let index = weights.tensors().iter().position(|weight| weight.data_ptr() == tensor.ours.data_ptr());
        if let Some(index) = index {
            of(&name, &tensor.select(&buffers[index]));
        }
    }
}

/// The alphas' step on batches 2 `step` and 2 `step` + 1, and its loss.
fn architecture_step(subject: &mut Subject<'_>, case: &SupernetCase, step: usize) -> f64 {
    let [alpha_batch, weight_batch] = [2 * step, 2 * step + 1].map(|index| subject.batch(index));
    let inputs = StepInputs {
        alpha_images: &mut StepImages::from(&alpha_batch),
        weight_images: &mut StepImages::from(&weight_batch),
        learning_rate: case.weight_opt.lr,
        mode: ForwardMode::training(0.0),
    };
    SecondOrder.step(&mut subject.state, inputs).unwrap().result().mean_loss().unwrap()
}

#[test]
fn parity_darts_evaluates_and_differentiates_as_the_authors_network() {
    for fixture in fixtures(KIND) {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        subject(&fixture, &case).check_passes("grad_first.");
    }
}

#[test]
fn parity_second_order_step_is_the_authors_and_leaves_weights_and_momentum_bit_for_bit() {
    for fixture in fixtures(KIND) {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = subject(&fixture, &case);
        let (weights, momentum) = (subject.state.weights.values().copy(), subject.state.sgd.momentum().copy());
        let loss = architecture_step(&mut subject, &case, 0);
        let expected = fixture.tensor("unrolled.losses").double_value(&[1]);
        assert!((loss - expected).abs() < 1e-9 * expected, "{loss} instead of {expected}");
        let gradients = subject.gradients();
        subject.check_parameters("grad.", |parameter| gradients[&(parameter.data_ptr() as usize)].shallow_clone());
        assert!(subject.state.weights.values().equal(&weights));
        assert!(subject.state.sgd.momentum().equal(&momentum));
        subject.check_fingerprints("after_arch_fp.", |tensor| tensor.view());
    }
}

#[test]
fn parity_darts_trains_as_the_authors_network() {
    for fixture in fixtures(KIND) {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = subject(&fixture, &case);
        let (mut arch_losses, mut weight_losses) = (Vec::new(), Vec::new());
        for step in 0..case.steps {
            arch_losses.push(architecture_step(&mut subject, &case, step));
            let batch = subject.batch(2 * step + 1);
            let mode = ForwardMode::training(0.0);
            let result = subject.state.weight_step(&mut (&batch).into(), case.weight_opt.lr, mode).unwrap();
            weight_losses.push(result.mean_loss().unwrap());
        }
        subject.check_course(&arch_losses, &weight_losses);
        let logits = no_grad(|| subject.logits(0, ForwardMode::evaluation()));
        fixture.close("evaluation logits", &logits, "final_eval_logits");
        momentum(&subject, |name, view| {
            let name = format!("final_momentum_fp.{name}");
            fixture.close(&name, &fingerprint(view), &name);
        });
    }
}
