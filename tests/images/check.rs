//! `pdarts data check`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::program::names;
use crate::{Data, files, tar};

#[test]
fn every_bad_file_of_a_folder_is_listed() {
    let data = Data::with_tree();
    let report = data.json(&["check", "tree", "--json"]);
    assert_eq!(
        (&report["bad"], &report["parts"][0]["images"], &report["parts"][1]["images"]),
        (&0.into(), &120.into(), &20.into())
    );
    assert_eq!(report["parts"][1]["images_per_class"], serde_json::json!([2, 2]));
    let class = data.path("tree/val/n80000001_orange");
    let [first, second] = names(&class).try_into().unwrap();
    let whole = fs::read(class.join(&first)).unwrap();
    fs::write(class.join(&first), &whole[..whole.len() / 2]).unwrap();
    fs::write(class.join(&second), "GIF89a").unwrap();
    let (list, error) = data.fails(&["check", "tree"], 1);
    assert!(list.contains(&format!("{first}: ")) && list.contains(&format!("{second}: it is a GIF")), "{list}");
    assert_eq!(error, "tree has 2 bad images or shards");
    let (report, _) = data.fails(&["check", "tree", "--json"], 1);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((report["bad"].as_u64(), report["parts"][1]["bad"].as_array().unwrap().len()), (Some(2), 2));
}

#[test]
fn shards_that_are_not_as_they_were_packed_are_found_out() {
    let data = Data::with_tree();
    data.succeeds(&["pack", "--from", "tree", "--to", "packed"]);
    let shard = data.path("packed/train-000000.tar");
    let whole = fs::read(&shard).unwrap();
    let restore = || fs::write(&shard, &whole).unwrap();
    // One byte within an image.
    let file = OpenOptions::new().write(true).open(&shard).unwrap();
    file.write_all_at(&[whole[900] ^ 1], 900).unwrap();
    let (list, _) = data.fails(&["check", "packed"], 1);
    assert!(
        list.contains("train-000000.tar, byte 512 (") && list.contains("its checksum is not that of the index"),
        "{list}"
    );
    assert!(list.contains("has the SHA-256"), "{list}");
    restore();
    // A label.
    let at = whole.windows(4).position(|bytes| bytes == b".cls").unwrap() / 512 * 512 + 512;
    let digit = if whole[at] == b'7' { b'6' } else { b'7' };
    file.write_all_at(&[digit], at as u64).unwrap();
    let (list, _) = data.fails(&["check", "packed"], 1);
    assert!(list.contains(&format!("the label {}, the index {}", char::from(digit), char::from(whole[at]))), "{list}");
    restore();
    // Its end.
    file.set_len(whole.len() as u64 / 2).unwrap();
    let (list, _) = data.fails(&["check", "packed"], 1);
    assert!(list.contains("train-000000.tar: is cut short") && list.contains("the shard is cut short"), "{list}");
    restore();
    // An index that claims more than there can be.
    let index = data.path("packed/train.index");
    let bytes = fs::read(&index).unwrap();
    OpenOptions::new().write(true).open(&index).unwrap().write_all_at(&(1u64 << 60).to_le_bytes(), 32).unwrap();
    let (_, error) = data.fails(&["check", "packed"], 2);
    assert!(error.contains("packed/train.index is damaged: it claims 1152921504606846976 images"), "{error}");
    fs::write(&index, &bytes).unwrap();
    // Another pack's manifest.
    let manifest = data.path("packed/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"images\": 120", "\"images\": 119", 1)).unwrap();
    let (list, _) = data.fails(&["check", "packed"], 1);
    assert!(list.contains("has 120 images, the manifest 119"), "{list}");
    fs::write(&manifest, text).unwrap();
    fs::remove_file(&shard).unwrap();
    let (list, _) = data.fails(&["check", "packed"], 1);
    assert!(list.contains("train-000000.tar: cannot be read"), "{list}");
    restore();
    data.succeeds(&["check", "packed"]);
}

#[test]
fn shards_of_others_are_read_indexed_and_indexed_anew_when_they_change() {
    let data = Data::with_tree();
    let images: Vec<(usize, Vec<u8>)> = files(&data.path("tree/val"))
        .values()
        .enumerate()
        .flat_map(|(label, class)| class.values().map(move |bytes| (label, bytes.clone())).collect::<Vec<_>>())
        .collect();
    let shard = |images: &[(usize, Vec<u8>)]| {
        let members = images.iter().enumerate().flat_map(|(number, (label, bytes))| {
            let json = format!(r#"{{"label": {label}, "width": 5}}"#);
            let extra = if number % 2 == 0 { ("cls", format!("{label:04}")) } else { ("json", json) };
            [(format!("{number:04}.{}", extra.0), extra.1.into_bytes()), (format!("{number:04}.jpg"), bytes.clone())]
        });
        tar(&members.collect::<Vec<_>>())
    };
    fs::create_dir_all(data.path("others")).unwrap();
    fs::write(data.path("others/imagenet-train-000000.tar"), shard(&images[..12])).unwrap();
    fs::write(data.path("others/imagenet-train-000001.tar"), shard(&images[12..])).unwrap();
    fs::write(data.path("others/imagenet-val-000000.tar"), shard(&images[..4])).unwrap();
    let report = data.json(&["check", "others", "--json"]);
    let part = |report: &serde_json::Value, part: usize| {
        (report["parts"][part]["images"].as_u64().unwrap(), report["parts"][part]["classes"].as_u64().unwrap())
    };
    // Classes are those of the training images, though validation has fewer.
    assert_eq!((part(&report, 0), part(&report, 1)), ((20, 10), (4, 10)));
    assert!(data.path("others/train.index").exists() && data.path("others/val.index").exists());
    fs::write(data.path("others/imagenet-val-000000.tar"), shard(&images[..6])).unwrap();
    assert_eq!(part(&data.json(&["check", "others", "--json"]), 1), (6, 10));
    // One that comes later, with a word of the other part in its name.
    fs::write(data.path("others/train-benchmark-val-000001.tar"), shard(&images[6..9])).unwrap();
    let report = data.json(&["check", "others", "--json"]);
    assert_eq!((part(&report, 0), part(&report, 1)), ((20, 10), (9, 10)));
    data.succeeds(&["pack", "--from", "others", "--to", "packed"]);
    assert_eq!(part(&data.json(&["check", "packed", "--json"]), 0), (20, 10));
    // Cut short, before there is an index and after.
    let whole = shard(&images[..6]);
    for name in ["others/imagenet-val-000000.tar", "cut/val-0.tar"] {
        fs::create_dir_all(data.path(name).parent().unwrap()).unwrap();
        fs::write(data.path(name), &whole[..whole.len() / 2]).unwrap();
        let folder = name.split('/').next().unwrap();
        let (_, error) = data.fails(&["check", folder], 2);
        assert!(error.starts_with(name) && error.contains("is cut short"), "{error}");
    }
}

#[test]
fn names_in_tar_files_that_lead_elsewhere_are_refused() {
    let data = Data::new();
    let mut bytes = tar(&[("xx/0.jpg".to_owned(), b"x".to_vec()), ("xx/0.cls".to_owned(), b"0".to_vec())]);
    for at in [0, 1024] {
        bytes[at..at + 2].copy_from_slice(b"..");
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&bytes[at..at + 512]);
        header.set_cksum();
        bytes[at..at + 512].copy_from_slice(header.as_bytes());
    }
    fs::create_dir(data.path("shards")).unwrap();
    fs::write(data.path("shards/train-0.tar"), bytes).unwrap();
    let (_, error) = data.fails(&["check", "shards"], 2);
    assert!(error.contains("has a file named ../0.jpg, which leads out of a folder"), "{error}");
}
