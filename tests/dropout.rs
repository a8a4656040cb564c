//! What drops: `torch::dropout`, which is what it promises and draws in backward what forward drew, also by the GPU's
//! draws in the emulation, and the supernet's drop path.

#[path = "tensors/random.rs"]
mod random;
#[path = "tensors/mod.rs"]
mod tensors;

use pdarts::genotype::{NUM_EDGES, NetworkKind, Operation, Switches};
use pdarts::search::{ForwardMode, Mixing, Supernet, SupernetShape};
use pdarts::torch::{dropout, dropouts, gradients};
use random::draw_alone;
use tch::{Device, Kind, Tensor};
use tensors::{device, leaf, pass_in_emulation};

fn ones(kind: Kind) -> Tensor {
    leaf(&Tensor::ones([4, 20, 30, 30], (kind, device())))
}

fn few_ones(kind: Kind) -> Tensor {
    leaf(&Tensor::ones([2, 6, 30, 30], (kind, device())))
}

/// The same values in another layout than that of the tensors above.
fn channels_last(y: &Tensor) -> Tensor {
    y.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

#[test]
fn so_many_elements_stay_and_are_scaled_to_keep_the_mean() {
    let _alone = draw_alone(5);
    for probability in [0.0, 0.25, 0.9] {
        let y = dropout(&ones(Kind::Double), probability).unwrap().detach();
        let dropped = y.eq(0.0).to_kind(Kind::Double).mean(None).double_value(&[]);
        assert!((dropped - probability).abs() < 0.01, "{probability}: {dropped}");
        let kept = y.masked_select(&y.ne(0.0));
        assert!(f64::try_from((kept - 1.0 / (1.0 - probability)).abs().max()).unwrap() < 1e-12);
    }
    assert!(dropout(&ones(Kind::Float), 1.0).is_err());
}

#[test]
fn backward_drops_what_forward_dropped() {
    let _alone = draw_alone(6);
    for kind in [Kind::Float, Kind::Double] {
        let x = ones(kind);
        let y = dropout(&x, 0.3).unwrap();
        let upstream = channels_last(&Tensor::ones_like(&y));
        let [gradient] = gradients(&y, &upstream, &[&x]).unwrap().try_into().unwrap();
        assert!(gradient.equal(&y.detach()), "{kind:?}");
    }
}

/// More copies than a kernel takes at once.
#[test]
fn copies_are_drawn_each_by_itself_and_their_gradients_add_up() {
    let _alone = draw_alone(9);
    for (kind, tolerance) in [(Kind::Float, 1e-6), (Kind::Double, 1e-14), (Kind::BFloat16, 1e-2)] {
        let x = few_ones(kind);
        let copies = dropouts(&x, 0.5, 6).unwrap();
        let copies_of_ones: Vec<_> = copies.iter().map(Tensor::detach).collect();
        for (place, copy) in copies_of_ones.iter().enumerate() {
            for other in &copies_of_ones[..place] {
                let both = (copy * other).ne(0.0).to_kind(Kind::Double).mean(None).double_value(&[]);
                assert!((both - 0.25).abs() < 0.03, "{kind:?}: {both}");
            }
        }
        // One of them unused, and one in another layout than that of the input.
        let weights = [1.0, 2.0, 0.0, 3.0, 4.0, 5.0];
        let mut sum = channels_last(&copies[0]) * weights[0];
        for (copy, weight) in copies.iter().zip(weights).skip(1).filter(|(_, weight)| *weight != 0.0) {
            sum += copy * weight;
        }
        let [gradient] = gradients(&sum, &Tensor::ones_like(&sum), &[&x]).unwrap().try_into().unwrap();
        let expected: Tensor = copies_of_ones.iter().zip(weights).map(|(copy, weight)| copy * weight).sum();
        let error = ((gradient - &expected).abs() / expected.clamp_min(1.0)).max().double_value(&[]);
        assert!(error < tolerance, "{kind:?}: {error}");
    }
    assert!(dropouts(&few_ones(Kind::Float), 0.5, 0).unwrap().is_empty());
}

#[test]
fn a_seed_of_the_generator_decides_and_each_call_draws_anew() {
    let _alone = draw_alone(7);
    let x = ones(Kind::Float);
    let drawn = || {
        tch::manual_seed(11);
        [dropout(&x, 0.5).unwrap().detach(), dropout(&x, 0.5).unwrap().detach()]
    };
    let ([first, second], [again, _]) = (drawn(), drawn());
    assert!(first.equal(&again) && !first.equal(&second));
}

#[test]
fn drop_path_of_a_supernet_hardly_drops_or_follows_the_generator() {
    let _alone = draw_alone(8);
    let operations = [Operation::MaxPool3x3, Operation::SkipConnect, Operation::SepConv3x3];
    let shape = SupernetShape {
        stem: NetworkKind::Cifar,
        num_cells: 3,
        channels: 4,
        num_classes: 7,
        partial_channels: 1,
        switches: Switches::full(&operations).unwrap(),
    };
    let network = Supernet::new(&shape, Device::Cpu, Kind::Float).unwrap();
    let images = Tensor::randn([2, 3, 16, 16], (Kind::Float, Device::Cpu));
    let weights = leaf(&Tensor::full([NUM_EDGES as i64, 3], 1.0 / 3.0, (Kind::Float, Device::Cpu)));
    let of = |drop_path, seed| {
        tch::manual_seed(seed);
        let mixing = Mixing::of_operations(weights.shallow_clone(), weights.shallow_clone());
        let mode = ForwardMode { drop_path, ..ForwardMode::training(0.0) };
        let logits = network.forward(&images, &mixing, mode).unwrap();
        let loss = logits.softmax(-1, Kind::Float).select(1, 0).sum(Kind::Float);
        (logits.detach(), Tensor::run_backward(&[loss], &[&weights], false, false).remove(0))
    };
    let far = |one: &(Tensor, Tensor), other: &(Tensor, Tensor)| {
        let far = |one: &Tensor, other: &Tensor| (one - other).abs().max().double_value(&[]);
        far(&one.0, &other.0).max(far(&one.1, &other.1))
    };
    let plain = of(0.0, 1);
    assert!(far(&of(1e-9, 1), &plain) < 1e-4, "{}", far(&of(1e-9, 1), &plain));
    let dropped = of(0.5, 1);
    assert!(far(&dropped, &plain) > 1e-2 && far(&dropped, &of(0.5, 2)) > 1e-2);
    assert_eq!(far(&dropped, &of(0.5, 1)), 0.0);
}

#[test]
fn gpu_kernels_pass_in_the_emulation() {
    pass_in_emulation(&[
        "so_many_elements_stay_and_are_scaled_to_keep_the_mean",
        "backward_drops_what_forward_dropped",
        "copies_are_drawn_each_by_itself_and_their_gradients_add_up",
        "a_seed_of_the_generator_decides_and_each_call_draws_anew",
    ]);
}
