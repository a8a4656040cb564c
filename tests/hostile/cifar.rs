//! CIFAR as it is downloaded: archives, and the pickles of the Python release.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use pdarts::data::{DatasetKind, Split, open};

use crate::amount;
use crate::corpus::folder;
use crate::shards::{hostile, shard, tar, with_checksums};
use crate::target::Target;

const TOKENS: &[&str] =
    &["ustar", "cifar-10-batches-bin/test_batch.bin\u{0}", "77777777777", "././@LongLink", "x", "L"];

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A file of the binary release that has no image, and so is refused at last.
fn archive(bytes: &[u8]) -> Vec<u8> {
    tar(&[("cifar-10-batches-bin/test_batch.bin", bytes, tar::EntryType::Regular)])
}

#[test]
fn archives() {
    let folder = folder();
    let path = folder.path().join("cifar-10-binary.tar.gz");
    let name = |size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(size);
        header.set_cksum();
        [header.as_bytes().to_vec(), vec![b'a'; 1 << 20]].concat()
    };
    let corpus = [archive(&[0; 3073]), shard(), name(1 << 20), name(1 << 40)];
    let hostile = corpus.into_iter().chain(hostile()).collect();
    Target { name: "cifar-archive", valid: Vec::new(), hostile, tokens: TOKENS, expansion: 2000 }.run(
        amount(300, 200_000),
        |input| {
            let bytes = with_checksums(input);
            // Half of them unpacked: gzip's checksum would keep damage from what is in it.
            let bytes = if input.len().is_multiple_of(2) { packed(&bytes) } else { bytes };
            fs::write(&path, bytes).unwrap();
            open(DatasetKind::Cifar10, folder.path(), Split::Test).map(drop).map_err(|error| error.to_string())
        },
    );
}

/// What a small file unpacks to must not fill the memory.
#[test]
fn archive_that_unpacks_to_much_more_than_the_data_set() {
    let folder = folder();
    let path = folder.path().join("cifar-10-binary.tar.gz");
    for kind in [tar::EntryType::Regular, tar::EntryType::GNULongName] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path("cifar-10-batches-bin/test_batch.bin").unwrap();
        header.set_size(1 << 30);
        header.set_cksum();
        let mut encoder = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(header.as_bytes()).unwrap();
        for _ in 0..1 << 10 {
            encoder.write_all(&[0; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap();
        let load = || open(DatasetKind::Cifar10, folder.path(), Split::Test).err().map(|error| error.to_string());
        let (refusal, bytes) = crate::allocations::peak_bytes(load);
        assert!(bytes < 128 << 20, "{kind:?}: {bytes} bytes");
        assert!(refusal.unwrap().contains("cifar-10-binary.tar.gz"));
    }
}
