//! `pdarts eval` on several ranks, which share the images: what one rank finds, in the same order.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::program::{Folder, texts};

/// The figures and the tensors of an evaluation of a small network on the embedded images.
fn evaluated(num_ranks: usize, global_batch: &str) -> (Value, Vec<f32>, Vec<u8>) {
    let folder = Folder::with("eval", "");
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/network-legacy.pth.tar");
    let checkpoint = checkpoint.display().to_string();
    let mut arguments = vec!["--checkpoint", &checkpoint, "--genotype", "PDARTS_C10", "--on", "photodigits"];
    arguments.extend(["--threads", "1", "--json", "--save-logits", "logits", "--global-batch", global_batch]);
    let output = folder.ranks_command(num_ranks, &arguments).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stderr.is_empty(), "{num_ranks} ranks: {stderr}");
    let bytes = fs::read(folder.path("logits")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (logits, targets) = (file.tensor("logits").unwrap(), file.tensor("targets").unwrap());
    assert_eq!((logits.shape(), targets.shape()), (&[500, 10][..], &[500][..]));
    let logits = logits.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    (serde_json::from_str(&stdout).unwrap(), logits, targets.data().to_vec())
}

#[test]
fn ranks_find_what_one_rank_finds() {
    let (figures, logits, targets) = evaluated(1, "96");
    // Of the last batch of 499 and one image, all ranks but one get nothing.
    for (num_ranks, global_batch) in [(2, "96"), (3, "50"), (2, "499")] {
        let (found, found_logits, found_targets) = evaluated(num_ranks, global_batch);
        for key in ["top1", "top5", "samples"] {
            assert_eq!(found[key], figures[key], "{num_ranks} ranks, {key}");
        }
        assert!(found_targets == targets);
        let difference = found_logits.iter().zip(&logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference <= 1e-5, "{num_ranks} ranks: {difference}");
    }
}

#[test]
fn fewer_images_at_a_time_than_ranks_are_refused_once() {
    let folder = Folder::with("eval", "");
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/network-legacy.pth.tar");
    let checkpoint = checkpoint.display().to_string();
    let arguments = ["--checkpoint", &checkpoint, "--genotype", "PDARTS_C10", "--on", "photodigits"];
    let output = folder.ranks_command(2, &[&arguments[..], &["--global-batch", "1"]].concat()).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(!output.status.success() && stdout.is_empty(), "{stdout}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(
        errors,
        ["error: a global batch of 1 is smaller than the number of ranks (2): each needs at least one image"]
    );
}
