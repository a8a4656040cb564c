//! Searches that cannot begin, or not go on: one line, an exit code, and no run directory.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::program::Folder;

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];

/// The line with which a search with these further arguments is refused before there is a run directory.
fn refusal(folder: &Folder, further: &[&str], code: i32) -> String {
    let line = folder.refusal(&[&START, further].concat(), code);
    assert!(!folder.path("run").exists());
    line
}

#[test]
fn impossible_configuration_names_place_and_key() {
    let folder = Folder::new();
    for (change, part) in [
        ("search.epoch=3", "unknown key `search.epoch`; did you mean `search.epochs`?"),
        ("search.epochs=many", "search.epochs"),
        ("search.epochs=-1", "search.epochs"),
        ("run.threads=100000", "run.threads: 100000 are too many"),
        ("model.channels=0", "model.channels: a reduction cannot halve 0 channels"),
        ("model.channels=5", "model.channels: a reduction cannot halve 5 channels"),
        ("search.stages.0.keep=9", "search.stages.0.keep: the stage starts with 5 operations"),
        ("search.stages.0.cells=2", "search.stages.0.cells: 2 cells are too few"),
        ("data.dataset=mnist", "data.dataset"),
        ("search.operations=[\"conv_9x9\"]", "conv_9x9"),
        ("no_assignment", "expected KEY=VALUE"),
    ] {
        let line = refusal(&folder, &["--set", change], 2);
        assert!(line.starts_with(&format!("--set {change}: ")) && line.contains(part), "{line}");
    }
    let line = refusal(&folder, &["--set", "search.global_batch=17"], 2);
    assert!(line.contains("search.global_batch: a batch of 17 is larger than a part of the split"), "{line}");
    let line = refusal(&folder, &["--set", "data.limit=5000"], 2);
    assert!(line.contains("data.limit: the training set has 2200 images, not 5000"), "{line}");
}

#[test]
fn mistake_in_the_file_is_named_with_its_line() {
    let folder = Folder::new();
    let config = fs::read_to_string(folder.path("search.toml")).unwrap();
    let line_of = |text: &str| 1 + config.lines().position(|line| line == text).unwrap();
    for (right, wrong, part) in [
        ("epochs = 2", "epoch = 2", "unknown key `search.epoch`; did you mean `search.epochs`?"),
        ("channels = 4", "channels = \"four\"", "model.channels"),
        ("channels = 4", "channels = 3", "model.channels: a reduction cannot halve 3 channels"),
        ("keep = 3", "keep = 9", "search.stages.0.keep: the stage starts with 5 operations"),
        ("global_batch = 4", "global_batch = ", "invalid TOML"),
    ] {
        fs::write(folder.path("wrong.toml"), config.replacen(right, wrong, 1)).unwrap();
        let line = folder.refusal(&["--config", "wrong.toml"], 2);
        let place = format!("wrong.toml:{}: ", line_of(right));
        assert!(line.starts_with(&place) && line.contains(part), "{line}");
    }
    let line = folder.refusal(&["--config", "none.toml"], 2);
    assert!(line.starts_with("cannot read the config none.toml: No such file"), "{line}");
    assert!(!folder.path("runs").exists());
}

#[test]
fn missing_cifar_says_what_to_download_and_where_to_put_it() {
    let folder = Folder::new();
    for (dataset, name, archive) in [
        ("cifar10", "CIFAR-10", "cifar-10-binary.tar.gz or cifar-10-python.tar.gz"),
        ("cifar100", "CIFAR-100", "cifar-100-binary.tar.gz or cifar-100-python.tar.gz"),
    ] {
        let set = format!("data.dataset={dataset}");
        let line = refusal(&folder, &["--data", "images", "--set", &set], 2);
        let expected = format!(
            "{name} is not in images (No such file or directory (os error 2)): download {archive} and put the file, or the folder unpacked from it, into images \
             (pdarts data fetch does that), or name the folder that it is in with --data"
        );
        assert_eq!(line, expected);
    }
}

/// Files of the right size without a single image.
fn write_black_cifar(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for number in 1..=5 {
        let file = File::create(folder.join(format!("data_batch_{number}.bin"))).unwrap();
        file.set_len(30_730_000).unwrap();
    }
}

#[test]
fn damaged_cifar_is_named_with_what_is_wrong() {
    let folder = Folder::new();
    let images = folder.path("images/cifar-10-batches-bin");
    write_black_cifar(&images);
    let arguments = ["--data", "images", "--set", "data.dataset=cifar10"];

    let mut third = File::options().write(true).open(images.join("data_batch_3.bin")).unwrap();
    third.seek(SeekFrom::Start(5 * 3073)).unwrap();
    third.write_all(&[77]).unwrap();
    assert_eq!(
        refusal(&folder, &arguments, 2),
        "images/cifar-10-batches-bin/data_batch_3.bin: record 5 (counted from 0) has label 77, expected 0 to 9"
    );
    third.set_len(30_000_000).unwrap();
    assert_eq!(
        refusal(&folder, &arguments, 2),
        "images/cifar-10-batches-bin/data_batch_3.bin is 730000 bytes short: it has 30000000 bytes, expected \
         30730000; download it again"
    );
    fs::remove_file(images.join("data_batch_2.bin")).unwrap();
    let line = refusal(&folder, &arguments, 2);
    assert!(line.starts_with("cannot read images/cifar-10-batches-bin/data_batch_2.bin (No such file"), "{line}");

    fs::remove_dir_all(&images).unwrap();
    fs::write(folder.path("images/cifar-10-python.tar.gz"), "<html>not found</html>").unwrap();
    let line = refusal(&folder, &arguments, 2);
    assert!(line.starts_with("cannot unpack images/cifar-10-python.tar.gz ("), "{line}");
}

#[test]
fn unusable_run_directory_is_refused_and_left_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.path("full")).unwrap();
    fs::write(folder.path("full/thesis.tex"), "years of work").unwrap();
    let config = fs::read_to_string(folder.path("search.toml")).unwrap();
    for (out, start) in [
        ("full", "full is not empty (it holds `thesis.tex`): choose another --out"),
        ("search.toml", "search.toml cannot be a run directory, a file is in its place: "),
        ("search.toml/run", "search.toml/run cannot be a run directory, a file is in its place: "),
        ("/proc/run", "cannot create the run directory /proc/run: "),
    ] {
        let line = folder.refusal(&["--config", "search.toml", "--out", out], 2);
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(fs::read_to_string(folder.path("full/thesis.tex")).unwrap(), "years of work");
    assert_eq!(fs::read_to_string(folder.path("search.toml")).unwrap(), config);
}

#[test]
fn diverging_loss_ends_the_search_with_its_place_and_advice() {
    let folder = Folder::new();
    let line = folder.refusal(&[&START[..], &["--set", "optimizer.weights.learning_rate=1e38"]].concat(), 1);
    assert!(line.starts_with("the training loss became "), "{line}");
    assert!(line.contains(" in stage 1, epoch 1, at step ") && line.contains("lower optimizer.weights."), "{line}");
    assert!(line.contains("or a lower optimizer.weights.gradient_clip") && !line.contains("checkpoint"), "{line}");
}

#[test]
fn want_of_memory_is_one_line_with_sizes_and_advice() {
    let folder = Folder::new();
    let large = ["--set", "search.global_batch=512", "--set", "data.limit=1024", "--set", "model.channels=64"];
    let line = folder.refusal_of_memory(6 << 20, &[&START[..], &large].concat());
    assert!(
        line.starts_with("out of memory, ") && line.contains(" more were asked for in stage 1, epoch 1: "),
        "{line}"
    );
    assert!(
        line.contains("a supernet of 3 cells and 64 channels with 5 operations on an edge, 512 images a step"),
        "{line}"
    );
    for help in ["more search.accumulate_steps", "model.checkpoint_cells = true", "a smaller search.global_batch"] {
        assert!(line.contains(help), "{line}");
    }
}

#[test]
fn timeline_that_cannot_be_written_is_refused_before_the_search() {
    let folder = Folder::new();
    let line = refusal(&folder, &["--trace", "none/trace.json"], 2);
    assert!(line.starts_with("--trace none/trace.json: there is no folder none"), "{line}");
    let line = refusal(&folder, &["--trace", "search.toml"], 2);
    assert!(line.starts_with("--trace search.toml: it is the input search.toml"), "{line}");
}

#[test]
fn options_that_exclude_each_other_are_a_usage_error() {
    let folder = Folder::new();
    for arguments in [&["search"][..], &["search", "--config", "search.toml", "--out", "a", "--resume", "b"]] {
        let output = folder.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}
