//! Retraining on several ranks: the course of one rank, the same twice, resumed as uninterrupted.

use std::fs;

use serde_json::Value;

use crate::program::{Outcome, json, step_lines};
use crate::training::{RESUME, START, folder};

/// With BatchNorm over all ranks and nothing random in the network, ranks must do what one rank does.
const COMPARABLE: [&str; 6] =
    ["--set", "model.batch_norm=sync", "--set", "train.drop_path=0", "--set", "optimizer.learning_rate=0.001"];

fn figures(run: &std::path::Path, key: &str) -> Vec<f64> {
    step_lines(run).iter().map(|line| line[key].as_f64().unwrap()).collect()
}

#[test]
fn ranks_have_the_losses_of_one_rank() {
    let folder = folder();
    fn arguments(out: &str) -> Vec<&str> {
        [&START[..4], &["--out", out], &COMPARABLE].concat()
    }
    folder.run(&arguments("one"));
    for num_ranks in [2, 4] {
        let out = format!("ranks{num_ranks}");
        folder.search_on_ranks(num_ranks, &arguments(&out));
        for key in ["train_loss", "train_top1"] {
            let (ours, theirs) = (figures(&folder.path(&out), key), figures(&folder.path("one"), key));
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!((ours - theirs).abs() < 1e-3 * theirs.max(1.0), "{num_ranks} ranks, {key}: {ours}, {theirs}");
            }
        }
        let summary = json(&folder.path(&out).join("summary.json"));
        assert_eq!((&summary["ranks"], &summary["communicator"]), (&Value::from(num_ranks), &Value::from("mpi")));
    }
}

#[test]
fn stopped_ranks_resume_as_if_nothing_had_been() {
    let folder = folder();
    folder.search_on_ranks(2, &START);
    fs::rename(folder.path("run"), folder.path("uninterrupted")).unwrap();
    let mut process = folder.start_held(folder.ranks_command(2, &START), "run", 2);
    process.signal_launcher("USR1");
    assert!(!process.end().status.success());
    folder.search_on_ranks(2, &RESUME);
    Outcome::of(&folder.path("run")).assert_same(&Outcome::of(&folder.path("uninterrupted")));
}
