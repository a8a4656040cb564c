//! The function itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pdarts::torch::{Part, TorchError, checkpoint, gradients};
use tch::{Device, Kind, Tensor};

use crate::random::draw_alone;

const OPTIONS: (Kind, Device) = (Kind::Double, Device::Cpu);

fn trained(values: &[f64]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

/// `x * x * weight` with a count of its calls, which are made with (true) and without a graph.
fn counted(x: &Tensor, weight: &Tensor, calls: &Arc<Mutex<Vec<bool>>>) -> Tensor {
    let (calls, own_weight) = (Arc::clone(calls), Mutex::new(weight.shallow_clone()));
    let part = Part { inputs: &[x], parameters: &[weight.shallow_clone()], statistics: &[] };
    checkpoint(part, move |inputs| {
        let y = inputs[0].f_mul(&inputs[0])?.f_mul(&own_weight.lock().unwrap())?;
        calls.lock().unwrap().push(y.requires_grad());
        Ok(y)
    })
    .unwrap()
}

#[test]
fn backward_computes_again_and_accumulates_into_inputs_and_parameters() {
    let (x, weight) = (trained(&[2.0, 3.0]), trained(&[5.0, 7.0]));
    let calls = Arc::default();
    let y = counted(&x, &weight, &calls);
    assert_eq!(*calls.lock().unwrap(), [false]);
    y.sum(Kind::Double).backward();
    assert_eq!(*calls.lock().unwrap(), [false, true]);
    assert_eq!(Vec::<f64>::try_from(x.grad()).unwrap(), [20.0, 42.0]);
    assert_eq!(Vec::<f64>::try_from(weight.grad()).unwrap(), [4.0, 9.0]);
}

#[test]
fn only_what_is_wanted_is_differentiated() {
    let (x, weight) = (trained(&[2.0]), trained(&[5.0]));
    let calls = Arc::default();
    let y = counted(&x, &weight, &calls);
    let computed = gradients(&y, &y.ones_like(), &[&x]).unwrap();
    assert_eq!(computed[0].double_value(&[0]), 20.0);
    assert!(!x.grad().defined() && !weight.grad().defined());
    let fixed = Tensor::from_slice(&[2.0]);
    counted(&fixed, &weight, &calls).backward();
    assert_eq!(weight.grad().double_value(&[0]), 4.0);
    assert!(!fixed.grad().defined());
}

#[test]
fn without_a_graph_it_computes_once_and_forgets() {
    let (x, weight) = (trained(&[2.0]), trained(&[5.0]));
    let calls = Arc::default();
    let y = tch::no_grad(|| counted(&x, &weight, &calls));
    assert!(!y.requires_grad());
    assert_eq!((*calls.lock().unwrap()).len(), 1);
    // The closure is gone.
    assert_eq!(Arc::strong_count(&calls), 1);
}

#[test]
fn closure_lives_until_the_graph_is_dropped() {
    let (x, weight) = (trained(&[2.0]), trained(&[5.0]));
    let calls = Arc::default();
    let y = counted(&x, &weight, &calls);
    assert_eq!(Arc::strong_count(&calls), 2);
    y.backward();
    drop(y);
    assert_eq!(Arc::strong_count(&calls), 1);
}

/// Fails in call number `bad`, from 0.
fn failing(x: &Tensor, bad: usize, panics: bool) -> Result<Tensor, TorchError> {
    let calls = AtomicUsize::new(0);
    checkpoint(Part { inputs: &[x], parameters: &[], statistics: &[] }, move |inputs| {
        if calls.fetch_add(1, Ordering::Relaxed) < bad {
            return Ok(inputs[0].f_mul_scalar(2.0)?);
        }
        assert!(!panics, "a panic that the test wants");
        Ok(inputs[0].f_reshape([3])?)
    })
}

#[test]
fn failures_and_panics_are_errors_of_the_pass_they_occur_in() {
    let x = trained(&[2.0]);
    let forward = |panics| failing(&x, 0, panics).unwrap_err().to_string();
    assert!(forward(false).contains("shape '[3]' is invalid"), "{}", forward(false));
    assert!(forward(true).contains("a forward pass panicked"), "{}", forward(true));
    let backward = |panics| failing(&x, 1, panics).unwrap().f_backward().unwrap_err().to_string();
    assert!(backward(false).contains("shape '[3]' is invalid"), "{}", backward(false));
    assert!(backward(true).contains("a forward pass panicked"), "{}", backward(true));
    // libtorch works on.
    failing(&x, 2, false).unwrap().backward();
    assert_eq!(x.grad().double_value(&[0]), 2.0);
}

#[test]
fn the_second_computation_draws_the_same_and_spends_no_random_numbers() {
    let x = Tensor::ones([1000], OPTIONS).set_requires_grad(true);
    let _alone = draw_alone(1);
    let part = Part { inputs: &[&x], parameters: &[], statistics: &[] };
    let y = checkpoint(part, |inputs| Ok(inputs[0].f_dropout(0.5, true)?)).unwrap();
    let between = Tensor::rand([1], OPTIONS);
    y.sum(Kind::Double).backward();
    let after = Tensor::rand([1], OPTIONS);
    // Dropout of ones is its own gradient.
    assert_eq!(y, x.grad());

    tch::manual_seed(1);
    let _ = x.dropout(0.5, true);
    assert_eq!([between, after], [(); 2].map(|()| Tensor::rand([1], OPTIONS)));
}

#[test]
fn statistics_move_once() {
    let _alone = draw_alone(2);
    let x = Tensor::randn([8, 3, 2, 2], OPTIONS).set_requires_grad(true);
    let [mean, var] = [Tensor::zeros([3], OPTIONS), Tensor::ones([3], OPTIONS)];
    let handles = Mutex::new([mean.shallow_clone(), var.shallow_clone()]);
    let statistics = [mean.shallow_clone(), var.shallow_clone()];
    let y = checkpoint(Part { inputs: &[&x], parameters: &[], statistics: &statistics }, move |inputs| {
        let [mean, var] = &*handles.lock().unwrap();
        let none = None::<&Tensor>;
        Ok(inputs[0].f_batch_norm(none, none, Some(mean), Some(var), true, 0.1, 1e-5, false)?)
    });
    let moved = [mean.copy(), var.copy()];
    assert_ne!(moved[0], Tensor::zeros([3], OPTIONS));
    y.unwrap().square().sum(Kind::Double).backward();
    assert_eq!([mean, var], moved);
}

#[test]
fn gradients_of_gradients_are_refused() {
    let x = trained(&[2.0]);
    let y = failing(&x, 9, false).unwrap();
    let error = Tensor::f_run_backward(&[&y], &[&x], true, true).unwrap_err().to_string();
    assert!(error.contains("cannot be differentiated"), "{error}");
}
