//! A fixture file: what the authors' networks computed, and comparisons with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::kernels::choose_kernels;
use crate::tensors::device;

const TOLERANCE: f64 = 1e-6;

/// SGD in a case.
#[derive(Deserialize)]
pub struct WeightOptimizer {
    pub lr: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub grad_clip: f64,
}

/// A fixture file, read once: its header has thousands of entries.
pub struct Fixture {
    pub path: PathBuf,
    pub case: serde_json::Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    fn read(path: PathBuf) -> Self {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let case = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["case"]).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| (name, widened(&view))).collect();
        Self { path, case, tensors }
    }

    /// What follows `prefix` in the names that have it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors.keys().filter_map(|name| name.strip_prefix(prefix)).map(String::from).collect()
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.path.display()))
    }

    /// Compares `ours` with the tensor `name`.
    pub fn close(&self, what: &str, ours: &Tensor, name: &str) {
        let theirs = self.tensor(name);
        let ours = ours.to_kind(Kind::Double).reshape_as(theirs);
        let scale = theirs.norm().double_value(&[]).max(1e-12);
        let error = (ours - theirs).norm().double_value(&[]) / scale;
        assert!(error < TOLERANCE, "{}: {what}: relative error {error:e}", self.path.display());
    }

    /// Batch `index` of the case: images and classes.
    pub fn batch(&self, index: usize) -> (Tensor, Tensor) {
        let pick = |name| self.tensor(name).get(index as i64);
        (pick("inputs"), pick("targets"))
    }

    /// Compares a list of numbers with the tensor `what`.
    pub fn close_list(&self, what: &str, ours: &[f64]) {
        self.close(what, &Tensor::from_slice(ours).to_device(device()), what);
    }
}

/// Floating-point tensors in double precision.
fn widened(view: &TensorView<'_>) -> Tensor {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        other => panic!("{other:?}"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    let tensor = Tensor::from_data_size(view.data(), &shape, kind).to_device(device());
    if kind == Kind::Float { tensor.to_kind(Kind::Double) } else { tensor }
}

/// [L2 norm, sum, sum of t_i cos(i)] in row-major order.
pub fn fingerprint(view: &Tensor) -> Tensor {
    let flat = view.to_kind(Kind::Double).reshape([-1]);
    let cosines = Tensor::arange(flat.numel() as i64, (Kind::Double, device())).cos();
    Tensor::stack(&[flat.norm(), flat.sum(Kind::Double), (flat * cosines).sum(Kind::Double)], 0)
}

/// All cases of `kind`, and from now on the kernels that they are to be checked on; the tests run at the same time, so each gets one thread of libtorch's.
pub fn fixtures(kind: &str) -> Vec<Fixture> {
    tch::set_num_threads(1);
    choose_kernels();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")];
    folders.extend(std::env::var_os("PDARTS_PARITY_DIR").map(PathBuf::from));
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    paths.sort();
    let fixtures = paths.into_iter().map(Fixture::read);
    let fixtures: Vec<_> = fixtures.filter(|fixture| fixture.case["kind"] == kind).collect();
    assert!(!fixtures.is_empty(), "no {kind} fixtures in {folders:?}");
    fixtures
}
