//! Sizes against `genotype::count`, and what a network refuses.

use super::*;
use crate::genotype::{count, library};
use crate::model::NetworkDescription;

fn pdarts() -> Genotype {
    library::find("PDARTS_C10").unwrap().genotype
}

fn build(genotype: &Genotype, shape: &NetworkShape) -> EvaluationNetwork {
    EvaluationNetwork::new(genotype, shape, true, Device::Cpu, Kind::Float).unwrap()
}

/// Parameters without and of the auxiliary head.
fn num_parameters(network: &EvaluationNetwork) -> (u64, u64) {
    let (head, rest): (Vec<_>, Vec<_>) =
        network.parameters().trainable().iter().partition(|named| named.name.starts_with("auxiliary_head."));
    let sum = |tensors: Vec<&crate::model::NamedTensor>| tensors.iter().map(|named| named.tensor.numel() as u64).sum();
    (sum(rest), sum(head))
}

fn check_count(genotype: &Genotype, shape: &NetworkShape, name: &str) {
    let cost = count(genotype, shape);
    let built = num_parameters(&build(genotype, shape));
    assert_eq!(built, (cost.parameters, cost.auxiliary_parameters), "{name}: {shape:?}");
}

#[test]
fn every_published_cell_builds_networks_of_the_counted_size() {
    for cell in library::published_cells().unwrap() {
        check_count(&cell.genotype, &NetworkShape::cifar(10), &cell.name);
        check_count(&cell.genotype, &NetworkShape::imagenet(), &cell.name);
    }
}

#[test]
fn every_published_cell_computes_logits_and_gradients() {
    tch::set_num_threads(1);
    for cell in library::published_cells().unwrap() {
        let shape = NetworkShape { channels: 4, cells: 4, ..NetworkShape::cifar(7) };
        let network = build(&cell.genotype, &shape);
        let images = Tensor::randn([2, 3, 32, 32], (Kind::Float, Device::Cpu));
        let output = network.forward(&images, NetworkMode::Training { drop_path: 0.3 }).unwrap();
        assert_eq!(output.logits.size(), [2, 7], "{}", cell.name);
        let auxiliary = output.auxiliary_logits.unwrap();
        (output.logits.square().sum(Kind::Float) + auxiliary.square().sum(Kind::Float)).backward();
        for named in network.parameters().trainable() {
            assert!(named.tensor.grad().defined(), "{}: {}", cell.name, named.name);
        }
        let output = network.forward(&images, NetworkMode::Evaluation).unwrap();
        assert!(output.auxiliary_logits.is_none());
    }
}

#[test]
fn sizes_that_no_network_has_are_refused() {
    let refused = |shape: NetworkShape| {
        EvaluationNetwork::new(&pdarts(), &shape, false, Device::Cpu, Kind::Float).unwrap_err().to_string()
    };
    let base = NetworkShape::cifar(10);
    assert!(refused(NetworkShape { channels: 7, ..base }).contains("channels must be even"));
    assert!(refused(NetworkShape { cells: 0, ..base }).contains("it needs a cell"));
    assert!(refused(NetworkShape { num_classes: 0, ..base }).contains("it needs a class"));
}

#[test]
fn images_that_do_not_fit_are_refused_in_one_line() {
    let shape = NetworkShape { channels: 4, cells: 4, ..NetworkShape::cifar(10) };
    let network = build(&pdarts(), &shape);
    let refused = |size: &[i64], mode| {
        let images = Tensor::zeros(size, (Kind::Float, Device::Cpu));
        network.forward(&images, mode).map(|_| ()).unwrap_err().to_string()
    };
    let training = NetworkMode::Training { drop_path: 0.0 };
    assert_eq!(
        refused(&[2, 1, 32, 32], NetworkMode::Evaluation),
        "images of shape [2, 1, 32, 32]: this network reads [N, 3, 32, 32], or sides that are a multiple of 4"
    );
    assert!(refused(&[2, 3, 30, 32], NetworkMode::Evaluation).contains("multiple of 4"));
    assert!(refused(&[2, 3, 64, 64], training).contains("auxiliary head"));
    let larger = Tensor::zeros([1, 3, 64, 64], (Kind::Float, Device::Cpu));
    assert!(network.forward(&larger, NetworkMode::Evaluation).is_ok());
}

#[test]
fn one_image_leaves_no_variance_where_the_smallest_state_has_one_pixel() {
    tch::set_num_threads(1);
    let imagenet =
        |image_size| NetworkShape { image_size, channels: 4, cells: 4, num_classes: 3, ..NetworkShape::imagenet() };
    let cifar = |image_size| NetworkShape { image_size, channels: 4, cells: 4, ..NetworkShape::cifar(3) };
    let cases = [
        (cifar(32), true),
        (cifar(32), false),
        (cifar(8), false),
        (cifar(4), false),
        (imagenet(224), true),
        (imagenet(64), false),
        (imagenet(32), false),
    ];
    for (shape, auxiliary_head) in cases {
        let description = NetworkDescription { genotype: pdarts(), shape, auxiliary_head };
        let network = description.build(Device::Cpu, Kind::Float).unwrap();
        let side = shape.image_size as i64;
        let images = Tensor::randn([1, 3, side, side], (Kind::Float, Device::Cpu));
        // Our own kernels refuse it, libtorch's BatchNorm leaves NaN in the running variance.
        let output = tch::no_grad(|| network.forward(&images, NetworkMode::Training { drop_path: 0.0 }));
        let is_finite = |named: &crate::model::NamedTensor| named.tensor.isfinite().all().int64_value(&[]) == 1;
        let all_finite = network.parameters().statistics().iter().all(is_finite);
        assert_eq!(
            output.is_ok() && all_finite,
            description.smallest_normalised_area() > 1,
            "{shape:?}, head: {auxiliary_head}"
        );
    }
}
