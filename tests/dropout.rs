//! Dropout by the GPU's draws, in the emulation: it is what `torch::dropout` promises, and backward draws what forward drew.

#[path = "tensors/random.rs"]
mod random;
#[path = "tensors/mod.rs"]
mod tensors;

use pdarts::torch::{dropout, gradients};
use random::draw_alone;
use tch::{Kind, Tensor};
use tensors::{device, leaf, pass_in_emulation};

fn ones(kind: Kind) -> Tensor {
    leaf(&Tensor::ones([4, 20, 30, 30], (kind, device())))
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
        // In another layout than that of the input.
        let upstream = Tensor::ones_like(&y).permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let [gradient] = gradients(&y, &upstream, &[&x]).unwrap().try_into().unwrap();
        assert!(gradient.equal(&y.detach()), "{kind:?}");
    }
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
fn gpu_kernels_pass_in_the_emulation() {
    pass_in_emulation(&[
        "so_many_elements_stay_and_are_scaled_to_keep_the_mean",
        "backward_drops_what_forward_dropped",
        "a_seed_of_the_generator_decides_and_each_call_draws_anew",
    ]);
}
