//! `pdarts eval`, `pdarts export` and `pdarts data fetch` as their user meets them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use pdarts::genotype::{NetworkShape, library};
use pdarts::model::{NetworkDescription, NetworkMode};
use pdarts::weights::{StateDict, to_safetensors};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name).display().to_string()
}

fn pdarts(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("pdarts").unwrap();
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").args(["--log", "warn"]).args(arguments);
    command
}

/// What a call that succeeds logs by default.
fn log(arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("pdarts").unwrap();
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").args(arguments);
    String::from_utf8(command.assert().success().get_output().stderr.clone()).unwrap()
}

/// Standard output of a call that succeeds and complains of nothing.
fn stdout(arguments: &[&str]) -> String {
    String::from_utf8(pdarts(arguments).assert().success().stderr("").get_output().stdout.clone()).unwrap()
}

/// The one line of a call that ends with `code`.
fn refusal(code: i32, arguments: &[&str]) -> String {
    let output = pdarts(arguments).assert().code(code).stdout("").get_output().clone();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

/// A call of `pdarts eval` on the embedded images.
fn eval<'a>(checkpoint: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["eval", "--checkpoint", checkpoint, "--on", "photodigits", "--threads", "1"], more].concat()
}

fn out(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

/// What a safetensors file says about itself.
fn metadata(path: &Path) -> HashMap<String, String> {
    let bytes = fs::read(path).unwrap();
    SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap()
}

#[test]
fn figures_are_those_of_the_saved_logits() {
    let folder = TempDir::new().unwrap();
    let path = out(&folder, "logits.safetensors");
    let checkpoint = fixture("network-legacy.pth.tar");
    let more = ["--genotype", "PDARTS_C10", "--json", "--save-logits", path.to_str().unwrap(), "--global-batch", "96"];
    let figures: Value = serde_json::from_str(&stdout(&eval(&checkpoint, &more))).unwrap();
    let keys: Vec<&String> = figures.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["top1", "top5", "loss", "samples"]);

    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (logits, targets) = (file.tensor("logits").unwrap(), file.tensor("targets").unwrap());
    assert_eq!((logits.dtype(), logits.shape()), (Dtype::F32, &[500, 10][..]));
    assert_eq!((targets.dtype(), targets.shape()), (Dtype::I64, &[500][..]));
    let (logits, _) = logits.data().as_chunks::<4>();
    let logits: Vec<f32> = logits.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let (mut top1, mut top5) = (0, 0);
    for (row, target) in logits.chunks(10).zip(targets.data().as_chunks::<8>().0) {
        let target = i64::from_le_bytes(*target) as usize;
        let rank = row.iter().filter(|&&logit| logit > row[target]).count();
        top1 += u32::from(rank < 1);
        top5 += u32::from(rank < 5);
    }
    assert_eq!(figures["top1"], f64::from(top1) / 5.0);
    assert_eq!(figures["top5"], f64::from(top5) / 5.0);
    assert_eq!(figures["samples"], 500);
}

#[test]
fn text_has_every_class() {
    let text = stdout(&eval(&fixture("network-legacy.pth.tar"), &["--genotype", "PDARTS_C10"]));
    for class in ["zero", "nine"] {
        assert!(text.lines().any(|line| line.starts_with(class) && line.contains(" 50 ")), "{text}");
    }
    assert!(text.contains("photodigits, 500 test images: top-1 "), "{text}");
}

#[test]
fn exported_weights_say_their_cell_and_give_the_same_figures() {
    let folder = TempDir::new().unwrap();
    let (checkpoint, exported) = (fixture("network-legacy.pth.tar"), out(&folder, "weights.safetensors"));
    let exported = exported.to_str().unwrap();
    let line = stdout(&["export", "--checkpoint", &checkpoint, "--genotype", "PDARTS_C10", "--out", exported]);
    assert!(line.contains("324 tensors, "), "{line}");
    let before = stdout(&eval(&checkpoint, &["--genotype", "PDARTS_C10", "--json"]));
    assert_eq!(stdout(&eval(exported, &["--json"])), before);

    let plain = out(&folder, "plain.safetensors");
    let line = stdout(&["export", "--checkpoint", &checkpoint, "--out", plain.to_str().unwrap()]);
    assert!(line.contains("without --genotype it does not say of which cell it is"), "{line}");
    assert!(refusal(2, &eval(plain.to_str().unwrap(), &[])).contains("give --genotype"));
}

#[test]
fn auxiliary_head_without_its_last_batch_norm_is_told_of_and_not_used() {
    let folder = TempDir::new().unwrap();
    let (path, exported) = (out(&folder, "head.safetensors"), out(&folder, "exported.safetensors"));
    // As DARTS's head for ImageNet has it.
    changed(&path, |name, tensor| {
        (!name.contains("head.features.6.")).then(|| (name.to_owned(), tensor.shallow_clone()))
    });
    let (path, exported) = (path.to_str().unwrap(), exported.to_str().unwrap());
    let cell = ["--genotype", "PDARTS_C10"];
    let before = stdout(&eval(&fixture("network-legacy.pth.tar"), &[&cell[..], &["--json"]].concat()));
    assert_eq!(stdout(&eval(path, &[&cell[..], &["--json"]].concat())), before);
    let log = log(&[&["export", "--checkpoint", path, "--out", exported], &cell[..]].concat());
    let noted = "its auxiliary head does not fit, 4 tensors are missing (auxiliary_head.features.6.";
    assert_eq!(log.matches(noted).count(), 1, "{log}");
    assert_eq!(stdout(&eval(exported, &["--json"])), before);
    let metadata = metadata(Path::new(exported));
    let network: NetworkDescription = serde_json::from_str(&metadata["network"]).unwrap();
    assert!(!network.auxiliary_head && !metadata.contains_key("normalisation"));
    let tensors = StateDict::read(Path::new(exported)).unwrap().tensors;
    assert!(tensors.keys().all(|name| !name.starts_with("auxiliary_head.")), "{:?}", tensors.keys());
}

#[test]
fn images_are_normalised_as_the_weights_say() {
    let folder = TempDir::new().unwrap();
    let (path, exported) = (out(&folder, "weights.safetensors"), out(&folder, "exported.safetensors"));
    let state = StateDict::read(Path::new(&fixture("network-legacy.pth.tar"))).unwrap();
    let write = |normalisation: &str| {
        let metadata = HashMap::from([("normalisation".to_owned(), normalisation.to_owned())]);
        fs::write(&path, to_safetensors(&state.tensors, metadata).unwrap()).unwrap();
    };
    let cell = ["--genotype", "PDARTS_C10"];
    let figures = |path: &Path, more: &[&str]| stdout(&eval(path.to_str().unwrap(), &[more, &["--json"]].concat()));
    let usual = figures(Path::new(&fixture("network-legacy.pth.tar")), &cell);
    // Those of photodigits.
    write(r#"{"mean":[0.5492825,0.39209734,0.32124813],"std":[0.25804257,0.24089427,0.2565085]}"#);
    assert_eq!(figures(&path, &cell), usual);

    write(r#"{"mean":[0.5,0.25,0.125],"std":[0.5,0.5,0.5]}"#);
    let other = figures(&path, &cell);
    assert_ne!(other, usual);
    let export = ["export", "--checkpoint", path.to_str().unwrap(), "--out", exported.to_str().unwrap()];
    stdout(&[&export[..], &cell].concat());
    assert_eq!(figures(&exported, &[]), other);
    let log = log(&eval(exported.to_str().unwrap(), &[]));
    let expected = "trained on (mean [0.5, 0.25, 0.125], deviation [0.5, 0.5, 0.5]), not as photodigits (mean [0.549";
    assert_eq!(log.matches(expected).count(), 1, "{log}");

    write(r#"{"mean":[0.5,0.25,0.125],"std":[0.5,0.5,0]}"#);
    for command in [eval(path.to_str().unwrap(), &cell), [&export[..], &cell].concat()] {
        let line = refusal(2, &command);
        assert!(line.contains("damaged or cut off (its normalisation of images: mean [0.5, "), "{line}");
    }
}

#[test]
fn weights_that_do_not_fit_are_usage_errors() {
    let checkpoint = fixture("network-legacy.pth.tar");
    let line = refusal(2, &eval(&checkpoint, &["--genotype", "DARTS_V1"]));
    assert!(line.contains("another cell or network than the one given: 36 tensors are missing (cells."), "{line}");
    let line = refusal(2, &eval(&checkpoint, &["--genotype", "DARTS_V2"]));
    assert!(line.contains("has the shape [") && line.contains("], in the network ["), "{line}");
    let line = refusal(2, &eval(&checkpoint, &["--genotype", "PDARTS_C10", "--ema"]));
    assert!(line.contains("it has no averages; leave out --ema"), "{line}");
    let line = refusal(2, &eval(&fixture("hostile-legacy.pt"), &["--genotype", "PDARTS_C10"]));
    assert!(line.contains("`posix.system`, which is refused"), "{line}");
    let line = refusal(2, &eval("none.pt", &["--genotype", "PDARTS_C10"]));
    assert!(line.starts_with("error: none.pt: cannot be read"), "{line}");
    let run = TempDir::new().unwrap();
    std::fs::write(run.path().join("config.toml"), "[search]\n").unwrap();
    let line = refusal(2, &eval(run.path().to_str().unwrap(), &["--ema"]));
    assert!(line.contains("is the run of a search, which leaves a cell and no weights"), "{line}");
}

#[test]
fn data_that_does_not_fit_is_named() {
    let checkpoint = fixture("network-legacy.pth.tar");
    let folder = TempDir::new().unwrap();
    let eval =
        ["eval", "--checkpoint", &checkpoint, "--genotype", "PDARTS_C10", "--data", folder.path().to_str().unwrap()];
    let line = refusal(2, &eval);
    assert!(line.contains("CIFAR-10 is not in") && line.contains("(pdarts data fetch does that)"), "{line}");
    fs::create_dir(folder.path().join("cifar-100-binary")).unwrap();
    fs::write(folder.path().join("cifar-100-binary/test.bin"), vec![0; 3074 * 10_000]).unwrap();
    let line = refusal(2, &[&eval[..], &["--on", "cifar100"]].concat());
    assert!(line.contains("the network tells 10 classes apart, CIFAR-100 has 100: name another with --on"), "{line}");
}

/// A copy of the fixture's weights after `change`, which may leave tensors out.
fn changed(path: &Path, change: impl Fn(&str, &Tensor) -> Option<(String, Tensor)>) {
    let state = StateDict::read(Path::new(&fixture("network-legacy.pth.tar"))).unwrap();
    let tensors = state.tensors.iter().filter_map(|(name, tensor)| change(name, tensor)).collect();
    fs::write(path, to_safetensors(&tensors, HashMap::new()).unwrap()).unwrap();
}

#[test]
fn weights_that_are_no_numbers_are_a_failure_without_null() {
    let folder = TempDir::new().unwrap();
    let path = out(&folder, "nan.safetensors");
    changed(&path, |name, tensor| {
        let value = if name == "classifier.bias" { tensor * f64::NAN } else { tensor.shallow_clone() };
        Some((name.to_owned(), value))
    });
    let arguments = eval(path.to_str().unwrap(), &["--genotype", "PDARTS_C10", "--json"]);
    let output = pdarts(&arguments).assert().code(1).get_output().clone();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let figures: Value = serde_json::from_str(&stdout).unwrap();
    assert!(!stdout.contains("null") && figures.get("loss").is_none() && figures["without_answer"] == 500, "{stdout}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines[0].contains("1 tensor holds values that are infinite or not a number (classifier.bias)"), "{stderr}");
    assert!(lines[1].starts_with("error: ") && lines[1].contains("for 500 of 500 images"), "{stderr}");
    assert_eq!(lines.len(), 2, "{stderr}");
}

#[test]
fn averaged_model_is_evaluated_as_its_network() {
    let folder = TempDir::new().unwrap();
    let path = out(&folder, "averaged.safetensors");
    changed(&path, |name, tensor| Some((format!("module.model.{name}"), tensor.shallow_clone())));
    let more = ["--genotype", "PDARTS_C10", "--json"];
    let before = stdout(&eval(&fixture("network-legacy.pth.tar"), &more));
    assert_eq!(stdout(&eval(path.to_str().unwrap(), &more)), before);
}

#[test]
fn outputs_are_checked_before_the_work_and_never_replace_an_input() {
    let folder = TempDir::new().unwrap();
    let path = out(&folder, "weights.pth.tar");
    fs::copy(fixture("network-legacy.pth.tar"), &path).unwrap();
    std::os::unix::fs::symlink("weights.pth.tar", out(&folder, "link")).unwrap();
    let (before, path) = (fs::read(&path).unwrap(), path.to_str().unwrap());
    for name in ["weights.pth.tar", "link"] {
        let target = out(&folder, name);
        let more = ["--genotype", "PDARTS_C10", "--save-logits", target.to_str().unwrap()];
        let line = refusal(2, &eval(path, &more));
        assert!(line.contains("--save-logits") && line.contains("it is the input"), "{line}");
        let line = refusal(2, &["export", "--checkpoint", path, "--out", target.to_str().unwrap()]);
        assert!(line.contains("--out") && line.contains("it is the input"), "{line}");
    }
    let missing = out(&folder, "none/logits.safetensors");
    let more = ["--genotype", "PDARTS_C10", "--save-logits", missing.to_str().unwrap()];
    assert!(refusal(2, &eval(path, &more)).contains("there is no folder"));
    let more = ["--genotype", "PDARTS_C10", "--save-logits", folder.path().to_str().unwrap()];
    assert!(refusal(2, &eval(path, &more)).contains("it is a folder"));
    assert_eq!(fs::read(path).unwrap(), before);
}

#[test]
fn figures_are_printed_though_the_file_cannot_be_written() {
    let checkpoint = fixture("network-legacy.pth.tar");
    let arguments = eval(&checkpoint, &["--genotype", "PDARTS_C10", "--json", "--save-logits", "/dev/full"]);
    let output = pdarts(&arguments).assert().code(1).get_output().clone();
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["samples"], 500);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.starts_with("error: cannot write /dev/full: No space left on device"), "{line}");
    assert_eq!(line.lines().count(), 1);
}

/// A small ImageNet network of three classes, and its logits of images of one colour.
fn imagenet_network(path: &Path, colours: &[[u8; 3]]) -> Tensor {
    tch::manual_seed(3);
    let shape = NetworkShape { channels: 4, cells: 5, num_classes: 3, ..NetworkShape::imagenet() };
    let genotype = library::find("PDARTS_C10").unwrap().genotype;
    let description = NetworkDescription { genotype, shape, auxiliary_head: false };
    let network = description.build(Device::Cpu, Kind::Float).unwrap();
    let parameters = network.parameters();
    let tensors = parameters.trainable().iter().chain(parameters.statistics());
    let tensors = tensors.map(|tensor| (tensor.name.clone(), tensor.tensor.detach())).collect();
    fs::write(path, to_safetensors(&tensors, HashMap::new()).unwrap()).unwrap();
    let (mean, std) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    let images: Vec<f32> =
        colours.iter().flat_map(|colour| (0..3).map(|c| (f32::from(colour[c]) / 255.0 - mean[c]) / std[c])).collect();
    let images = Tensor::from_slice(&images).view([-1, 3, 1, 1]).expand([-1, 3, 224, 224], false).contiguous();
    tch::no_grad(|| network.forward(&images, NetworkMode::Evaluation)).unwrap().logits
}

#[test]
fn imagenet_is_evaluated_on_image_files() {
    let folder = TempDir::new().unwrap();
    let colours = [[10, 200, 30], [250, 5, 120], [0, 0, 255], [90, 91, 92]];
    let data = folder.path().join("data");
    for (index, (class, size)) in
        [("n1", (300, 260)), ("n1", (224, 500)), ("n2", (40, 50)), ("n3", (256, 256))].iter().enumerate()
    {
        let path = data.join("val").join(class);
        fs::create_dir_all(&path).unwrap();
        let image = image::RgbImage::from_pixel(size.0, size.1, image::Rgb(colours[index]));
        image.save(path.join(format!("{index}.png"))).unwrap();
    }
    let (checkpoint, logits_path) = (out(&folder, "network.safetensors"), out(&folder, "logits.safetensors"));
    let expected = imagenet_network(&checkpoint, &colours);
    let arguments = ["eval", "--checkpoint", checkpoint.to_str().unwrap(), "--genotype", "PDARTS_C10"];
    let arguments = [&arguments[..], &["--threads", "1", "--data", data.to_str().unwrap()]].concat();
    let more = ["--global-batch", "3", "--json", "--save-logits", logits_path.to_str().unwrap()];
    let figures: Value = serde_json::from_str(&stdout(&[&arguments[..], &more].concat())).unwrap();
    assert_eq!(figures["samples"], 4);
    let logits = Tensor::read_safetensors(&logits_path).unwrap();
    let found = |name: &str| &logits.iter().find(|(found, _)| found == name).unwrap().1;
    assert_eq!(Vec::<i64>::try_from(found("targets")).unwrap(), [0, 0, 1, 2]);
    assert!((found("logits") - expected).abs().max().double_value(&[]) < 1e-4);

    let text = stdout(&[&arguments[..], &["--on", "imagenet"]].concat());
    assert!(text.contains("\nn2") && text.contains("the image folder, 4 test images: top-1 "), "{text}");
    let line = refusal(2, &[&arguments[..], &["--on", "photodigits"]].concat());
    assert!(
        line.contains("the network is for images of 224 pixels, those of photodigits have 32: name another"),
        "{line}"
    );
    fs::remove_dir_all(data.join("val/n3")).unwrap();
    let line = refusal(2, &arguments);
    assert!(line.contains("3 classes apart, the image folder has 2: name another with --data"), "{line}");
    fs::remove_dir_all(&data).unwrap();
    let moved = format!("{} cannot be read (No such file", data.display());
    let line = refusal(2, &arguments);
    assert!(line.contains(&moved) && line.trim_end().ends_with("the images are in with --data"), "{line}");
    let line = refusal(2, &["bench", "loader", "--data", data.to_str().unwrap()]);
    assert!(line.contains(&moved) && line.contains("--data"), "{line}");
}

#[test]
fn fetch_without_a_server_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().to_str().unwrap();
    // Nobody listens on the port of the discard protocol.
    let line = refusal(1, &["data", "fetch", "cifar10", "--dir", dir, "--url", "http://127.0.0.1:9"]);
    assert!(line.contains("cannot reach http://127.0.0.1:9/cifar-10-binary.tar.gz ("), "{line}");
    assert!(line.contains(&format!("put cifar-10-binary.tar.gz into {dir}")), "{line}");
}

#[test]
fn help_has_examples() {
    for command in [&["eval"][..], &["export"], &["results"], &["data", "fetch"]] {
        assert!(stdout(&[command, &["--help"]].concat()).contains("Examples:\n  pdarts "), "{command:?}");
    }
}
