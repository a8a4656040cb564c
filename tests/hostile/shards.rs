//! Tar files of images: shards of others, an index, a manifest, ImageNet's archives, label files beside them.

use std::fs;
use std::path::Path;

use pdarts::data::shards::Manifest;
use pdarts::data::shards::pack::{Pack, PackOptions};
use pdarts::data::{ImageFolder, Images, Shards, Source, Split};

use crate::amount;
use crate::corpus::{deep, fixture, folder};
use crate::target::Target;

const TOKENS: &[&str] = &[
    "ustar",
    "ustar  \u{0}",
    "../",
    "/etc/passwd",
    "0.jpg\u{0}",
    "0.cls\u{0}",
    ".json",
    "{\"label\":",
    "././@LongLink",
    "L",
    "x",
    "g",
    "S",
    "2",
    "1",
    "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}",
    "77777777777",
    "size=9999999999999\n",
    "30 path=../../escaped\n",
    "GNU.sparse.realsize=",
    "\u{ff}",
];

/// A tar file with these members, whatever their names and types.
pub fn tar(members: &[(&str, &[u8], tar::EntryType)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes, kind) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(*kind);
        // As a hostile file has it: the library refuses to write such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A shard of two images.
pub fn shard() -> Vec<u8> {
    let image = fixture("transforms/files/size_1x1.jpg");
    let regular = tar::EntryType::Regular;
    tar(&[
        ("a/0.jpg", &image, regular),
        ("a/0.cls", b"0", regular),
        ("1.png", &fixture("transforms/files/bits.png"), regular),
        ("1.json", br#"{"width": 3, "label": 1}"#, regular),
    ])
}

/// Shards that lead out of their folder, or claim what they have not.
pub fn hostile() -> Vec<Vec<u8>> {
    let image = fixture("transforms/files/size_1x1.jpg");
    let named = |name: &str, kind| tar(&[(name, &image, kind), ("0.cls", b"0", tar::EntryType::Regular)]);
    let mut files: Vec<Vec<u8>> =
        ["../0.jpg", "/etc/0.jpg", "a/../../0.jpg"].map(|name| named(name, tar::EntryType::Regular)).into();
    files.extend(
        [
            tar::EntryType::Symlink,
            tar::EntryType::Link,
            tar::EntryType::Block,
            tar::EntryType::Fifo,
            tar::EntryType::GNUSparse,
        ]
        .map(|kind| named("0.jpg", kind)),
    );
    for size in [1 << 32, 1 << 60, u64::MAX] {
        let mut bytes = named("0.jpg", tar::EntryType::GNULongName);
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&bytes[..512]);
        header.set_size(size);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        files.push(bytes);
    }
    files
}

/// Writes the right checksum into every header of a tar file, as far as it can be followed.
pub fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = repaired.get_mut(at..at + 512) {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        if block.iter().any(|&byte| byte != 0) {
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        let size = header.entry_size().unwrap_or(0);
        let Some(next) = size.checked_next_multiple_of(512).and_then(|size| usize::try_from(size).ok()) else { break };
        let Some(next) = next.checked_add(512).and_then(|step| at.checked_add(step)) else { break };
        at = next;
    }
    repaired
}

/// Reads all images of an opened part.
fn read_all(images: &dyn Source) -> Result<(), String> {
    let mut buffer = Vec::new();
    for index in 0..images.len() as u32 {
        assert!(images.label(index).is_some_and(|label| (label as usize) < images.class_names().len()));
        drop(images.location(index));
        images.read(index, &mut buffer).map(drop).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Writes `input` as the shards of a folder, opens them, and reads all that they have.
#[test]
fn shards_of_others() {
    let folder = folder();
    let path = folder.path().join("train-000000.tar");
    Target { name: "shards", valid: vec![shard()], hostile: hostile(), tokens: TOKENS, expansion: 100 }.run(
        amount(300, 250_000),
        |input| {
            // Not over an index that an earlier one has left.
            let _ = fs::remove_file(folder.path().join("train.index"));
            fs::write(&path, with_checksums(input)).unwrap();
            let shards = Shards::open(folder.path(), Split::Train).map_err(|error| error.to_string())?;
            read_all(&shards)?;
            // And by the index that is now there.
            read_all(&Shards::open(folder.path(), Split::Train).map_err(|error| error.to_string())?)
        },
    );
}

#[test]
fn index_of_shards() {
    let folder = folder();
    fs::write(folder.path().join("train-000000.tar"), shard()).unwrap();
    let path = folder.path().join("train.index");
    Shards::open(folder.path(), Split::Train).unwrap();
    let valid = vec![fs::read(&path).unwrap()];
    Target { name: "index", valid, hostile: Vec::new(), tokens: TOKENS, expansion: 100 }.run(
        amount(1000, 400_000),
        |input| {
            let mut bytes = input.to_vec();
            if let Some((body, checksum)) = bytes.split_last_chunk_mut::<4>() {
                *checksum = crc32c::crc32c(body).to_le_bytes();
            }
            fs::write(&path, bytes).unwrap();
            read_all(&Shards::open(folder.path(), Split::Train).map_err(|error| error.to_string())?)
        },
    );
}

#[test]
fn manifest_of_shards() {
    let folder = folder();
    let path = Manifest::path(folder.path());
    let valid =
        br#"{"version":1,"max_side":null,"quality":90,"class_names":["a","b"],"parts":[{"name":"train","images":2,
        "images_per_class":[1,1],"plan":"ab","index_sha256":"cd","shards":[{"name":"train-000000.tar","bytes":10240,
        "images":2,"sha256":"ef"}],"left_out":[{"image":"x","reason":"y"}]}]}"#;
    Target { name: "manifest", valid: vec![valid.to_vec()], hostile: vec![deep("[")], tokens: TOKENS, expansion: 100 }
        .run(amount(1000, 300_000), |input| {
            fs::write(&path, input).unwrap();
            Manifest::read(folder.path()).map(drop).map_err(|error| error.to_string())
        });
}

/// `pdarts data pack` from hostile tar files: nothing is written but into its folder.
#[test]
fn packs_stay_in_their_folder() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    let canary = folder.path().join("canary");
    fs::write(&canary, "as it was").unwrap();
    let options = PackOptions { skip_bad: 1000, max_side: Some(8), ..PackOptions::default() };
    Target { name: "pack", valid: vec![shard()], hostile: hostile(), tokens: TOKENS, expansion: 10_000 }.run(
        amount(60, 30_000),
        |input| {
            let _ = fs::remove_dir_all(&to);
            for name in ["train.index", "val.index"] {
                let _ = fs::remove_file(from.join(name));
            }
            for name in ["train-0.tar", "val-0.tar"] {
                fs::write(from.join(name), with_checksums(input)).unwrap();
            }
            let outcome = pack(&from, &to, options);
            assert_eq!(
                names(folder.path()),
                if to.exists() { &["canary", "from", "to"][..] } else { &["canary", "from"] }
            );
            assert_eq!(fs::read_to_string(&canary).unwrap(), "as it was");
            for entry in fs::read_dir(&to).into_iter().flatten() {
                assert!(entry.unwrap().file_type().unwrap().is_file());
            }
            outcome
        },
    );
}

fn pack(from: &Path, to: &Path, options: PackOptions) -> Result<(), String> {
    let pack = Pack::open(from, to, options).map_err(|error| error.to_string())?;
    let lock = pack.begin().map_err(|error| error.to_string())?;
    let alone = pdarts::data::RankShare { rank: 0, size: 1 };
    let one = std::num::NonZeroUsize::MIN;
    pack.write(alone, one, &mut |_| {}).and_then(|()| pack.finish()).map_err(|error| error.to_string())?;
    drop(lock);
    Ok(())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// `ILSVRC2012_img_train.tar`: tar files in a tar file.
#[test]
fn archives_as_published() {
    let folder = folder();
    let path = folder.path().join("ILSVRC2012_img_train.tar");
    let image = fixture("transforms/files/size_1x1.jpg");
    let regular = tar::EntryType::Regular;
    let class = tar(&[("n01440764_1.JPEG", &image, regular)]);
    let valid = vec![tar(&[("n01440764.tar", &class, regular), ("n01443537.tar", &class, regular)])];
    Target { name: "originals", valid, hostile: hostile(), tokens: TOKENS, expansion: 100 }.run(
        amount(200, 100_000),
        |input| {
            fs::write(&path, with_checksums(input)).unwrap();
            let parts = Images::open_all(folder.path()).map_err(|error| error.to_string())?;
            parts.iter().try_for_each(|(_, images)| read_all(images))
        },
    );
}

/// Labels of a folder of validation images: the devkit's numbers with its `meta.mat`.
#[test]
fn label_files() {
    let folder = folder();
    let root = folder.path();
    fs::create_dir(root.join("val")).unwrap();
    let image = fixture("transforms/files/size_1x1.jpg");
    for number in 1..=2 {
        fs::write(root.join(format!("val/ILSVRC2012_val_0000000{number}.JPEG")), &image).unwrap();
    }
    // Which file an input is, it says in its first byte.
    let file = |name: u8, bytes: Vec<u8>| [vec![name], bytes].concat();
    let valid = vec![
        file(b'0', fixture("devkit/meta.mat")),
        file(b'0', fixture("devkit/meta-compressed.mat")),
        file(b'1', b"1\n2\n".to_vec()),
        file(b'2', b"ILSVRC2012_val_00000001.JPEG 0\nILSVRC2012_val_00000002.JPEG 1\n".to_vec()),
        file(
            b'3',
            b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01 1 2 3\nILSVRC2012_val_00000002,n02 1\n".to_vec(),
        ),
    ];
    let names = ["meta.mat", "ILSVRC2012_validation_ground_truth.txt", "val.txt", "LOC_val_solution.csv"];
    let read = |input: &[u8]| {
        let (name, content) = input.split_first().unwrap_or((&b'0', &[]));
        let name = names[usize::from(*name) % 4];
        fs::write(root.join(name), content).unwrap();
        match name {
            "meta.mat" => fs::write(root.join(names[1]), "1\n2\n").unwrap(),
            _ if name == names[1] => fs::write(root.join("meta.mat"), fixture("devkit/meta.mat")).unwrap(),
            _ => {}
        }
        let outcome = ImageFolder::open(root, Split::Test).map_err(|error| error.to_string());
        names.iter().for_each(|name| drop(fs::remove_file(root.join(name))));
        read_all(&outcome?)
    };
    Target { name: "labels", valid, hostile: Vec::new(), tokens: TOKENS, expansion: 2000 }
        .run(amount(500, 300_000), read);
}
