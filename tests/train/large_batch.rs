//! Steps of 8192 images on one rank: with accumulated gradients memory follows from the size of a part.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::program::image_tree::{CLASSES, ImageTree};
use crate::program::{Folder, json, step_lines, texts};

/// The most memory that the run may have resident: some 200 MiB are needed, and twice as many in one part.
const MOST_MIB: u64 = 320;

const CONFIG: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

[data]
dataset = "images"
dir = "tree"
image_size = 32
crop_area = [0.3, 1.0]
cutout = 0
loader_threads = 2

[model]
network = "imagenet"
channels = 2
cells = 3
auxiliary_head = false

[train]
global_batch = 8192
accumulate_steps = 64
epochs = 2
drop_path = 0.0
"#;

/// 8200 images in ten classes: 20 files of each, with 40 more names each.
fn write_tree(dir: &Path) {
    ImageTree { train_images: 20, validation_images: 1, sides: [64, 64] }.write(dir).unwrap();
    for class in CLASSES {
        let folder = dir.join("train").join(class);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            (0..40).for_each(|copy| fs::hard_link(&file, folder.join(format!("{copy}_{name}"))).unwrap());
        }
    }
}

/// The most memory that a process has had resident so far, in MiB; none of one that is gone.
fn peak_mib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? / 1024)
}

#[test]
fn two_steps_of_8192_images_need_the_memory_of_their_parts() {
    let folder = Folder::with("train", CONFIG);
    write_tree(&folder.path("tree"));
    let mut training = folder.start(&["--config", "train.toml", "--genotype", "PDARTS_C10", "--out", "run"]);
    let mut peak = 0;
    while !training.has_ended() {
        peak = peak.max(peak_mib(training.id()).unwrap_or(0));
        thread::sleep(Duration::from_millis(10));
    }
    let output = training.end();
    assert!(output.status.success(), "{}", texts(&output).1);
    assert_eq!(step_lines(&folder.path("run")).len(), 2);
    assert_eq!(json(&folder.path("run/summary.json"))["epochs"], 2);
    println!("peak memory {peak} MiB");
    assert!((50..MOST_MIB).contains(&peak), "{peak} MiB");
}
