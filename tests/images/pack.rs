//! `pdarts data pack`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Process, json, mpirun, names, texts};
use crate::{Data, assert_same_files, files, tar};

/// Images of a shard with their labels, as the tar library reads them.
fn samples(shard: &Path) -> Vec<(String, Vec<u8>, usize)> {
    let mut archive = tar::Archive::new(File::open(shard).unwrap());
    let mut members = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    });
    let mut samples = Vec::new();
    while let Some((image, bytes)) = members.next() {
        let (label, class) = members.next().unwrap();
        assert_eq!(image.split('.').next(), label.split('.').next());
        assert!(label.ends_with(".cls"));
        samples.push((image, bytes, String::from_utf8(class).unwrap().parse().unwrap()));
    }
    samples
}

fn shards(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| name.ends_with(".tar")).collect()
}

#[test]
fn shards_hold_every_file_byte_for_byte_in_a_mixed_order() {
    let data = Data::with_tree();
    let (stdout, warnings) = data.succeeds(&["pack", "--from", "tree", "--to", "packed"]);
    assert!(
        stdout.contains("train: 120 images of 10 classes in 1 shards") && stdout.ends_with("packed is complete\n"),
        "{stdout}"
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(
        names(&data.path("packed")),
        ["manifest.json", "train-000000.tar", "train.index", "val-000000.tar", "val.index"]
    );
    let tree = files(&data.path("tree/train"));
    let expected: BTreeSet<(usize, Vec<u8>)> = tree
        .values()
        .enumerate()
        .flat_map(|(label, class)| class.values().map(move |bytes| (label, bytes.clone())))
        .collect();
    let samples = samples(&data.path("packed/train-000000.tar"));
    let labels: Vec<usize> = samples.iter().map(|sample| sample.2).collect();
    assert!(labels[..30].iter().collect::<BTreeSet<_>>().len() > 6, "{labels:?}");
    assert_eq!(samples.into_iter().map(|(_, bytes, label)| (label, bytes)).collect::<BTreeSet<_>>(), expected);
    let manifest = json(&data.path("packed/manifest.json"));
    assert_eq!(manifest["parts"][0]["images_per_class"], serde_json::json!(vec![12; 10]));
    assert_eq!(manifest["class_names"][3], "n80000003_green");
    data.succeeds(&["check", "packed"]);
}

#[test]
fn bytes_do_not_depend_on_threads_or_ranks_and_a_second_call_says_it_is_complete() {
    let data = Data::with_tree();
    let options = ["--from", "tree", "--shard-mib", "0.1", "--max-side", "100"];
    for (threads, to) in [("1", "one"), ("3", "three")] {
        data.succeeds(&[&["pack", "--to", to, "--threads", threads][..], &options].concat());
    }
    assert!(shards(&data.path("one")).len() > 4, "{:?}", shards(&data.path("one")));
    for ranks in ["2", "3"] {
        let mut command = mpirun();
        command.args(["-n", ranks, env!("CARGO_BIN_EXE_pdarts"), "data", "pack", "--to", ranks]).args(options);
        let output = command.current_dir(data.path("")).env("RUST_LOG", "warn").output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
        assert_eq!(stdout.matches("is complete").count(), 1, "{stdout}");
        assert_same_files(&data.path("one"), &data.path(ranks));
    }
    assert_same_files(&data.path("one"), &data.path("three"));
    for (_, bytes, _) in samples(&data.path("one/train-000000.tar")) {
        let image = image::load_from_memory(&bytes).unwrap();
        assert!(image.width().max(image.height()) <= 100);
    }
    let before = fs::metadata(data.path("one/train-000000.tar")).unwrap();
    let (stdout, _) = data.succeeds(&[&["pack", "--to", "one"][..], &options].concat());
    assert!(stdout.ends_with("one was complete already\n"), "{stdout}");
    assert_eq!(before.ino(), fs::metadata(data.path("one/train-000000.tar")).unwrap().ino());
    // Other options in the same place.
    let (_, error) = data.fails(&["pack", "--from", "tree", "--to", "one"], 2);
    assert!(error.contains("holds shards of other images or options"), "{error}");
}

#[test]
fn killed_pack_keeps_its_shards_and_ends_as_an_uninterrupted_one() {
    let data = Data::with_tree();
    let arguments = ["pack", "--from", "tree", "--shard-mib", "0.05", "--threads", "1", "--to"];
    data.succeeds(&[&arguments[..], &["whole"]].concat());
    let mut command = data.0.command(&["data"]);
    command.args(arguments).arg("killed").stdout(Stdio::piped()).stderr(Stdio::piped());
    let killed = data.path("killed");
    let is_complete = || killed.join("manifest.json").exists();
    let is_begun = || names(&killed).iter().any(|name| name.starts_with(".train-") && name.ends_with(".index"));
    // Until a kill comes before the end, which is near.
    while !is_begun() || is_complete() {
        let _ = fs::remove_dir_all(&killed);
        let mut pack = Process::start(&mut command);
        pack.wait_until(|| is_begun() || is_complete());
        pack.signal("KILL");
        pack.end();
    }
    let first = fs::metadata(killed.join("train-000000.tar")).unwrap().ino();
    // It is no data set yet.
    let (_, error) = data.fails(&["check", "killed"], 2);
    assert!(error.starts_with("killed has shards that are not complete"), "{error}");
    fs::write(killed.join(".partial-left"), "half").unwrap();
    data.succeeds(&[&arguments[..], &["killed"]].concat());
    assert_eq!(first, fs::metadata(killed.join("train-000000.tar")).unwrap().ino());
    assert_same_files(&data.path("whole"), &killed);
}

#[test]
fn bad_images_are_listed_all_at_once_and_left_out_only_when_that_is_allowed() {
    let data = Data::with_tree();
    let class = data.path("tree/train/n80000004_teal");
    let victims: Vec<_> = names(&class).into_iter().filter(|name| !name.ends_with("png")).take(3).collect();
    let whole = fs::read(class.join(&victims[0])).unwrap();
    fs::write(class.join(&victims[0]), &whole[..whole.len() * 6 / 10]).unwrap();
    fs::write(class.join(&victims[1]), "no image at all").unwrap();
    let pack = ["pack", "--from", "tree", "--to", "packed"];
    let (list, error) = data.fails(&pack, 1);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains(&format!("n80000004_teal/{}: ", victims[0])) && list.contains(&victims[1]), "{list}");
    assert!(error.contains("2 images cannot be used") && error.contains("--skip-bad 2"), "{error}");
    assert!(!data.path("packed/manifest.json").exists());
    let validation = fs::metadata(data.path("packed/val-000000.tar")).unwrap().ino();
    data.fails(&[&pack[..], &["--skip-bad", "1"]].concat(), 1);
    let (stdout, _) = data.succeeds(&[&pack[..], &["--skip-bad", "2"]].concat());
    assert!(stdout.contains("train: 118 images") && stdout.contains("2 bad images left out"), "{stdout}");
    assert_eq!(validation, fs::metadata(data.path("packed/val-000000.tar")).unwrap().ino());
    let manifest = json(&data.path("packed/manifest.json"));
    assert_eq!(manifest["parts"][0]["left_out"].as_array().unwrap().len(), 2);
    assert_eq!(data.json(&["check", "packed", "--json"])["parts"][0]["images"], 118);
    // Repaired, and packed as if they had never been bad.
    fs::write(class.join(&victims[0]), &whole).unwrap();
    fs::write(class.join(&victims[1]), &whole).unwrap();
    data.succeeds(&["pack", "--from", "tree", "--to", "repaired"]);
    fs::write(class.join(&victims[1]), &whole[..100]).unwrap();
    data.fails(&["pack", "--from", "tree", "--to", "again"], 1);
    fs::write(class.join(&victims[1]), &whole).unwrap();
    data.succeeds(&["pack", "--from", "tree", "--to", "again"]);
    assert_same_files(&data.path("repaired"), &data.path("again"));
}

#[test]
fn full_disk_is_one_line_and_the_next_call_goes_on() {
    let data = Data::with_tree();
    let point = data.path("disk");
    fs::create_dir(&point).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&point).output().unwrap();
    if !mount.status.success() {
        println!("SKIPPED: a full disk needs the right to mount a tmpfs: {}", texts(&mount).1.trim());
        return;
    }
    // Room for a shard and a half.
    let ballast = point.join("ballast");
    File::create(&ballast).unwrap().write_all(&vec![0; (4 << 20) - (300 << 10)]).unwrap();
    let pack = ["pack", "--from", "tree", "--to", "disk/packed", "--shard-mib", "0.1"];
    let (stdout, error) = data.fails(&pack, 1);
    let kept = shards(&point.join("packed"));
    fs::remove_file(ballast).unwrap();
    let resumed = data.call(&pack);
    data.succeeds(&["pack", "--from", "tree", "--to", "whole", "--shard-mib", "0.1"]);
    assert!(resumed.status.success(), "{:?}", texts(&resumed));
    assert_same_files(&data.path("whole"), &point.join("packed"));
    let _ = Command::new("umount").arg("--lazy").arg(&point).status();
    let all = shards(&data.path("whole"));
    assert!(stdout.is_empty() && !kept.is_empty() && kept.len() < all.len(), "{kept:?} of {all:?}: {error}");
    assert!(
        error.starts_with("cannot write disk/packed/train-00000") && error.contains("No space left on device"),
        "{error}"
    );
    assert!(error.ends_with("what is complete is kept, call again to go on"), "{error}");
}

#[test]
fn archives_as_imagenet_is_published_give_the_shards_of_the_unpacked_folder() {
    let data = Data::with_tree();
    let train = files(&data.path("tree/train"));
    let of_class = |images: &std::collections::BTreeMap<String, Vec<u8>>| {
        tar(&images.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect::<Vec<_>>())
    };
    let classes: Vec<_> =
        train.iter().rev().map(|(class, images)| (format!("{class}.tar"), of_class(images))).collect();
    for folder in ["one", "classes/train"] {
        fs::create_dir_all(data.path(folder)).unwrap();
    }
    fs::write(data.path("one/ILSVRC2012_img_train.tar"), tar(&classes)).unwrap();
    for (name, bytes) in &classes {
        fs::write(data.path("classes/train").join(name), bytes).unwrap();
    }
    // The validation images in one tar file, with their classes in Kaggle's table.
    let validation: Vec<(String, String, Vec<u8>)> = files(&data.path("tree/val"))
        .into_iter()
        .flat_map(|(class, images)| images.into_values().map(move |bytes| (class.clone(), bytes)))
        .enumerate()
        .map(|(number, (class, bytes))| (format!("ILSVRC2012_val_{:08}", number + 1), class, bytes))
        .collect();
    let images: Vec<_> = validation.iter().map(|(name, _, bytes)| (format!("{name}.JPEG"), bytes.clone())).collect();
    let table: String = validation.iter().map(|(name, class, _)| format!("{name},{class} 1 2 3 4\n")).collect();
    for folder in ["one", "classes"] {
        fs::write(data.path(folder).join("ILSVRC2012_img_val.tar"), tar(&images)).unwrap();
        fs::write(data.path(folder).join("LOC_val_solution.csv"), format!("ImageId,PredictionString\n{table}"))
            .unwrap();
        data.succeeds(&["pack", "--from", folder, "--to", &format!("{folder}-packed")]);
    }
    data.succeeds(&["pack", "--from", "tree", "--to", "tree-packed"]);
    let packed = |name: &str| samples(&data.path(name).join("train-000000.tar"));
    let expected = packed("tree-packed");
    for folder in ["one-packed", "classes-packed"] {
        assert!(packed(folder) == expected, "{folder}");
        let [mut ours, mut theirs] = [folder, "tree-packed"].map(|name| {
            let samples = samples(&data.path(name).join("val-000000.tar"));
            samples.into_iter().map(|(_, bytes, label)| (label, bytes)).collect::<Vec<_>>()
        });
        ours.sort();
        theirs.sort();
        assert!(ours == theirs, "{folder}");
    }
    // Cut short, as a download that broke.
    let whole = fs::read(data.path("one/ILSVRC2012_img_train.tar")).unwrap();
    fs::write(data.path("one/ILSVRC2012_img_train.tar"), &whole[..whole.len() / 2]).unwrap();
    let (_, error) = data.fails(&["pack", "--from", "one", "--to", "cut"], 2);
    assert!(error.contains("ILSVRC2012_img_train.tar is cut short"), "{error}");
}

#[test]
fn folders_that_cannot_be_packed_or_packed_into_are_refused() {
    let data = Data::with_tree();
    let (_, error) = data.fails(&["pack", "--from", "none", "--to", "packed"], 2);
    assert!(error.starts_with("none cannot be read"), "{error}");
    let (_, error) = data.fails(&["pack", "--from", "tree", "--to", "data.toml/packed"], 2);
    let expected = "cannot write data.toml/packed (Not a directory (os error 20)): name another folder with --to";
    assert_eq!(error.trim_end(), expected);
}

#[test]
fn shards_are_not_made_where_the_images_are_nor_around_them() {
    let data = Data::with_tree();
    fs::create_dir_all(data.path("links/train")).unwrap();
    symlink(data.path("tree"), data.path("link")).unwrap();
    symlink(data.path("tree/train"), data.path("inside")).unwrap();
    for class in names(&data.path("tree/train")) {
        symlink(data.path("tree/train").join(&class), data.path("links/train").join(&class)).unwrap();
    }
    for (from, to, told) in [
        ("tree", "tree", "tree is where the images are"),
        ("tree", "tree/train", "tree/train lies in tree, where the images are"),
        ("tree", "tree/packed", "tree/packed lies in tree, where"),
        ("tree", "tree/new/../packed", "lies in tree, where"),
        ("tree", "inside/new/packed", "inside/new/packed lies in tree, where"),
        ("link", "tree/packed", "tree/packed lies in link, where"),
        ("tree", "link", "link is where the images are"),
        ("tree", ".", ". has tree in it, where the images are"),
        ("inside/..", "tree/packed", "lies in inside/.., where"),
        ("links", "tree/train/n80000003_green", "lies in links/train/n80000003_green, where"),
        ("links", "tree/train/n80000003_green/packed", "lies in links/train/n80000003_green, where"),
    ] {
        let (_, error) = data.fails(&["pack", "--from", from, "--to", to], 2);
        assert!(error.contains(told) && error.contains("with --to that lies elsewhere"), "{from} {to}: {error}");
    }
    assert_eq!(names(&data.path("tree")), ["train", "val"]);
    // Beside it, under a name that begins alike, and beside a part that is a link.
    data.succeeds(&["pack", "--from", "tree", "--to", "tree-packed"]);
    symlink(data.path("tree/val"), data.path("links/val")).unwrap();
    data.succeeds(&["pack", "--from", "links", "--to", "tree-linked"]);
}

#[test]
fn shards_that_no_pack_made_are_not_replaced() {
    let data = Data::with_tree();
    for name in ["train-000000.tar", "photos.tar", "val.index"] {
        let (_, file) = (fs::create_dir_all(data.path("own")), data.path("own").join(name));
        fs::write(&file, "mine").unwrap();
        let (_, error) = data.fails(&["pack", "--from", "tree", "--to", "own"], 2);
        assert!(error.contains("did not make: choose another folder with --to"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        fs::remove_dir_all(data.path("own")).unwrap();
    }
}

#[test]
fn what_is_broken_of_a_complete_pack_is_made_again_and_the_rest_stays() {
    let data = Data::with_tree();
    let pack = ["pack", "--from", "tree", "--shard-mib", "0.1", "--to"];
    data.succeeds(&[&pack[..], &["whole"]].concat());
    data.succeeds(&[&pack[..], &["broken"]].concat());
    let broken = data.path("broken");
    let inode = |name: &str| fs::metadata(broken.join(name)).unwrap().ino();
    let first = inode("train-000000.tar");
    let file = fs::OpenOptions::new().write(true).open(broken.join("train-000001.tar")).unwrap();
    file.set_len(1024).unwrap();
    fs::remove_file(broken.join("val-000000.tar")).unwrap();
    data.succeeds(&[&pack[..], &["broken"]].concat());
    assert_same_files(&data.path("whole"), &broken);
    assert_eq!(inode("train-000000.tar"), first);
    // Without its index a part is no set of others, and is packed anew.
    fs::remove_file(broken.join("train.index")).unwrap();
    let (_, error) = data.fails(&["check", "broken"], 2);
    assert!(
        error.contains("train.index is not there, but manifest.json has its images: copy it again, or call"),
        "{error}"
    );
    data.succeeds(&[&pack[..], &["broken"]].concat());
    assert_same_files(&data.path("whole"), &broken);
    // What is missing as a whole is told.
    for name in names(&broken).into_iter().filter(|name| name.starts_with("val")) {
        fs::remove_file(broken.join(name)).unwrap();
    }
    fs::copy(broken.join("train-000000.tar"), broken.join("train-000009.tar")).unwrap();
    let (list, error) = data.fails(&["check", "broken"], 1);
    assert!(list.contains("val.index: is not there: the manifest has 20 images"), "{list}");
    assert!(list.contains("train-000009.tar: is none of the manifest's"), "{list}");
    assert_eq!(error, "broken has 2 bad images or shards");
}

#[test]
fn image_that_was_restored_has_its_own_shard_made_again_alone() {
    let data = Data::with_tree();
    let pack = ["pack", "--from", "tree", "--shard-mib", "0.1", "--to"];
    data.succeeds(&[&pack[..], &["whole"]].concat());
    let class = data.path("tree/train/n80000004_teal");
    let victim = class.join(names(&class).into_iter().find(|name| !name.ends_with("png")).unwrap());
    let whole = fs::read(&victim).unwrap();
    // A few bytes less, so that shards end where they did.
    fs::write(&victim, &whole[..whole.len() - 4]).unwrap();
    let inodes = |dir: &str| -> Vec<(String, u64)> {
        let inode = |name: String| (name.clone(), fs::metadata(data.path(dir).join(name)).unwrap().ino());
        shards(&data.path(dir)).into_iter().map(inode).collect()
    };
    let changed = |before: &[(String, u64)], dir: &str| {
        let after = inodes(dir);
        assert!(before.len() > 4 && before.len() == after.len(), "{before:?} {after:?}");
        before.iter().zip(&after).filter(|(before, after)| before != after).count()
    };
    // One after a pack that was refused, one after a pack that left the image out, with larger images as they were or not.
    data.fails(&[&pack[..], &["refused"]].concat(), 1);
    data.succeeds(&[&pack[..], &["left-out", "--skip-bad", "1"]].concat());
    data.succeeds(&[&pack[..], &["smaller", "--skip-bad", "1", "--max-side", "80"]].concat());
    let before = ["refused", "left-out", "smaller"].map(inodes);
    fs::write(&victim, &whole).unwrap();
    data.succeeds(&[&pack[..], &["whole-smaller", "--max-side", "80"]].concat());
    for (dir, before, options, expected) in [
        ("refused", &before[0], &[][..], "whole"),
        ("left-out", &before[1], &[][..], "whole"),
        ("smaller", &before[2], &["--max-side", "80"][..], "whole-smaller"),
    ] {
        data.succeeds(&[&pack[..], &[dir], options].concat());
        assert_eq!(changed(before, dir), 1, "{dir}");
        assert_same_files(&data.path(expected), &data.path(dir));
    }
    // Other images are not taken for replaced ones: another number of them, or all in another size.
    fs::copy(&victim, class.join("one_more.jpg")).unwrap();
    let (_, error) = data.fails(&[&pack[..], &["left-out"]].concat(), 2);
    assert!(error.contains("holds shards of other images or options"), "{error}");
    fs::remove_file(class.join("one_more.jpg")).unwrap();
    for class in names(&data.path("tree/train")) {
        for name in names(&data.path("tree/train").join(&class)) {
            let mut file =
                fs::OpenOptions::new().append(true).open(data.path("tree/train").join(&class).join(name)).unwrap();
            file.write_all(b"more").unwrap();
        }
    }
    let (_, error) = data.fails(&[&pack[..], &["left-out"]].concat(), 2);
    assert!(error.contains("holds shards of other images or options"), "{error}");
}

#[test]
fn shards_of_an_interrupted_pack_with_other_options_do_not_stay() {
    let data = Data::with_tree();
    data.succeeds(&["pack", "--from", "tree", "--to", "whole"]);
    data.succeeds(&["pack", "--from", "tree", "--to", "other", "--shard-mib", "0.05"]);
    let other = data.path("other");
    assert!(shards(&other).len() > 10);
    // As a kill leaves it: shards with indices of their own, no manifest.
    for name in shards(&other) {
        fs::write(other.join(format!(".{}.index", name.trim_end_matches(".tar"))), "of another plan").unwrap();
    }
    for name in ["manifest.json", "train.index", "val.index"] {
        fs::remove_file(other.join(name)).unwrap();
    }
    data.succeeds(&["pack", "--from", "tree", "--to", "other"]);
    assert_same_files(&data.path("whole"), &other);
}
