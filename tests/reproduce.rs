//! `launch/reproduce.sh`: from a search to the table of results, each part once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use tempfile::TempDir;

/// A search and trainings of seconds.
const SEARCH_FLAGS: &str = "--set run.threads=1 --set data.limit=64 --set model.channels=4 --set search.global_batch=8 \
                            --set search.epochs=2 --set search.alpha_start_epoch=1 --set search.stages.0.cells=3 \
                            --set search.stages.1.cells=3 --set search.stages.2.cells=3";
const TRAIN_FLAGS: &str = "--set run.threads=1 --set data.limit=64 --set model.channels=4 --set model.cells=3 \
                           --set model.auxiliary_head=false --set train.global_batch=8 --set train.epochs=2";

struct Folder(TempDir);

impl Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn reproduce(&self) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("launch/reproduce.sh");
        let output = Command::new(script)
            .env("PDARTS", env!("CARGO_BIN_EXE_pdarts"))
            .env("OUT", self.0.path())
            .env("SEEDS", "4,5")
            .env("SEARCH_FLAGS", SEARCH_FLAGS)
            .env("TRAIN_FLAGS", TRAIN_FLAGS)
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn written(&self, name: &str) -> SystemTime {
        fs::metadata(self.path(name)).unwrap().modified().unwrap()
    }

    fn starts(&self, run: &str) -> usize {
        fs::read_to_string(self.path(run).join("environment.jsonl")).unwrap().lines().count()
    }
}

#[test]
fn every_part_runs_once_and_a_stopped_one_goes_on() {
    let folder = Folder(TempDir::new().unwrap());
    let output = folder.reproduce();
    let table = String::from_utf8(output.stdout).unwrap();
    let results = fs::read_to_string(folder.path("results.md")).unwrap();
    let row = results.lines().find(|line| line.contains("photodigits")).unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!((cells[2], cells[3], cells[5]), ("photodigits", "photodigits", "2"), "{row}");
    assert!(cells[4].contains(" ± ") && cells[8].ends_with("min, cpu (1 threads)"), "{row}");
    assert!(table.contains("P-DARTS, searched on CIFAR-10 (published)"), "{table}");

    // As a stop before the end of the second training leaves it.
    let search = folder.written("search/summary.json");
    let first_training = folder.written("train/seed4/summary.json");
    fs::remove_file(folder.path("train/summary.json")).unwrap();
    fs::remove_file(folder.path("train/seed5/summary.json")).unwrap();
    let messages = String::from_utf8(folder.reproduce().stderr).unwrap();
    assert!(messages.contains("search is complete") && messages.contains("train goes on"), "{messages}");
    assert_eq!(folder.written("search/summary.json"), search);
    assert_eq!(folder.written("train/seed4/summary.json"), first_training);
    assert_eq!((folder.starts("search"), folder.starts("train/seed4"), folder.starts("train/seed5")), (1, 1, 2));
    // The times of the second start are others; the accuracies are not.
    let repeated = fs::read_to_string(folder.path("results.md")).unwrap();
    let repeated = repeated.lines().find(|line| line.contains("photodigits")).unwrap();
    assert_eq!(repeated.split('|').nth(4), row.split('|').nth(4));
}
