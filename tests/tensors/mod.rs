//! What tests of operations on tensors share.

use std::sync::LazyLock;

use pdarts::torch::load_cuda;
use tch::{Cuda, Device, Kind, Tensor};

/// What these tests compute on: the CPU, unless `PDARTS_TEST_DEVICE` is `cuda`.
pub fn device() -> Device {
    static DEVICE: LazyLock<Device> = LazyLock::new(|| match std::env::var("PDARTS_TEST_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Device::Cpu,
        Ok("cuda") => {
            load_cuda().unwrap_or_else(|error| panic!("PDARTS_TEST_DEVICE=cuda: {error}"));
            assert!(Cuda::is_available(), "PDARTS_TEST_DEVICE=cuda: libtorch finds no GPU");
            Device::Cuda(0)
        }
        Ok(other) => panic!("PDARTS_TEST_DEVICE={other}: cpu or cuda"),
    });
    *DEVICE
}

/// Largest difference, relative to the largest value (or 1 if that is smaller).
pub fn error(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    let theirs = theirs.to_kind(Kind::Double);
    let scale = theirs.abs().max().double_value(&[]).max(1.0);
    (ours.to_kind(Kind::Double) - theirs).abs().max().double_value(&[]) / scale
}

/// The values as a tensor of their own, of which gradients are wanted.
pub fn leaf(values: &Tensor) -> Tensor {
    values.detach().set_requires_grad(true)
}
