//! `torch.save` since PyTorch 1.6: a zip archive with the pickle in `NAME/data.pkl`, each storage in `NAME/data/KEY`,
//! and the order of bytes in `NAME/byteorder`, all stored without compression.

use std::io::{Cursor as IoCursor, Read};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::WeightsProblem;
use super::error::quoted;
use super::storage::StorageSource;

/// An archive in memory.
pub(super) struct TorchZip<'a> {
    archive: ZipArchive<IoCursor<&'a [u8]>>,
    /// The folder in the archive, with its slash.
    folder: String,
    /// Bytes of the file less those that were read: entries that overlap are a bomb.
    bytes_left: u64,
}

impl<'a> TorchZip<'a> {
    /// Opens the archive `bytes`.
    ///
    /// # Errors
    /// An archive that is damaged, or that `torch.save` did not write on a machine like this.
    pub fn open(bytes: &'a [u8]) -> Result<Self, WeightsProblem> {
        let archive = ZipArchive::new(IoCursor::new(bytes)).map_err(|error| problem(&error))?;
        let mut names = archive.file_names().filter_map(Result::ok);
        let folder = names.find_map(|name| name.strip_suffix("data.pkl").map(str::to_owned));
        drop(names);
        let Some(folder) = folder else {
            return Err(WeightsProblem::unsupported(
                "a zip archive without data.pkl, which torch.save did not write; give a safetensors file or one that \
                 torch.save wrote",
            ));
        };
        let mut file = Self { archive, folder, bytes_left: bytes.len() as u64 };
        if file.has("constants.pkl") {
            return Err(WeightsProblem::unsupported(
                "a TorchScript program, not a file of weights; in Python: torch.save(torch.jit.load(FILE).state_dict(), \
                 OTHER)",
            ));
        }
        if file.has("byteorder") && file.entry("byteorder")? != b"little" {
            return Err(WeightsProblem::unsupported(
                "it was written on a big-endian machine; in Python: torch.serialization.set_default_load_endianness, \
                 then save it again",
            ));
        }
        Ok(file)
    }

    /// The pickle of the saved object.
    ///
    /// # Errors
    /// When the archive is damaged.
    pub fn pickle(&mut self) -> Result<Vec<u8>, WeightsProblem> {
        self.entry("data.pkl")
    }

    fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{}{name}", self.folder)).is_some()
    }

    fn entry(&mut self, name: &str) -> Result<Vec<u8>, WeightsProblem> {
        let entry = self.archive.by_name(&format!("{}{name}", self.folder));
        let mut entry = entry.map_err(|error| match error {
            ZipError::FileNotFound => WeightsProblem::damaged(format!("it has no {}", quoted(name))),
            other => problem(&other),
        })?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(problem(&ZipError::UnsupportedArchive("compressed")));
        }
        let size = entry.size();
        self.bytes_left = self.bytes_left.checked_sub(size).ok_or_else(|| {
            WeightsProblem::damaged(format!("{} and what was read before are longer than the file", quoted(name)))
        })?;
        let mut bytes = Vec::with_capacity(size as usize);
        // The reader compares the checksum at the end.
        let read = entry.read_to_end(&mut bytes);
        read.map_err(|error| WeightsProblem::damaged(format!("{}: {error}", quoted(name))))?;
        Ok(bytes)
    }
}

impl StorageSource for TorchZip<'_> {
    fn bytes(&mut self, key: &str, num_bytes: u64) -> Result<Vec<u8>, WeightsProblem> {
        let mut bytes = self.entry(&format!("data/{key}"))?;
        let found = bytes.len() as u64;
        if found < num_bytes {
            let key = quoted(key);
            return Err(WeightsProblem::damaged(format!("storage {key} has {found} bytes, expected {num_bytes}")));
        }
        bytes.truncate(num_bytes as usize);
        Ok(bytes)
    }
}

fn problem(error: &ZipError) -> WeightsProblem {
    match error {
        ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_) => WeightsProblem::unsupported(
            "a zip archive with compressed or encrypted files, which torch.save never writes; save it again with \
             torch.save",
        ),
        other => WeightsProblem::damaged(other.to_string()),
    }
}
