//! Finds CIFAR-10 and CIFAR-100 on disk and reads the files of either release.
//!
//! Each set is published in a binary and a Python packing, as an archive that unpacks to one folder. Whichever of the
//! four is there is used (`find`, `archive`); nothing has to be converted or renamed.

mod archive;
mod find;

use std::path::Path;

use super::{CHANNELS, Colours, DataError, MemorySource, Split, cifar_binary, cifar_names, cifar_python};
use find::find;

/// Height and width of CIFAR's images in pixels.
pub const IMAGE_SIDE: usize = 32;
/// Bytes of one of them.
pub const IMAGE_BYTES: usize = IMAGE_SIDE * IMAGE_SIDE * CHANNELS;

/// One of the two data sets, with all the packings it is published in.
pub(super) struct Cifar {
    name: &'static str,
    class_names: &'static [&'static str],
    pub colours: Colours,
    releases: [Release; 2],
}

/// One packing: the archive, the folder inside it, and the files in that folder.
#[derive(Copy, Clone)]
struct Release {
    archive: &'static str,
    folder: &'static str,
    train: Files,
    test: Files,
    format: Format,
}

/// The files of one split; each holds the same number of images.
#[derive(Copy, Clone)]
struct Files {
    names: &'static [&'static str],
    num_records: usize,
}

#[derive(Copy, Clone)]
enum Format {
    Binary { label_bytes: usize },
    Python,
}

pub(super) static CIFAR10: Cifar = Cifar {
    name: "CIFAR-10",
    class_names: &cifar_names::CIFAR10,
    colours: Colours {
        mean: [0.491_399_68, 0.482_158_27, 0.446_531_24],
        std: [0.247_032_33, 0.243_485_05, 0.261_587_68],
    },
    releases: [
        Release {
            archive: "cifar-10-binary.tar.gz",
            folder: "cifar-10-batches-bin",
            train: Files {
                names: &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                num_records: 10_000,
            },
            test: Files { names: &["test_batch.bin"], num_records: 10_000 },
            format: Format::Binary { label_bytes: 1 },
        },
        Release {
            archive: "cifar-10-python.tar.gz",
            folder: "cifar-10-batches-py",
            train: Files {
                names: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
                num_records: 10_000,
            },
            test: Files { names: &["test_batch"], num_records: 10_000 },
            format: Format::Python,
        },
    ],
};

pub(super) static CIFAR100: Cifar = Cifar {
    name: "CIFAR-100",
    class_names: &cifar_names::CIFAR100,
    colours: Colours { mean: [0.5071, 0.4867, 0.4408], std: [0.2675, 0.2565, 0.2761] },
    releases: [
        Release {
            archive: "cifar-100-binary.tar.gz",
            folder: "cifar-100-binary",
            train: Files { names: &["train.bin"], num_records: 50_000 },
            test: Files { names: &["test.bin"], num_records: 10_000 },
            format: Format::Binary { label_bytes: 2 }, // coarse, fine
        },
        Release {
            archive: "cifar-100-python.tar.gz",
            folder: "cifar-100-python",
            train: Files { names: &["train"], num_records: 50_000 },
            test: Files { names: &["test"], num_records: 10_000 },
            format: Format::Python,
        },
    ],
};

/// Loads one split from wherever it is in `dir`: an unpacked folder, `dir` as that folder, or an archive; or from the
/// archive `dir`.
pub(super) fn load(cifar: &Cifar, dir: &Path, split: Split) -> Result<MemorySource, DataError> {
    let (release, files) = find(cifar, dir, split)?;
    let num_records = release.files(split).num_records;
    let mut dataset = MemorySource::new(cifar.class_names, IMAGE_SIDE, cifar.colours);
    for (path, bytes) in files {
        match release.format {
            Format::Binary { label_bytes } => {
                cifar_binary::append(&mut dataset, &bytes, &path, num_records, label_bytes)?;
            }
            Format::Python => cifar_python::append(&mut dataset, &bytes, &path, num_records)?,
        }
    }
    Ok(dataset)
}

impl Cifar {
    /// Whether a file of this name (in small letters) may hold this set rather than the other one.
    fn is_meant_by(&self, name: &str) -> bool {
        let is_of_100 = ["100", "c100"].iter().any(|mark| name.contains(mark));
        is_of_100 == (self.class_names.len() == 100)
    }
}

impl Release {
    fn files(&self, split: Split) -> Files {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// The most bytes that a file of `split` may have: the Python files have names and labels beside the images.
    fn most_bytes(&self, split: Split) -> u64 {
        const BESIDE_AN_IMAGE: usize = 256;
        const BESIDE_ALL: usize = 1 << 16;
        (self.files(split).num_records * (IMAGE_BYTES + BESIDE_AN_IMAGE) + BESIDE_ALL) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;
    use crate::data::Source;

    const PYTHON_BATCH: &[u8] = include_bytes!("../../tests/fixtures/cifar/cifar10_python2.pickle");
    const PYTHON_TRAIN: &[u8] = include_bytes!("../../tests/fixtures/cifar/cifar100_python2_fortran_order.pickle");

    /// The published layout with `num_records` images in every file.
    fn small(cifar: &Cifar, num_records: usize) -> Cifar {
        let releases = cifar.releases.map(|release| Release {
            train: Files { num_records, ..release.train },
            test: Files { num_records, ..release.test },
            ..release
        });
        Cifar { releases, ..*cifar }
    }

    /// A binary file of 2 images with the given labels, each image of one colour.
    fn binary(labels: [&[u8]; 2]) -> Vec<u8> {
        labels.iter().flat_map(|labels| [*labels, &[7; IMAGE_BYTES]].concat()).collect()
    }

    fn write(dir: &Path, name: &str, bytes: &[u8]) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// Five files with labels (0, 1), (2, 3), ... in the folder of the binary release, last one first.
    fn cifar10_members() -> Vec<(String, Vec<u8>)> {
        (0..5u8)
            .rev()
            .map(|i| (format!("cifar-10-batches-bin/data_batch_{}.bin", i + 1), binary([&[2 * i], &[2 * i + 1]])))
            .collect()
    }

    fn labels(dataset: &MemorySource) -> Vec<u32> {
        (0..dataset.len() as u32).filter_map(|index| dataset.label(index)).collect()
    }

    fn refusal(cifar: &Cifar, dir: &TempDir, split: Split) -> String {
        let error = load(&small(cifar, 2), dir.path(), split).unwrap_err().to_string();
        error.replace(&dir.path().display().to_string(), "DIR")
    }

    #[test]
    fn names_are_one_per_class_in_alphabetical_order() {
        assert!(cifar_names::CIFAR10.is_sorted() && cifar_names::CIFAR100.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn cifar10_loads_from_the_binary_folder_from_inside_it_and_from_the_archive() {
        let dir = TempDir::new().unwrap();
        for (name, bytes) in cifar10_members() {
            write(dir.path(), &name, &bytes);
        }
        let cifar = small(&CIFAR10, 2);
        let whole: Vec<u32> = (0..10).collect();
        assert_eq!(labels(&load(&cifar, dir.path(), Split::Train).unwrap()), whole);
        assert_eq!(labels(&load(&cifar, &dir.path().join("cifar-10-batches-bin"), Split::Train).unwrap()), whole);

        let dir = TempDir::new().unwrap();
        write(dir.path(), "cifar-10-binary.tar.gz", &archive(&cifar10_members()));
        assert_eq!(labels(&load(&cifar, dir.path(), Split::Train).unwrap()), whole);
    }

    #[test]
    fn cifar10_loads_from_the_python_archive() {
        let dir = TempDir::new().unwrap();
        let members = [("./cifar-10-batches-py/test_batch".to_owned(), PYTHON_BATCH.to_vec())];
        write(dir.path(), "cifar-10-python.tar.gz", &archive(&members));
        let dataset = load(&small(&CIFAR10, 2), dir.path(), Split::Test).unwrap();
        assert_eq!((labels(&dataset), dataset.class_names().len()), (vec![6, 9], 10));
    }

    #[test]
    fn cifar100_loads_fine_labels_from_either_release() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "cifar-100-python/train", PYTHON_TRAIN);
        assert_eq!(labels(&load(&small(&CIFAR100, 2), dir.path(), Split::Train).unwrap()), [99, 0]);
        write(dir.path(), "cifar-100-binary/train.bin", &binary([&[19, 90], &[3, 42]]));
        assert_eq!(labels(&load(&small(&CIFAR100, 2), dir.path(), Split::Train).unwrap()), [90, 42]);
    }

    #[test]
    fn nested_folder_and_archives_under_other_names_are_found() {
        let cifar = small(&CIFAR10, 2);
        let whole: Vec<u32> = (0..10).collect();
        let zipped = archive(&cifar10_members());
        let mut tar = Vec::new();
        io::copy(&mut flate2::read::GzDecoder::new(zipped.as_slice()), &mut tar).unwrap();
        for (name, bytes) in [
            ("cifar-10-binary(1).tar.gz", &zipped),
            ("CIFAR10.tgz", &zipped),
            ("cifar-10-binary.tar", &tar),
            ("cifar-10-binary.zip", &zipped),
            ("downloads/cifar-10-binary.tar.gz", &zipped),
        ] {
            let dir = TempDir::new().unwrap();
            write(dir.path(), name, bytes);
            assert_eq!(labels(&load(&cifar, dir.path(), Split::Train).unwrap()), whole, "{name}");
            // The archive itself.
            assert_eq!(labels(&load(&cifar, &dir.path().join(name), Split::Train).unwrap()), whole, "{name}");
        }
        let dir = TempDir::new().unwrap();
        for (name, bytes) in cifar10_members() {
            write(dir.path(), &format!("cifar-10-batches-bin/{name}"), &bytes);
        }
        assert_eq!(labels(&load(&cifar, dir.path(), Split::Train).unwrap()), whole);
        assert_eq!(labels(&load(&cifar, &dir.path().join("cifar-10-batches-bin"), Split::Train).unwrap()), whole);
    }

    #[test]
    fn archive_is_taken_where_its_folder_was_unpacked_by_half() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "cifar-10-binary.tar.gz", &archive(&cifar10_members()));
        let whole: Vec<u32> = (0..10).collect();
        for (name, bytes) in [("data_batch_5.bin", &cifar10_members()[0].1[..]), ("data_batch_4.bin", b"short")] {
            write(dir.path(), &format!("cifar-10-batches-bin/{name}"), bytes);
            assert_eq!(labels(&load(&small(&CIFAR10, 2), dir.path(), Split::Train).unwrap()), whole);
        }
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "cifar-100-binary.tar.gz", b"");
        write(dir.path(), "notes.txt", b"");
        let error = refusal(&CIFAR10, &dir, Split::Train);
        let expected = "CIFAR-10 is not in DIR (it holds cifar-100-binary.tar.gz, notes.txt): download ";
        assert!(error.starts_with(expected), "{error}");
        write(dir.path(), "cifar-10-python.zip", b"PK\x03\x04...");
        let error = refusal(&CIFAR10, &dir, Split::Train);
        assert_eq!(error, "DIR/cifar-10-python.zip is a zip archive: unpack it, and name the folder");
        let error = load(&CIFAR10, Path::new("no-such-folder"), Split::Train).unwrap_err().to_string();
        let absolute = std::path::absolute("no-such-folder").unwrap();
        assert!(error.contains(&format!("{} (No such file or directory", absolute.display())), "{error}");
    }

    #[test]
    fn one_file_in_the_place_of_its_folder_is_told_as_such() {
        let dir = TempDir::new().unwrap();
        for (name, split) in
            [("data_batch_1.bin", Split::Train), ("data_batch_1", Split::Test), ("test_batch", Split::Train)]
        {
            write(dir.path(), name, &[7; 3073]);
            let path = dir.path().join(name);
            let error = load(&CIFAR10, &path, split).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("{} is one file of CIFAR-10: name the folder that holds all of them", path.display())
            );
        }
    }

    #[test]
    fn a_missing_set_says_what_to_download_and_where_to_put_it() {
        let dir = TempDir::new().unwrap();
        assert_eq!(
            refusal(&CIFAR10, &dir, Split::Train),
            "CIFAR-10 is not in DIR (it is empty): download cifar-10-binary.tar.gz or cifar-10-python.tar.gz and put the file, or \
             the folder unpacked from it, into DIR (pdarts data fetch does that), or name the folder that it is in with --data"
        );
    }

    #[test]
    fn a_file_of_another_length_is_named_with_the_difference() {
        let dir = TempDir::new().unwrap();
        let mut bytes = binary([&[0], &[1]]);
        bytes.truncate(6000);
        write(dir.path(), "cifar-10-batches-bin/test_batch.bin", &bytes);
        let path = "DIR/cifar-10-batches-bin/test_batch.bin";
        let expected = format!("{path} is 146 bytes short: it has 6000 bytes, expected 6146; download it again");
        assert_eq!(refusal(&CIFAR10, &dir, Split::Test), expected);

        bytes.resize(6150, 0);
        write(dir.path(), "cifar-10-batches-bin/test_batch.bin", &bytes);
        let expected = format!("{path} is 4 bytes too long: it has 6150 bytes, expected 6146; download it again");
        assert_eq!(refusal(&CIFAR10, &dir, Split::Test), expected);
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_record() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "cifar-100-binary/test.bin", &binary([&[19, 99], &[3, 100]]));
        assert_eq!(
            refusal(&CIFAR100, &dir, Split::Test),
            "DIR/cifar-100-binary/test.bin: record 1 (counted from 0) has label 100, expected 0 to 99"
        );
    }

    #[test]
    fn a_missing_file_of_a_folder_or_of_an_archive_is_named() {
        let dir = TempDir::new().unwrap();
        let mut members = cifar10_members();
        members.remove(2);
        for (name, bytes) in &members {
            write(dir.path(), name, bytes);
        }
        let error = refusal(&CIFAR10, &dir, Split::Train);
        assert!(error.starts_with("cannot read DIR/cifar-10-batches-bin/data_batch_3.bin (No such file"), "{error}");

        let dir = TempDir::new().unwrap();
        write(dir.path(), "cifar-10-binary.tar.gz", &archive(&members));
        let expected = "DIR/cifar-10-binary.tar.gz has no file cifar-10-batches-bin/data_batch_3.bin";
        assert!(refusal(&CIFAR10, &dir, Split::Train).starts_with(expected));
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let whole = archive(&cifar10_members());
        let mut flipped = whole.clone();
        let last = flipped.len() - 6; // in the checksum
        flipped[last] ^= 1;
        for bytes in [&whole[..whole.len() / 2], &whole[..whole.len() - 4], &flipped, b"<html>not found</html>", b""] {
            let dir = TempDir::new().unwrap();
            write(dir.path(), "cifar-10-binary.tar.gz", bytes);
            let error = refusal(&CIFAR10, &dir, Split::Train);
            assert!(error.starts_with("cannot unpack DIR/cifar-10-binary.tar.gz ("), "{error}");
            assert!(error.ends_with("the archive is damaged or incomplete, download it again"), "{error}");
        }
    }
}
