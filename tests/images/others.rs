//! Shards and archives that other programs made.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{Data, tar};

/// Files of a shard; those that end with an image's extension are images.
fn shard(members: &[(&str, &str)]) -> Vec<u8> {
    let image = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/transforms/files/size_1x1.jpg")).unwrap();
    let bytes = |name: &str, text: &str| match name.rsplit('.').next() {
        Some("jpg" | "JPEG") => image.clone(),
        _ => text.as_bytes().to_vec(),
    };
    tar(&members.iter().map(|&(name, text)| (name.to_owned(), bytes(name, text))).collect::<Vec<_>>())
}

/// A shard of one sample for each of these labels, whose keys are their places.
fn labelled(labels: &[&str]) -> Vec<u8> {
    let names: Vec<_> = (0..labels.len()).map(|key| (format!("{key}.jpg"), format!("{key}.cls"))).collect();
    let members = names.iter().zip(labels).flat_map(|((image, class), label)| [(image.as_str(), ""), (class, *label)]);
    shard(&members.collect::<Vec<_>>())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Data {
    fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Checks the shard `train-0.tar` in a folder of its own; what is printed, and the lines that warn.
    fn check_shard(&self, dir: &str, bytes: &[u8]) -> (String, Vec<String>) {
        self.write(&format!("{dir}/train-0.tar"), bytes);
        self.succeeds(&["check", dir])
    }

    fn refuses_shard(&self, dir: &str, bytes: &[u8]) -> String {
        self.write(&format!("{dir}/train-0.tar"), bytes);
        self.fails(&["check", dir], 2).1
    }
}

#[test]
fn keys_that_come_again_are_samples_of_their_own_and_told() {
    let data = Data::new();
    let again = shard(&[("a.jpg", ""), ("a.cls", "0"), ("b.jpg", ""), ("b.cls", "1"), ("a.jpg", ""), ("a.cls", "1")]);
    let (stdout, warnings) = data.check_shard("again", &again);
    assert!(stdout.contains("3 images of 2 classes, 1 to 2 each"), "{stdout}");
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("again: 1 sample has a key that came before in the same shard (as a in train-0.tar)"));
    // The same key in another shard is another sample, and nothing to tell.
    data.write("two/train-1.tar", &labelled(&["1", "0"]));
    let (stdout, warnings) = data.check_shard("two", &labelled(&["0", "1"]));
    assert!(stdout.contains("4 images of 2 classes") && warnings.is_empty(), "{stdout} {warnings:?}");
}

#[test]
fn sample_with_two_files_of_a_name_is_refused_with_its_shard_and_key() {
    let data = Data::new();
    let error =
        data.refuses_shard("twice", &shard(&[("x/a.jpg", ""), ("x/a.cls", "0"), ("x/a.jpg", ""), ("x/a.cls", "1")]));
    assert!(error.starts_with("twice/train-0.tar has two files x/a.jpg in one sample, the key x/a: "), "{error}");
    for command in [&["pack", "--from", "twice", "--to", "packed"][..], &["check", "twice"]] {
        assert_eq!(data.fails(command, 2).1, error);
    }
}

#[test]
fn samples_that_are_not_as_webdataset_has_them_are_told_by_what_is_wrong() {
    let data = Data::new();
    let good = [("z.jpg", ""), ("z.cls", "0")];
    for (dir, members, told) in [
        (
            "apart",
            &[("a.jpg", ""), ("b.jpg", ""), ("a.cls", "0"), ("b.cls", "0")][..],
            "2 samples whose image and label do not follow each other, as after tar --sort=name (as train-0.tar/a)",
        ),
        (
            "dots",
            &[("x.1.jpg", ""), ("x.1.cls", "0"), ("x.2.jpg", ""), ("x.2.cls", "0")],
            "1 sample with a dot in its key, which ends at the first (train-0.tar/x.1.jpg), 1 further image of a sample",
        ),
        ("json", &[("a.jpg", ""), ("a.json", r#"{"name": "cat"}"#)], "1 sample whose JSON has no label"),
        (
            "views",
            &[("a.left.jpg", ""), ("a.right.jpg", ""), ("a.cls", "0")],
            "1 further image of a sample (train-0.tar/a.r",
        ),
        (
            "none",
            &[("a.jpg", ""), ("b.cls", "0")],
            "1 sample without a JPEG or PNG image (train-0.tar/b), 1 sample without a",
        ),
    ] {
        let all: Vec<_> = good.iter().chain(members).copied().collect();
        let (_, warnings) = data.check_shard(dir, &shard(&all));
        let warned =
            warnings.iter().any(|warning| warning.contains(&format!("{dir}: left out ")) && warning.contains(told));
        assert!(warned, "{dir}: {warnings:?}");
    }
    // Of nothing but such samples the same is said, and how they are to be.
    let error = data.refuses_shard("only", &shard(&[("a.jpg", ""), ("b.jpg", ""), ("a.cls", "0"), ("b.cls", "0")]));
    assert!(error.starts_with("only has a tar file without an image and its label, but 2 samples whose"), "{error}");
    assert!(error.ends_with("a sample is KEY.jpg (or .png) followed by KEY.cls or KEY.json"), "{error}");
    let error = data.refuses_shard("nothing", &shard(&[]));
    assert!(error.starts_with("nothing has a tar file without an image and its label, but nothing; "), "{error}");
}

#[test]
fn links_and_sparse_files_in_tar_files_are_told() {
    let data = Data::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Link);
    link.set_size(0);
    builder.append_link(&mut link, "1.jpg", "0.jpg").unwrap();
    let link = builder.into_inner().unwrap();
    // Two blocks of zeros end a tar file.
    let samples = labelled(&["0", "1"]);
    let bytes = [&samples[..samples.len() - 1024], &link].concat();
    let (stdout, warnings) = data.check_shard("link", &bytes);
    assert!(
        stdout.contains(" 2 images") && warnings[0].contains("1 link in a tar file (train-0.tar/1.jpg)"),
        "{warnings:?}"
    );
    let error = data.refuses_shard("sparse", &shard(&[("GNUSparseFile.12/0.jpg", ""), ("0.cls", "0")]));
    assert!(
        error.contains("has a sparse file GNUSparseFile.12/0.jpg") && error.contains("without --sparse"),
        "{error}"
    );
}

#[test]
fn what_is_no_tar_file_or_more_than_one_is_told() {
    let data = Data::new();
    let two = [labelled(&["0", "1"]), labelled(&["2", "3"])].concat();
    let (stdout, warnings) = data.check_shard("joined", &two);
    assert!(stdout.contains(" 2 images") && warnings.len() == 1, "{stdout} {warnings:?}");
    assert!(warnings[0].contains("left out 1 tar file that goes on behind its end"), "{warnings:?}");
    // As GNU tar fills its files up.
    let filled = [labelled(&["0", "1"]), vec![0; 9000]].concat();
    assert!(data.check_shard("filled", &filled).1.is_empty());
    fs::create_dir_all(data.path("folder/train-0.tar")).unwrap();
    let (_, error) = data.fails(&["check", "folder"], 2);
    assert_eq!(error, "folder/train-0.tar is called as a tar file and is none: move it elsewhere");
}

#[test]
fn labels_that_begin_at_1_or_leave_classes_empty_are_told_at_each_start() {
    let data = Data::new();
    let ones = labelled(&["1", "2", "3"]);
    let told = "ones (train): labels are 1 to 3, as if counted from 1, so that class 0 (0) has no images";
    // While the shards are indexed, from the index, and of a pack of them.
    let (_, first) = data.check_shard("ones", &ones);
    let (_, second) = data.succeeds(&["check", "ones"]);
    for warnings in [first, second] {
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.contains(told) && warning.contains("give each 1 less"), "{warning}");
    }
    let (_, warnings) = data.succeeds(&["pack", "--from", "ones", "--to", "packed"]);
    assert!(warnings.len() == 1 && warnings[0].contains(told), "{warnings:?}");
    let (_, warnings) = data.check_shard("gaps", &labelled(&["0", "4", "2", "5"]));
    let told = "gaps (train): 2 of 6 classes have no images (1, 3); labels are 0, 2, 4 to 5";
    assert!(warnings.len() == 1 && warnings[0].ends_with(told), "{warnings:?}");
    // With names of as many classes, the last label has none.
    data.write("named/classes.txt", b"cat\ndog\nfox\n");
    let error = data.refuses_shard("named", &ones);
    assert!(error.starts_with("named/train-0.tar gives 2.jpg the class 3, which is none of its set; "), "{error}");
    assert!(error.ends_with("these look counted from 1: give each 1 less"), "{error}");
    // All classes have images: nothing to tell.
    assert!(data.check_shard("full", &labelled(&["1", "0", "2"])).1.is_empty());
}

#[test]
fn labels_that_are_no_classes_are_refused_and_mixed_ones_told() {
    let data = Data::new();
    for (dir, label) in [("minus", "-1"), ("fraction", "1.0")] {
        let error = data.refuses_shard(dir, &labelled(&["0", label]));
        assert!(error.starts_with(&format!("{dir} has a label {label}: labels that are numbers are whole")), "{error}");
    }
    let (stdout, warnings) = data.check_shard("mixed", &labelled(&["cat", "1"]));
    assert!(
        stdout.contains("2 images of 2 classes") && warnings[0].contains("some labels are numbers (as 1)"),
        "{warnings:?}"
    );
    let error = data.refuses_shard("lines", &labelled(&["0", "1\n2"]));
    assert_eq!(error, "lines/train-0.tar has a label 1.cls of several lines, where one class is expected");
    let (_, warnings) = data.check_shard("hostile", &labelled(&["0", "\u{1b}[31mred\ttext"]));
    assert!(warnings[0].contains(r"some names (as \u{1b}[31mred\ttext)"), "{warnings:?}");
    let (_, warnings) = data.check_shard("single", &labelled(&["cat", "cat"]));
    assert!(warnings.len() == 1 && warnings[0].contains("has a single class (cat)"), "{warnings:?}");
}

#[test]
fn packed_files_are_named_with_what_they_are_and_what_unpacks_them() {
    let data = Data::new();
    let zipped = gzip(&labelled(&["0", "1"]));
    for (name, bytes, dir, told) in [
        (
            "a/train-0.tar",
            &zipped[..],
            "a",
            "is compressed by gzip, though it is called .tar: give it the ending .tar.gz and unpack it with gunzip",
        ),
        (
            "b/train-0.tar.gz",
            &zipped,
            "b",
            "is compressed by gzip, which is not read as it is: unpack it with gunzip, and a tar",
        ),
        ("c/train/0.tgz", &zipped, "c", "is compressed by gzip, which is not read as it is: unpack it with gunzip"),
        ("d/train.zip", b"PK\x03\x04", "d", "is a zip archive, which is not read as it is: unpack it with unzip"),
        ("e/train/cat.zip", b"PK\x03\x04", "e", "is a zip archive, which is not read as it is: unpack it with unzip"),
        (
            "f/train/cat/all.7z",
            b"7z\xbc\xaf\x27\x1c",
            "f",
            "is a 7z archive, which is not read as it is: unpack it with 7z x",
        ),
        (
            "g/val.tar.zst",
            b"\x28\xb5\x2f\xfd",
            "g",
            "is compressed by zstd, which is not read as it is: unpack it with unzstd",
        ),
        ("h/x.tar.xz", b"\xfd7zXZ\0", "h", "is compressed by xz, which is not read as it is: unpack it with unxz"),
        (
            "i/set.tar.gz",
            &zipped,
            "i/set.tar.gz",
            "unpack it with gunzip, and a tar file of folders with tar -xf; then name the folder",
        ),
        ("j/set.tar", &labelled(&["0"]), "j/set.tar", "is a tar file: name the folder it is in if it is a shard"),
        ("k/train-0.tar", b"PK\x03\x04", "k", "is a zip archive, though it is called .tar: unpack it with unzip"),
    ] {
        data.write(name, bytes);
        for command in [&["check", dir][..], &["pack", "--from", dir, "--to", "packed"]] {
            let (_, error) = data.fails(command, 2);
            assert!(error.contains(&format!("{name} ")) && error.contains(told), "{command:?}: {error}");
        }
    }
    for (dir, bytes, told) in
        [("l", &b""[..], "is empty: copy it again"), ("m", &[b'x'; 2000], "is damaged or no tar file: copy")]
    {
        let error = data.refuses_shard(dir, bytes);
        assert!(error.starts_with(&format!("{dir}/train-0.tar {told}")), "{error}");
    }
    // A shard that was not unpacked with the others is told at each start; one that was and stayed is not.
    data.write("n/train-1.tar.gz", &zipped);
    data.check_shard("n", &labelled(&["0", "1"]));
    let (stdout, warnings) = data.succeeds(&["check", "n"]);
    assert!(stdout.contains("2 images of 2 classes"), "{stdout}");
    assert!(
        warnings.len() == 1
            && warnings[0].contains("left out beside the shards: n/train-1.tar.gz is compressed by gzip")
    );
    data.write("n/train-1.tar", &labelled(&["1"]));
    let (stdout, warnings) = data.succeeds(&["check", "n"]);
    assert!(stdout.contains("3 images of 2 classes") && warnings.is_empty(), "{stdout} {warnings:?}");
}
