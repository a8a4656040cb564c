//! What the cases of strategies that draw samples have in common.

use tch::{Kind, Tensor};

use crate::tensors::device;

pub fn tensor(rows: &[Vec<f64>]) -> Tensor {
    Tensor::from_slice2(rows).to_device(device())
}

pub fn assert_close(what: &str, tau: f64, ours: &Tensor, theirs: &Tensor) {
    let error = (ours - theirs).norm().double_value(&[]) / theirs.norm().double_value(&[]);
    assert!(ours.kind() == Kind::Double && error < 1e-9, "{what} at temperature {tau}: relative error {error:e}");
}
