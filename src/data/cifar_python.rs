//! The Python release of CIFAR: pickles of a dictionary with a list of labels and a numpy array `[N, 3072]` of bytes.
//!
//! numpy pickles an array as a call of `_reconstruct`, which makes an empty one, followed by the state that fills it:
//! `(version, shape, dtype, is_fortran, buffer)`. The decoder here executes no calls and puts the state in place of the
//! object it belongs to, so the buffer can be read without numpy. The dtype is lost on the way; the length of the
//! buffer shows that there is one byte per element.

mod opcodes;

use std::path::Path;

use serde::{Deserialize, de::IgnoredAny};
use serde_pickle::{DeOptions, Error, Value};

use super::{DataError, IMAGE_BYTES, MemorySource};

/// What is read of a batch; Python 2 wrote the keys as bytes, Python 3 writes them as text, serde takes either.
#[derive(Deserialize)]
struct PickledBatch {
    #[serde(alias = "fine_labels")]
    labels: Vec<i64>,
    data: ArrayState,
}

/// The state of a numpy array.
#[derive(Deserialize)]
struct ArrayState {
    _version: i64,
    shape: (usize, usize),
    _dtype: IgnoredAny,
    is_fortran: bool,
    buffer: Value,
}

/// Appends the images of one file, which must hold `num_records` images.
///
/// # Errors
/// If the file is no such pickle or cut off, has another number of images, or a label is out of range; all name `path`.
pub(super) fn append(
    dataset: &mut MemorySource,
    bytes: &[u8],
    path: &Path,
    num_records: usize,
) -> Result<(), DataError> {
    let refuse = |reason: String| DataError::Pickle { path: path.into(), reason };
    let images_bytes = num_records * IMAGE_BYTES;
    let undecodable = |reason: String| {
        let len = bytes.len();
        refuse(match () {
            () if len < images_bytes => {
                format!("it has {len} bytes, but {num_records} images alone take {images_bytes}")
            }
            () if [1, 2].map(|label_bytes| images_bytes + label_bytes * num_records).contains(&len) => {
                "it is as long as a file of the binary release, whose names end in .bin".to_owned()
            }
            () => reason,
        })
    };
    opcodes::check(bytes).map_err(undecodable)?;
    let decoded = serde_pickle::from_slice(bytes, DeOptions::new());
    let PickledBatch { labels, data } = decoded.map_err(|error| undecodable(describe(error)))?;
    let Value::Bytes(buffer) = data.buffer else {
        return Err(refuse("its `data` is not an array of bytes".to_owned()));
    };
    if data.shape != (num_records, IMAGE_BYTES) || buffer.len() != images_bytes {
        let (rows, columns) = data.shape;
        return Err(refuse(format!(
            "its `data` is {rows} x {columns} in {} bytes, expected {num_records} x {IMAGE_BYTES}",
            buffer.len()
        )));
    }
    if labels.len() != num_records {
        return Err(refuse(format!("it has {} labels for {num_records} images", labels.len())));
    }
    let planes = if data.is_fortran { transpose(&buffer, num_records) } else { buffer };
    for (record, (planes, label)) in planes.chunks_exact(IMAGE_BYTES).zip(labels).enumerate() {
        dataset.push_record(planes, label, path, record)?;
    }
    Ok(())
}

/// One line for a failure to decode. The decoder's own text may quote a whole array.
fn describe(error: Error) -> String {
    match error {
        Error::Eval(_, offset) => format!("it cannot be decoded beyond byte {offset}"),
        Error::Io(error) => error.to_string(),
        Error::Syntax(code) => code.to_string().chars().take(200).collect(),
    }
}

/// Rows of an array `[num_rows, IMAGE_BYTES]` that is stored column by column.
fn transpose(columns: &[u8], num_rows: usize) -> Vec<u8> {
    (0..num_rows).flat_map(|row| columns.iter().skip(row).step_by(num_rows).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Colours, IMAGE_SIDE, Source, cifar_names};

    const COLOURS: Colours = Colours { mean: [0.0; 3], std: [1.0; 3] };

    const FILE: &str = "data_batch_1";

    fn read(bytes: &[u8], num_records: usize) -> Result<MemorySource, DataError> {
        let mut dataset = MemorySource::new(&cifar_names::CIFAR100, IMAGE_SIDE, COLOURS);
        append(&mut dataset, bytes, Path::new(FILE), num_records).map(|()| dataset)
    }

    /// The pixels that the fixtures were written with.
    fn fixture_pixel(record: usize, channel: usize, position: usize) -> u8 {
        ((100 * record + 3 * position + 50 * channel) % 251) as u8
    }

    fn assert_holds(bytes: &[u8], labels: [u32; 2]) {
        let dataset = read(bytes, 2).unwrap();
        for (record, label) in (0..).zip(labels) {
            assert_eq!(dataset.label(record), Some(label));
            let expected: Vec<u8> = (0..IMAGE_SIDE * IMAGE_SIDE)
                .flat_map(|position| (0..3).map(move |channel| fixture_pixel(record as usize, channel, position)))
                .collect();
            assert_eq!(dataset.image(record).unwrap(), expected);
        }
    }

    // Written by cPickle of Python 2.7 with numpy 1.16 and by Python 3.11 with numpy 2, all in protocol 2.
    const PYTHON2: &[u8] = include_bytes!("../../tests/fixtures/cifar/cifar10_python2.pickle");
    const PYTHON3: &[u8] = include_bytes!("../../tests/fixtures/cifar/cifar10_python3.pickle");
    const FORTRAN_ORDER: &[u8] = include_bytes!("../../tests/fixtures/cifar/cifar100_python2_fortran_order.pickle");

    #[test]
    fn reads_what_python_2_wrote() {
        assert_holds(PYTHON2, [6, 9]);
    }

    #[test]
    fn reads_what_python_3_wrote() {
        assert_holds(PYTHON3, [6, 9]);
    }

    #[test]
    fn reads_fine_labels_and_columns_first() {
        assert_holds(FORTRAN_ORDER, [99, 0]);
    }

    #[test]
    fn another_number_of_images_is_refused() {
        let error = read(PYTHON2, 3).unwrap_err().to_string();
        assert_eq!(
            error,
            "data_batch_1 is not a batch of the Python release: its `data` is 2 x 3072 in 6144 bytes, expected 3 x \
             3072; download it again"
        );
    }

    #[test]
    fn file_of_the_binary_release_is_told_as_such() {
        let error = read(&[7; 2 * (IMAGE_BYTES + 1)], 2).unwrap_err().to_string();
        assert!(error.contains("it is as long as a file of the binary release, whose names end in .bin"), "{error}");
    }

    #[test]
    fn a_label_out_of_range_is_refused_by_record() {
        let mut dataset = MemorySource::new(&cifar_names::CIFAR10, IMAGE_SIDE, COLOURS);
        let error = append(&mut dataset, FORTRAN_ORDER, Path::new("train"), 2).unwrap_err().to_string();
        assert_eq!(error, "train: record 0 (counted from 0) has label 99, expected 0 to 9");
    }

    #[test]
    fn every_cut_is_an_error_of_one_line() {
        for len in (0..PYTHON2.len()).step_by(7) {
            let error = read(&PYTHON2[..len], 2).unwrap_err().to_string();
            assert!(error.starts_with(FILE) && !error.contains('\n') && error.len() < 400, "{error}");
        }
        let error = read(&PYTHON2[..6000], 2).unwrap_err().to_string();
        assert!(error.contains("it has 6000 bytes, but 2 images alone take 6144"), "{error}");
    }

    #[test]
    fn no_damage_to_a_header_panics() {
        let header = 150;
        for position in 0..header {
            for byte in 0..=255 {
                let mut bytes = PYTHON2.to_vec();
                bytes[position] = byte;
                if let Err(error) = read(&bytes, 2) {
                    let error = error.to_string();
                    assert!(!error.contains('\n') && error.len() < 400, "{error}");
                }
            }
        }
    }
}
