//! The binary record layout of CIFAR: label bytes, then the red, green and blue planes of 32x32 bytes.
//!
//! CIFAR-10 has one label byte per record, CIFAR-100 two, of which the last (the fine label) counts. The embedded data
//! set uses the CIFAR-10 layout.

use std::path::Path;

use super::{DataError, IMAGE_BYTES, MemorySource};

/// Appends the images of one file, which must hold `num_records` records of `label_bytes` labels each.
///
/// # Errors
/// If the file has another length, or a label is out of range; both name `path`.
pub(super) fn append(
    dataset: &mut MemorySource,
    bytes: &[u8],
    path: &Path,
    num_records: usize,
    label_bytes: usize,
) -> Result<(), DataError> {
    let record_bytes = label_bytes + IMAGE_BYTES;
    let (found, expected) = (bytes.len(), num_records * record_bytes);
    if found < expected {
        return Err(DataError::Short { path: path.into(), found, expected });
    }
    if found > expected {
        return Err(DataError::Long { path: path.into(), found, expected });
    }
    for (record, bytes) in bytes.chunks_exact(record_bytes).enumerate() {
        let (labels, planes) = bytes.split_at(label_bytes);
        dataset.push_record(planes, labels[label_bytes - 1].into(), path, record)?;
    }
    Ok(())
}
