//! Weights of a training that has ended, under a new schedule and in `pdarts eval`.

use std::fs;

use crate::program::json;
use crate::training::{RESUME, complete_training};

#[test]
fn complete_training_goes_on_from_its_weights_under_a_new_schedule() {
    let folder = complete_training();
    let line = folder.refusal(&[&RESUME[..], &["--set", "train.epochs=9"]].concat(), 2);
    assert!(
        line.contains("train.epochs: the run was begun with 2, now 9 was given")
            && line.contains("pdarts train --from run"),
        "{line}"
    );

    // Without a step to speak of, the weights are those that it began with.
    let further = ["--config", "train.toml", "--from", "run", "--out", "further", "--set", "train.epochs=1"];
    folder.run(&[&further[..], &["--set", "optimizer.learning_rate=1e-12"]].concat());
    assert!(folder.path("further/initial-weights.safetensors").is_file());
    assert_eq!(json(&folder.path("further/genotype.json"))["name"], "PDARTS_C10");
    let weights = |run: &str| {
        let file = folder.path(run).join("weights.safetensors");
        let tensors = tch::Tensor::read_safetensors(file).unwrap();
        tensors.into_iter().find(|(name, _)| name == "classifier.weight").unwrap().1
    };
    let difference = (weights("run") - weights("further")).abs().max().double_value(&[]);
    assert!(difference < 1e-6, "{difference}");

    // A head that is not whole, or that the network has not, keeps nobody from going on.
    let mut state = pdarts::weights::StateDict::read(&folder.path("run/weights.safetensors")).unwrap();
    state.tensors.retain(|name, _| !name.starts_with("auxiliary_head.features.6."));
    let headless = pdarts::weights::to_safetensors(&state.tensors, state.metadata.clone()).unwrap();
    fs::write(folder.path("headless.safetensors"), headless).unwrap();
    for (from, has_head, noted) in [
        (
            "headless.safetensors",
            "true",
            "its auxiliary head does not fit, 4 tensors are missing (auxiliary_head.features.6.",
        ),
        ("run", "false", "its auxiliary head is left out, as model.auxiliary_head is false"),
    ] {
        let head = format!("model.auxiliary_head={has_head}");
        let call = ["train", "--config", "train.toml", "--from", from, "--dry-run", "--set", &head];
        let output = folder.command(&call).output().unwrap();
        let (_, log) = crate::program::texts(&output);
        assert!(output.status.success() && log.matches(noted).count() == 1, "{log}");
    }

    let bias = state.tensors.get_mut("classifier.bias").unwrap();
    *bias = &*bias * f64::NAN;
    let broken = pdarts::weights::to_safetensors(&state.tensors, state.metadata.clone()).unwrap();
    fs::write(folder.path("broken.safetensors"), broken).unwrap();
    let line = folder.refusal(&["--config", "train.toml", "--from", "broken.safetensors", "--out", "other"], 2);
    let expected =
        "broken.safetensors: 1 tensor holds values that are infinite or not a number (classifier.bias): take a ";
    assert!(line.starts_with(expected), "{line}");

    let other = ["--config", "train.toml", "--from", "run", "--out", "other", "--set", "model.channels=6"];
    let line = folder.refusal(&other, 2);
    assert!(line.starts_with("run/weights.safetensors: its weights are of another cell or network"), "{line}");
    fs::create_dir_all(folder.path("begun")).unwrap();
    fs::copy(folder.path("run/config.toml"), folder.path("begun/config.toml")).unwrap();
    for cell in [&[][..], &["--genotype", "PDARTS_C10"]] {
        let from = ["--config", "train.toml", "--from", "begun", "--out", "other"];
        let line = folder.refusal(&[&from[..], cell].concat(), 2);
        assert_eq!(line, "begun has not ended, so it has no weights yet: go on with pdarts train --resume begun");
    }
    assert!(!folder.path("other").exists());
}

#[test]
fn evaluation_takes_the_data_set_of_the_run() {
    let folder = complete_training();
    for checkpoint in ["run", "run/weights.safetensors"] {
        let output =
            folder.command(&["--log", "error", "eval", "--checkpoint", checkpoint, "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(figures["top1"], json(&folder.path("run/summary.json"))["test"]["top1"], "{checkpoint}");
    }
    let output = folder.command(&["search", "--resume", "run"]).output().unwrap();
    let line = folder.error_line(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(line, "run is the run of a training: go on with pdarts train --resume run");
    fs::remove_dir_all(folder.path("run/checkpoints")).unwrap();
    let line = folder.refusal(&RESUME, 2);
    assert!(line.contains("train its weights on with pdarts train --from run"), "{line}");
}
