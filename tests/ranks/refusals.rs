//! Calls that cannot work: one line from one rank, all ranks end.

use std::fs;

use crate::program::{Folder, texts};

/// Runs ranks with arguments of their own; returns the exit code and the lines of stderr that are errors of ours.
fn refused(folder: &Folder, arguments: &[&[&str]]) -> (Option<i32>, Vec<String>) {
    let output = folder.different_ranks_command(arguments).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(stdout.lines().filter(|line| line.contains("genotype")).count(), 0, "{stdout}");
    let errors = stderr.lines().filter_map(|line| line.strip_prefix("error: ")).map(String::from).collect();
    (output.status.code(), errors)
}

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];

/// Writes files of CIFAR-10's shape in which all images are of one class and colour.
fn write_cifar(folder: &Folder, name: &str, label: u8) {
    let batches = folder.path(name).join("cifar-10-batches-bin");
    fs::create_dir_all(&batches).unwrap();
    let record = [&[label][..], &[label; 3072]].concat();
    let first = batches.join("test_batch.bin");
    fs::write(&first, record.repeat(10_000)).unwrap();
    (1..=5).for_each(|n| fs::hard_link(&first, batches.join(format!("data_batch_{n}.bin"))).unwrap());
}

#[test]
fn batch_that_ranks_cannot_divide_names_the_nearest() {
    let folder = Folder::new();
    let (code, errors) = refused(&folder, &[&START[..]; 3]);
    assert_eq!(code, Some(2));
    assert_eq!(errors, ["search.global_batch: 3 ranks cannot share 4 images equally; state 3 or 6"]);
    assert!(!folder.path("run").exists());
}

#[test]
fn ranks_with_different_configurations_are_told_the_rank_and_the_key() {
    let folder = Folder::new();
    let other = ["--config", "search.toml", "--out", "run", "--set", "search.epochs=3"];
    let (code, errors) = refused(&folder, &[&START, &other]);
    assert_eq!((code, errors.len()), (Some(2), 1), "{errors:?}");
    assert!(errors[0].starts_with("rank 1 has another configuration than rank 0: search.epochs = 3 instead of 2"));
}

#[test]
fn ranks_with_different_commands_are_told_what_differs() {
    let folder = Folder::new();
    let dry = [&START[..], &["--dry-run"]].concat();
    for (calls, expected) in [
        (
            [&START[..], &dry],
            "rank 1 was started with --dry-run, rank 0 without it: start all ranks with the same command",
        ),
        (
            [&["--resume", "run"], &START],
            "rank 1 was started without --resume, rank 0 with --resume: start all ranks with the same command",
        ),
    ] {
        let (code, errors) = refused(&folder, &calls);
        assert_eq!((code, errors), (Some(2), vec![expected.to_owned()]));
    }
    assert!(!folder.path("run").exists());
}

#[test]
fn rank_without_its_configuration_is_named() {
    let folder = Folder::new();
    let other = ["--config", "missing.toml", "--out", "run"];
    let (code, errors) = refused(&folder, &[&START, &other]);
    assert_eq!((code, errors.len()), (Some(2), 1), "{errors:?}");
    assert!(errors[0].starts_with("rank 1 on ") && errors[0].contains("missing.toml"), "{errors:?}");
}

#[test]
fn rank_without_its_data_is_named() {
    let folder = Folder::new();
    write_cifar(&folder, "full", 1);
    fs::create_dir(folder.path("empty")).unwrap();
    let common = ["--config", "search.toml", "--out", "run", "--set", "data.dataset=cifar10", "--data"];
    let (code, errors) = refused(&folder, &[&[&common[..], &["full"]].concat(), &[&common[..], &["empty"]].concat()]);
    assert_ne!(code, Some(0));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("rank 1 on ") && errors[0].contains("empty"), "{errors:?}");
}

#[test]
fn ranks_with_different_data_are_told_so() {
    let folder = Folder::new();
    write_cifar(&folder, "first", 1);
    write_cifar(&folder, "second", 2);
    let common = ["--config", "search.toml", "--out", "run", "--set", "data.dataset=cifar10", "--data"];
    let ranks = ["first", "second"].map(|data| [&common[..], &[data]].concat());
    let (code, errors) = refused(&folder, &[&ranks[0], &ranks[1]]);
    assert_eq!((code, errors.len()), (Some(2), 1), "{errors:?}");
    assert!(errors[0].starts_with("rank 1 has another data set than rank 0"), "{errors:?}");
    assert!(errors[0].ends_with("copy the same to all nodes"), "{errors:?}");
}

#[test]
fn nccl_without_gpus_is_refused_with_the_reason() {
    let folder = Folder::new();
    let arguments = ["--config", "search.toml", "--out", "run", "--set", "parallel.communicator=nccl"];
    let (code, errors) = refused(&folder, &[&arguments[..]; 2]);
    assert_ne!(code, Some(0));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("nccl"), "{errors:?}");
}

#[test]
fn call_of_one_rank_that_cannot_be_parsed_is_told_by_it() {
    let folder = Folder::new();
    let (code, errors) = refused(&folder, &[&START[..], &["--yaml"]]);
    assert_eq!(code, Some(2));
    assert_eq!(errors, ["rank 1: unexpected argument '--yaml' found; pdarts search --help explains it"]);
}

#[test]
fn call_that_cannot_be_parsed_is_told_once() {
    let folder = Folder::new();
    let (code, errors) = refused(&folder, &[&["--yaml"][..]; 3]);
    assert_eq!(code, Some(2));
    assert_eq!(errors, ["unexpected argument '--yaml' found; pdarts search --help explains it"]);
}
