//! A network that Python trained here, and networks that it is not.

use std::path::Path;

use safetensors::SafeTensors;
use tch::{Device, Kind};

use super::*;
use crate::genotype::library;
use crate::model::NetworkMode;
use crate::weights::to_safetensors;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

fn trained() -> StateDict {
    StateDict::read(&fixture("network-legacy.pth.tar")).unwrap()
}

fn cell(name: &str) -> Genotype {
    library::find(name).unwrap().genotype
}

fn tensor(name: &str) -> Tensor {
    let bytes = std::fs::read(fixture("network-logits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    Tensor::from_data_size(view.data(), &shape, Kind::Float)
}

/// The largest difference from the logits that Python's network has in double precision.
fn logit_error(network: &EvaluationNetwork, kind: Kind) -> f64 {
    let output = no_grad(|| network.forward(&tensor("images").to_kind(kind), NetworkMode::Evaluation)).unwrap();
    (output.logits - tensor("logits")).abs().max().double_value(&[])
}

#[test]
fn python_checkpoint_gives_the_logits_of_python() {
    let state = trained();
    let description = state.description(Some(&cell("PDARTS_C10"))).unwrap();
    let NetworkShape { kind, channels, cells, num_classes, image_size } = description.shape;
    assert_eq!((kind, channels, cells, num_classes, image_size), (NetworkKind::Cifar, 4, 4, 10, 32));
    assert!(description.auxiliary_head);
    for (kind, tolerance) in [(Kind::Double, 1e-5), (Kind::Float, 1e-4)] {
        let error = logit_error(&state.build(&description, Device::Cpu, kind).unwrap(), kind);
        assert!(error < tolerance, "{kind:?}: {error}");
    }
}

#[test]
fn checkpoint_without_auxiliary_head_is_another_network_with_the_same_logits() {
    let mut state = trained();
    state.tensors.retain(|name, _| !name.starts_with(AUXILIARY_HEAD));
    let description = state.description(Some(&cell("PDARTS_C10"))).unwrap();
    assert!(!description.auxiliary_head);
    assert!(logit_error(&state.build(&description, Device::Cpu, Kind::Double).unwrap(), Kind::Double) < 1e-5);
}

/// DARTS's head for ImageNet ends without a BatchNorm: its published checkpoints have none of its tensors.
#[test]
fn auxiliary_head_without_its_last_batch_norm_changes_no_logit_and_begins_anew() {
    let mut state = trained();
    let is_last_batch_norm = |name: &str| name.starts_with("auxiliary_head.features.6.");
    state.tensors.retain(|name, _| !is_last_batch_norm(name));
    let description = state.description(Some(&cell("PDARTS_C10"))).unwrap();
    let network = state.build(&description, Device::Cpu, Kind::Double).unwrap();
    assert!(logit_error(&network, Kind::Double) < 1e-5);
    let missing = state.misfit_of_head(&network).unwrap().missing;
    assert!(missing.len() == 4 && missing.iter().all(|name| is_last_batch_norm(name)), "{missing:?}");
    // What is left of it was trained with something else behind it.
    let name = "auxiliary_head.classifier.weight";
    let own = network.parameters().trainable().iter().find(|named| named.name == name).unwrap();
    assert!(!own.tensor.allclose(&state.tensors[name].to_kind(Kind::Double), 1e-3, 1e-3, false));

    let other = state.tensors.keys().find(|name| name.starts_with("cells.0.")).unwrap().clone();
    drop(state.tensors.remove(&other).unwrap());
    let message = state.build(&description, Device::Cpu, Kind::Float).unwrap_err().to_string();
    assert!(message.ends_with(&format!("1 tensor is missing ({other})")), "{message}");
}

#[test]
fn weights_with_and_without_a_head_fit_a_network_that_has_another() {
    let mut state = trained();
    let with_head = state.description(Some(&cell("PDARTS_C10"))).unwrap();
    let without = NetworkDescription { auxiliary_head: false, ..with_head.clone() };
    let network = state.build(&without, Device::Cpu, Kind::Double).unwrap();
    assert!(logit_error(&network, Kind::Double) < 1e-5 && state.misfit_of_head(&network).is_none());
    state.tensors.retain(|name, _| !name.starts_with(AUXILIARY_HEAD));
    let network = state.build(&with_head, Device::Cpu, Kind::Double).unwrap();
    assert!(logit_error(&network, Kind::Double) < 1e-5);
    assert_eq!(state.misfit_of_head(&network).unwrap().missing.len(), 12);
}

#[test]
fn head_of_another_network_changes_no_logit() {
    for (name, expected) in [
        ("auxiliary_head.features.2.weight", "auxiliary_head.features.2.weight has the shape [1], in the network ["),
        ("auxiliary_head.features.9.weight", "1 tensor is too many (auxiliary_head.features.9.weight)"),
    ] {
        let mut state = trained();
        let description = state.description(Some(&cell("PDARTS_C10"))).unwrap();
        state.tensors.insert(name.to_owned(), Tensor::zeros([1], (Kind::Float, Device::Cpu)));
        let network = state.build(&description, Device::Cpu, Kind::Double).unwrap();
        assert!(logit_error(&network, Kind::Double) < 1e-5);
        let misfit = state.misfit_of_head(&network).unwrap().to_string();
        assert!(misfit.starts_with(expected), "{misfit}");
    }
}

#[test]
fn another_cell_is_refused_with_the_first_tensor_that_differs() {
    let state = trained();
    let description = state.description(Some(&cell("DARTS_V2"))).unwrap();
    let message = state.build(&description, Device::Cpu, Kind::Float).unwrap_err().to_string();
    let expected = "its weights are of another cell or network than the one given: \
                    cells.1._ops.0.op.1.weight has the shape";
    assert!(message.contains("has the shape [") && message.contains("], in the network ["), "{message}");
    assert!(message.contains("tensors are missing (") && message.contains("tensors are too many ("), "{message}");
    assert_eq!(&message[..60], &expected[..60]);
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn weights_of_complex_numbers_are_refused_by_name() {
    let mut state = trained();
    let name = "classifier.weight";
    let complex = state.tensors[name].to_kind(Kind::ComplexFloat);
    state.tensors.insert(name.to_owned(), complex);
    let description = state.description(Some(&cell("PDARTS_C10"))).unwrap();
    let message = state.build(&description, Device::Cpu, Kind::Float).unwrap_err().to_string();
    assert!(
        message.starts_with("classifier.weight is of complex numbers") && message.contains("TENSOR.real"),
        "{message}"
    );
}

#[test]
fn first_differences_are_named_and_the_others_counted() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    let mismatch = Mismatch {
        missing: names(&["a", "b", "c", "d"]),
        unexpected: names(&["e\n"]),
        shapes: vec![("f".to_owned(), vec![4, 1, 5, 5], vec![4, 1, 3, 3]), ("g".to_owned(), vec![1], vec![2])],
    };
    assert_eq!(
        mismatch.to_string(),
        "f has the shape [4, 1, 5, 5], in the network [4, 1, 3, 3] (and 1 other differs); 4 tensors are missing \
         (a, b, c, ...); 1 tensor is too many (e\\n)"
    );
}

#[test]
fn file_that_names_its_cell_needs_none_and_takes_no_other() {
    let mut state = trained();
    let description = state.description(Some(&cell("PDARTS_C10"))).unwrap();
    state.metadata.insert(NETWORK_KEY.to_owned(), serde_json::to_string(&description).unwrap());
    assert_eq!(state.description(None).unwrap(), description);
    assert_eq!(state.description(Some(&cell("PDARTS_C10"))).unwrap(), description);
    let message = state.description(Some(&cell("DARTS_V2"))).unwrap_err().to_string();
    assert_eq!(message, "it holds another cell than the one given; leave that out");
}

#[test]
fn file_that_names_no_cell_needs_one() {
    let message = trained().description(None).unwrap_err().to_string();
    assert_eq!(message, "it does not say of which cell it is: give --genotype");
}

#[test]
fn averages_take_the_place_of_weights_and_the_optimizer_is_passed_over() {
    let genotype = cell("PDARTS_C10");
    let mut state = trained();
    let plain: Vec<(String, Tensor)> =
        state.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
    for (name, tensor) in &plain {
        state.tensors.insert(format!("{AVERAGE}{name}"), tensor.zeros_like());
    }
    state.tensors.insert("optimizer.momentum".to_owned(), Tensor::zeros([7], (Kind::Float, Device::Cpu)));
    let description = state.description(Some(&genotype)).unwrap();
    assert!(logit_error(&state.build(&description, Device::Cpu, Kind::Double).unwrap(), Kind::Double) < 1e-5);

    let mut weights = StateDict::from_bytes(&to_safetensors(&state.tensors, Default::default()).unwrap()).unwrap();
    weights.keep_weights();
    assert!(weights.tensors.keys().eq(plain.iter().map(|(name, _)| name)));

    assert!(state.take_averages());
    assert!(state.tensors.values().all(|tensor| tensor.flatten(0, -1).count_nonzero(0).int64_value(&[]) == 0));
    assert!(!state.take_averages());
}

#[test]
fn other_state_dicts_are_refused() {
    let refusal = |name: &str| {
        let state = StateDict::read(&fixture(name)).unwrap();
        state.description(Some(&cell("PDARTS_C10"))).unwrap_err().to_string()
    };
    let message = refusal("small.pt");
    assert!(message.starts_with("its tensors are not of a CIFAR or ImageNet network"), "{message}");
    assert_eq!(refusal("zip.pt"), "it has no classifier.weight");

    let mut state = trained();
    state.tensors.retain(|name, _| !name.starts_with("cells.1."));
    let message = state.description(Some(&cell("PDARTS_C10"))).unwrap_err().to_string();
    assert_eq!(message, "it has no tensors of cell 1");
}

#[test]
fn network_far_larger_than_the_file_is_not_built() {
    let mut state = trained();
    let wide = Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu)).expand([3_000_000, 3, 3, 3], false);
    state.tensors.insert("stem.0.weight".to_owned(), wide);
    let description = state.description(Some(&cell("PDARTS_C10"))).unwrap();
    let message = state.build(&description, Device::Cpu, Kind::Float).unwrap_err().to_string();
    assert!(message.ends_with("it is of another cell or network"), "{message}");
}
