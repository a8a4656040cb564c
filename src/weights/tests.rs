//! Weight files that Python wrote (`tests/fixtures/weights`), and files that nobody should have written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::SafeTensors;
use tch::{Kind, Tensor};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn read(name: &str) -> StateDict {
    StateDict::read(&folder().join(name)).unwrap()
}

/// The message without the folder; one line.
fn refusal(name: &str) -> String {
    let message = StateDict::read(&folder().join(name)).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message.replace(&format!("{}/", folder().display()), "")
}

fn refusal_of(bytes: &[u8]) -> String {
    StateDict::from_bytes(bytes).unwrap_err().to_string()
}

fn elements(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Compares with `expected.safetensors`, read by the crate alone.
fn assert_expected(state: &StateDict) {
    let expected = bytes("expected.safetensors");
    let expected = SafeTensors::deserialize(&expected).unwrap();
    assert_eq!(state.tensors.len(), expected.len());
    for (name, view) in expected.iter() {
        let tensor = &state.tensors[name];
        assert_eq!(kinds::to_safetensors(tensor.kind()), Some(view.dtype()), "{name}");
        assert_eq!(tensor.size(), view.shape().iter().map(|&size| size as i64).collect::<Vec<_>>(), "{name}");
        assert_eq!(elements(tensor), view.data(), "{name}");
    }
}

#[test]
fn every_format_and_protocol_gives_the_tensors_that_were_saved() {
    for (name, format) in [
        ("zip.pt", Format::TorchZip),
        ("legacy.pt", Format::TorchLegacy),
        ("zip-protocol4.pt", Format::TorchZip),
        ("zip-protocol5.pt", Format::TorchZip),
        ("checkpoint-zip.pth.tar", Format::TorchZip),
        ("checkpoint-legacy.pth.tar", Format::TorchLegacy),
        ("expected.safetensors", Format::Safetensors),
    ] {
        let state = read(name);
        assert_eq!(state.format, format, "{name}");
        assert_expected(&state);
    }
}

#[test]
fn place_and_prefix_of_the_state_dict_are_reported() {
    let state = read("checkpoint-legacy.pth.tar");
    assert_eq!((state.found_in.join("."), state.prefix.as_str()), ("state_dict".to_owned(), "module."));
    let expected = "torch.save (before PyTorch 1.6), 18 tensors in \"state_dict\", names without \"module.\"";
    assert_eq!(state.to_string(), expected);
    assert_eq!(read("zip.pt").to_string(), "torch.save (zip), 18 tensors");
}

#[test]
fn numbers_beside_the_state_dict_are_kept() {
    for name in ["checkpoint-zip.pth.tar", "checkpoint-legacy.pth.tar", "zip-protocol5.pt"] {
        let metadata = read(name).metadata;
        assert_eq!(metadata["epoch"], "250", "{name}");
        assert_eq!((metadata["best_acc_top5"].as_str(), metadata["best_epoch"].as_str()), ("92.5", "249"), "{name}");
    }
}

#[test]
fn tensors_that_shared_a_storage_still_do() {
    for name in ["zip.pt", "legacy.pt"] {
        let tensors = read(name).tensors;
        let address = |name: &str| tensors[name].data_ptr() as usize;
        assert_eq!(address("layout.row") - address("layout.whole"), 6 * 4);
        assert_eq!(tensors["layout.columns"].stride(), [6, 2]);
        assert_eq!(tensors["layout.expanded"].stride(), [0, 1]);
    }
}

#[test]
fn stream_of_2017_is_read() {
    let state = read("python2.pt");
    let values = |name: &str| Vec::<f32>::try_from(state.tensors[name].contiguous().view(-1)).unwrap();
    assert_eq!(state.tensors["whole"].size(), [3, 2]);
    assert_eq!(values("whole"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(values("part"), [3.0, 4.0]);
}

#[test]
fn commands_in_a_pickle_are_refused_by_name_and_not_run() {
    for (name, object) in [
        ("hostile-system-protocol2.pt", "posix.system"),
        ("hostile-system-protocol4.pt", "posix.system"),
        ("hostile-exec-protocol2.pt", "__builtin__.exec"),
        ("hostile-exec-protocol4.pt", "builtins.exec"),
        ("hostile-legacy.pt", "posix.system"),
    ] {
        let expected = format!(
            "{name}: it holds the Python object `{object}`, which is refused, for unpickling it could run any code \
             (nothing was run); save only the weights: torch.save(model.state_dict(), FILE)"
        );
        assert_eq!(refusal(name), expected);
    }
}

#[test]
fn whole_module_is_refused_with_what_to_save_instead() {
    for name in ["module-zip.pt", "module-legacy.pt"] {
        let message = refusal(name);
        assert!(message.contains("`torch.nn.modules.linear.Linear`"), "{message}");
        assert!(message.contains("torch.save(model.state_dict(), FILE)"), "{message}");
    }
}

#[test]
fn other_files_are_called_by_their_name() {
    let deflated = refusal("deflated.pt");
    assert!(deflated.starts_with("deflated.pt: a zip archive with compressed or encrypted files"), "{deflated}");
    assert!(refusal("none.pt").starts_with("none.pt: cannot be read (No such file"));
    let keys = "its dictionary has no tensors, also not under `state_dict` (keys: epoch, lr)";
    assert_eq!(refusal("no-tensors.pt"), format!("no-tensors.pt: there is no state dict in it: {keys}"));
    let pickle = refusal("pickle.pkl");
    assert!(pickle.contains("a pickle that torch.save did not write (in Python: torch.save(pickle.load("), "{pickle}");
    for (content, name) in [
        (&b""[..], "it is empty"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"(dp0\nS'weight'\n", "a pickle that torch.save did not write"),
        (b"ccollections\nOrderedDict\n", "a pickle that torch.save did not write"),
        (b"weights", "in an unknown format"),
    ] {
        assert!(refusal_of(content).contains(name), "{}", refusal_of(content));
    }
}

/// The stream whose object is the pickle `object`, without storages.
fn stream(object: &[u8]) -> Vec<u8> {
    let legacy = bytes("legacy.pt");
    let start = legacy.windows(2).enumerate().filter(|(_, two)| two == b"\x80\x02").nth(3).unwrap().0;
    [&legacy[..start], object, b"\x80\x02]."].concat()
}

#[test]
fn lengths_that_the_file_does_not_have_take_no_memory() {
    let length = u64::MAX.to_le_bytes();
    for code in [b"\x8d", b"\x8e", b"\x96"] {
        let message = refusal_of(&stream(&[&b"\x80\x04"[..], code, &length].concat()));
        assert!(message.contains("promises 18446744073709551615 more bytes"), "{message}");
    }
    for code in [b"X", b"B", b"T", b"\x8b"] {
        assert!(refusal_of(&stream(&[&code[..], &[0xff; 4]].concat())).contains("promises 4294967295 more bytes"));
    }
    let mut header = (u64::MAX / 2).to_le_bytes().to_vec();
    header.extend(b"{\"a\": 1}");
    assert!(refusal_of(&header).starts_with("damaged or cut off"));
}

/// A dictionary with a tensor of this many elements in a storage of as many, of which the file has none.
fn claimed_tensor(elements: u32, size: &[u8], stride: &[u8]) -> Vec<u8> {
    let storage =
        [&b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ"[..], &elements.to_le_bytes()];
    let tensor = [&b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor\n("[..], &storage.concat(), b"tQK\0", size, stride];
    [&tensor.concat()[..], b"tRs."].concat()
}

#[test]
fn tensors_larger_than_their_file_are_refused() {
    // No storage at all; the storage's elements run backwards; four billion elements of one.
    let missing = claimed_tensor(1 << 30, b"J\0\0\0\x40\x85", b"K\x01\x85");
    assert!(refusal_of(&stream(&missing)).contains("storage 0 is missing"));
    let negative = claimed_tensor(1 << 31, b"K\x01\x85", b"K\x01\x85");
    assert!(refusal_of(&stream(&negative)).contains("the size of storage 0 is impossible"));
    let expanded = claimed_tensor(1, b"J\xff\xff\xff\x7f\x85", b"K\0\x85");
    let mut file = stream(&expanded);
    file.truncate(file.len() - 4);
    file.extend(b"\x80\x02]X\x01\0\0\x000a.\x01\0\0\0\0\0\0\0\0\0\x80\x3f");
    assert!(refusal_of(&file).contains("its tensors claim 8589934588 bytes"), "{}", refusal_of(&file));
}

#[test]
fn values_that_contain_themselves_or_copy_without_end_are_refused() {
    let own = stream(b"\x80\x02}q\0X\x05\0\0\0modelh\0s.");
    assert!(refusal_of(&own).contains("there is no state dict in it"), "{}", refusal_of(&own));
    // A list of a thousand values, made into a dictionary's copy or a tuple's, again and again.
    let thousand = [&b"\x80\x02("[..], &b"K\0".repeat(1000), b"tq\0"].concat();
    let copies = stream(&[&thousand[..], &b"ctorch\nSize\nh\0\x85R".repeat(10_000), b"."].concat());
    assert!(refusal_of(&copies).contains("more than 8000000 values"), "{}", refusal_of(&copies));
}

#[test]
fn written_safetensors_read_back_equal() {
    let state = read("zip.pt");
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = StateDict::from_bytes(&to_safetensors(&state.tensors, metadata).unwrap()).unwrap();
    assert_expected(&written);
    assert_eq!(written.metadata["format"], "pt");
}

#[test]
fn type_that_safetensors_lacks_is_named() {
    let tensors = [("x".to_owned(), Tensor::zeros([1], (Kind::ComplexDouble, tch::Device::Cpu)))].into();
    let message = to_safetensors(&tensors, HashMap::new()).unwrap_err().to_string();
    assert_eq!(message, "x is of type ComplexDouble, which safetensors does not have");
}

const FILES: [&str; 7] = [
    "zip.pt",
    "legacy.pt",
    "python2.pt",
    "zip-protocol4.pt",
    "checkpoint-zip.pth.tar",
    "checkpoint-legacy.pth.tar",
    "expected.safetensors",
];

/// Reads `bytes`, and every tensor in it.
fn touch(bytes: &[u8]) {
    match StateDict::from_bytes(bytes) {
        Ok(state) => drop(state.tensors.values().map(elements).collect::<Vec<_>>()),
        Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn truncated_file_is_an_error(file in prop::sample::select(&FILES[..]), keep in 0.0..1.0f64) {
        let bytes = bytes(file);
        let length = (bytes.len() as f64 * keep) as usize;
        prop_assert!(StateDict::from_bytes(&bytes[..length]).is_err());
    }

    #[test]
    fn corrupted_file_is_an_error_or_other_tensors(
        file in prop::sample::select(&FILES[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = bytes(file);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        touch(&bytes);
    }

    #[test]
    fn any_pickle_is_an_error_or_a_value(
        pickle in prop::collection::vec(prop::sample::select(&b"\x80\x02(.012qrhj\x94)t\x85\x86\x87]ael}sudc\x93RbQNKXU\0\x01\n"[..]), 0..60),
    ) {
        touch(&stream(&pickle));
    }
}

/// A network's tensors under names that `wrap` makes of theirs, with others beside them.
fn wrapped(wrap: impl Fn(&str) -> Vec<String>, beside: &[&str]) -> StateDict {
    let one = || Tensor::from_slice(&[1.0f32, 2.0]);
    let own = ["stem.0.weight", "cells.0.preprocess0.op.1.weight", "classifier.weight"];
    let mut tensors: std::collections::BTreeMap<String, Tensor> =
        own.iter().flat_map(|name| wrap(name)).map(|name| (name, one())).collect();
    tensors.extend(beside.iter().map(|name| ((*name).to_owned(), Tensor::from_slice(&[3i64]))));
    StateDict::from_bytes(&to_safetensors(&tensors, HashMap::new()).unwrap()).unwrap()
}

#[test]
fn names_are_those_of_the_network_whatever_wrapped_it() {
    let own = ["cells.0.preprocess0.op.1.weight", "classifier.weight", "stem.0.weight"];
    for prefix in [
        "module.",
        "model.",
        "_orig_mod.",
        "module.module.",
        "module._orig_mod.",
        "model.module.",
        "net.",
        "ema.",
        "module.ema_model.",
        "averaged_model.module.",
        "student.",
    ] {
        let state = wrapped(|name| vec![format!("{prefix}{name}")], &[]);
        assert_eq!(state.tensors.keys().collect::<Vec<_>>(), own, "{prefix}");
        assert_eq!(state.prefix, prefix);
    }
    // Of `torch.optim.swa_utils.AveragedModel`, and of others that count.
    for counter in ["n_averaged", "module.n_averaged", "num_updates", "initted"] {
        let state = wrapped(|name| vec![format!("module.{name}")], &[counter]);
        assert_eq!(state.tensors.keys().collect::<Vec<_>>(), own, "{counter}");
    }
}

#[test]
fn network_is_told_from_its_average_and_from_other_modules() {
    let both = |name: &str| vec![format!("model.{name}"), format!("model_ema.module.{name}")];
    let mut state = wrapped(both, &["criterion.weights_of_classes", "global_counter"]);
    assert_eq!(
        state.to_string(),
        "safetensors, 6 tensors, names without \"model.\", without 2 others that are not of the network"
    );
    assert!(state.tensors.contains_key("stem.0.weight") && state.tensors.contains_key("ema.stem.0.weight"));
    assert!(state.take_averages());
    assert_eq!(state.tensors.len(), 3);

    let mut state = read("averages.pt");
    assert_eq!(Vec::<f32>::try_from(&state.tensors["classifier.weight"]).unwrap(), [1.0, 2.0]);
    assert_eq!(state.metadata["epoch"], "3");
    assert!(state.take_averages());
    assert_eq!(Vec::<f32>::try_from(&state.tensors["classifier.weight"]).unwrap(), [3.0, 4.0]);
    assert_eq!(state.tensors.len(), 2);
}

#[test]
fn tensors_with_values_that_are_no_numbers_are_named() {
    let tensors = [("a", f32::NAN), ("b", 1.0), ("c", f32::NEG_INFINITY)];
    let tensors = tensors.map(|(name, value)| (name.to_owned(), Tensor::from_slice(&[0.0, value, 1e38, -1e38])));
    let state = StateDict::from_bytes(&to_safetensors(&tensors.into(), HashMap::new()).unwrap()).unwrap();
    assert_eq!(state.non_finite(), ["a", "c"]);
}
