//! The supernet against cases computed in double precision with the authors' networks under PyTorch.
//!
//! Reads `tests/fixtures/*.safetensors` and, when `PDARTS_PARITY_DIR` names a folder, every such file there. A case
//! holds initial values under the authors' state-dict names, inputs, and what must come out: see `SupernetCase`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pdarts::genotype::{CellSwitches, Switches};
use pdarts::optim::{Adam, AdamOptions, FlatParameters, FlatStatistics, Sgd, SgdOptions, clip_gradient_norm};
use pdarts::search::{ArchitectureParameters, ForwardMode, Relaxation, Softmax, Supernet, SupernetShape};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use tch::{Device, Kind, Tensor, no_grad};

const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct SupernetCase {
    layers: usize,
    init_channels: usize,
    num_classes: usize,
    switches_normal: Vec<[bool; 8]>,
    switches_reduce: Vec<[bool; 8]>,
    steps: usize,
    weight_opt: WeightOptimizer,
    arch_opt: ArchitectureOptimizer,
}

#[derive(Deserialize)]
struct WeightOptimizer {
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    grad_clip: f64,
}

#[derive(Deserialize)]
struct ArchitectureOptimizer {
    lr: f64,
    betas: [f64; 2],
    weight_decay: f64,
    grad_clip: f64,
}

/// A fixture file, read once: its header has thousands of entries.
struct Fixture {
    path: PathBuf,
    case: serde_json::Value,
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

    fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors.keys().filter_map(|name| name.strip_prefix(prefix)).map(String::from).collect()
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.path.display()))
    }

    fn close(&self, what: &str, ours: &Tensor, name: &str) {
        let theirs = self.tensor(name);
        let ours = ours.to_kind(Kind::Double).reshape_as(theirs);
        let scale = theirs.norm().double_value(&[]).max(1e-12);
        let error = (ours - theirs).norm().double_value(&[]) / scale;
        assert!(error < TOLERANCE, "{}: {what}: relative error {error:e}", self.path.display());
    }

    fn close_list(&self, what: &str, ours: &[f64]) {
        self.close(what, &Tensor::from_slice(ours), what);
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
    let tensor = Tensor::from_data_size(view.data(), &shape, kind);
    if kind == Kind::Float { tensor.to_kind(Kind::Double) } else { tensor }
}

/// [L2 norm, sum, sum of t_i cos(i)] in row-major order.
fn fingerprint(view: &Tensor) -> Tensor {
    let flat = view.to_kind(Kind::Double).reshape([-1]);
    let cosines = Tensor::arange(flat.numel() as i64, (Kind::Double, Device::Cpu)).cos();
    Tensor::stack(&[flat.norm(), flat.sum(Kind::Double), (flat * cosines).sum(Kind::Double)], 0)
}

/// All cases of `kind`; the tests run at the same time, so each gets one thread of libtorch's.
fn fixtures(kind: &str) -> Vec<Fixture> {
    tch::set_num_threads(1);
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

/// The supernet of a case in double precision with the case's initial values, flattened as in a search.
struct Subject<'a> {
    fixture: &'a Fixture,
    network: Supernet,
    alphas: ArchitectureParameters,
    weights: FlatParameters,
    flat_alphas: FlatParameters,
    _statistics: FlatStatistics,
}

impl<'a> Subject<'a> {
    fn new(fixture: &'a Fixture, case: &SupernetCase) -> Self {
        let shape = SupernetShape {
            num_cells: case.layers,
            channels: case.init_channels,
            num_classes: case.num_classes,
            switches: Switches {
                normal: CellSwitches::from_mask(&case.switches_normal).unwrap(),
                reduction: CellSwitches::from_mask(&case.switches_reduce).unwrap(),
            },
        };
        let num_live = case.switches_normal[0].iter().filter(|on| **on).count();
        let network = Supernet::new(&shape, Device::Cpu, Kind::Double);
        let alphas = ArchitectureParameters::random(num_live, 1e-3, Device::Cpu, Kind::Double);
        let weights = FlatParameters::flatten(network.parameters().trainable()).unwrap();
        let statistics = FlatStatistics::flatten(network.parameters().statistics()).unwrap();
        let flat_alphas = FlatParameters::flatten(&alphas.named()).unwrap();
        let subject = Self { fixture, network, alphas, weights, flat_alphas, _statistics: statistics };
        subject.load_initial_values();
        subject
    }

    fn load_initial_values(&self) {
        let authors = self.network.authors_tensors();
        let mut names: Vec<String> = authors.iter().map(|tensor| tensor.name.clone()).collect();
        names.extend(["alphas_normal".into(), "alphas_reduce".into()]);
        names.sort();
        assert_eq!(names, self.fixture.names("init."), "{}", self.fixture.path.display());
        no_grad(|| {
            for tensor in &authors {
                let mut view = tensor.view();
                view.copy_(&self.fixture.tensor(&format!("init.{}", tensor.name)).view_as(&view));
            }
            for named in self.alphas.named() {
                named.tensor.shallow_clone().copy_(self.fixture.tensor(&format!("init.{}", named.name)));
            }
        });
    }

    fn batch(&self, index: usize) -> (Tensor, Tensor) {
        let pick = |name| self.fixture.tensor(name).get(index as i64);
        (pick("inputs"), pick("targets"))
    }

    fn logits(&self, images: &Tensor, mode: ForwardMode) -> Tensor {
        let (normal, reduction) = (Softmax.weights(&self.alphas.normal), Softmax.weights(&self.alphas.reduction));
        self.network.forward(images, &normal, &reduction, mode).unwrap()
    }

    /// Loss of a training step on batch `index` after backward; only `trained` gets gradients.
    fn backward(&mut self, index: usize, train_weights: bool, train_alphas: bool) -> f64 {
        self.weights.set_trained(train_weights);
        self.flat_alphas.set_trained(train_alphas);
        self.weights.zero_gradients();
        self.flat_alphas.zero_gradients();
        let (images, targets) = self.batch(index);
        let loss = self.logits(&images, ForwardMode::training(0.0)).cross_entropy_for_logits(&targets);
        loss.backward();
        loss.double_value(&[])
    }
}

#[test]
fn parity_supernet_evaluates_and_differentiates_as_the_authors_network() {
    for fixture in fixtures("supernet") {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = Subject::new(&fixture, &case);
        let (images, targets) = subject.batch(0);
        let logits = no_grad(|| subject.logits(&images, ForwardMode::evaluation()));
        fixture.close("evaluation logits", &logits, "eval_logits");

        let logits = subject.logits(&images, ForwardMode::training(0.0));
        fixture.close("training logits", &logits, "train_logits");
        fixture.close_list("train_loss", &[logits.cross_entropy_for_logits(&targets).double_value(&[])]);

        subject.load_initial_values();
        subject.backward(0, true, true);
        for named in subject.alphas.named() {
            fixture.close(&named.name, &named.tensor.grad(), &format!("grad.{}", named.name));
        }
        check_fingerprints(&subject, "grad_fp.", |tensor| tensor.grad_view());
    }
}

#[test]
fn parity_supernet_trains_as_the_authors_network() {
    for fixture in fixtures("supernet") {
        let case: SupernetCase = serde_json::from_value(fixture.case.clone()).unwrap();
        let mut subject = Subject::new(&fixture, &case);
        let SupernetCase { weight_opt, arch_opt, .. } = &case;
        let options = SgdOptions { momentum: weight_opt.momentum, weight_decay: weight_opt.weight_decay };
        let mut sgd = Sgd::new(&subject.weights, options);
        let options = AdamOptions {
            learning_rate: arch_opt.lr,
            beta1: arch_opt.betas[0],
            beta2: arch_opt.betas[1],
            weight_decay: arch_opt.weight_decay,
        };
        let mut adam = Adam::new(&subject.flat_alphas, options);
        let (mut arch_losses, mut weight_losses) = (Vec::new(), Vec::new());
        for step in 0..case.steps {
            arch_losses.push(subject.backward(2 * step, false, true));
            let _ = clip_gradient_norm(subject.flat_alphas.gradients(), arch_opt.grad_clip);
            adam.step(&subject.flat_alphas);
            weight_losses.push(subject.backward(2 * step + 1, true, false));
            let _ = clip_gradient_norm(subject.weights.gradients(), weight_opt.grad_clip);
            sgd.step(&subject.weights, weight_opt.lr);
        }
        fixture.close_list("arch_losses", &arch_losses);
        fixture.close_list("weight_losses", &weight_losses);
        for named in subject.alphas.named() {
            fixture.close(&named.name, &named.tensor, &format!("final.{}", named.name));
        }
        check_fingerprints(&subject, "final_fp.", |tensor| tensor.view());
    }
}

/// Compares the fingerprints of all the authors' tensors that the fixture has under `prefix`.
fn check_fingerprints(subject: &Subject, prefix: &str, view: impl Fn(&pdarts::search::AuthorsTensor) -> Tensor) {
    let expected = subject.fixture.names(prefix);
    let authors = subject.network.authors_tensors();
    for name in expected.iter().filter(|name| !name.starts_with("alphas")) {
        let tensor = authors.iter().find(|tensor| tensor.name == *name).unwrap_or_else(|| panic!("no tensor {name}"));
        let name = format!("{prefix}{name}");
        subject.fixture.close(&name, &fingerprint(&view(tensor)), &name);
    }
    assert!(expected.len() > 100, "{}: {} fingerprints", subject.fixture.path.display(), expected.len());
}
