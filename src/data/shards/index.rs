//! The index of a set of shards: where each image is, its size, its class and its checksum, in one file read at once.
//!
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `PDSHARDS` |
//! | 4 | version, 1 |
//! | 4 | flags: 1 = checksums of images are known, 2 = made by reading shards of others |
//! | 4, 4, 4 | number of classes C, of shards S, of images left out B |
//! | 4 | zero |
//! | 8 | number of images N |
//! | 8 | bytes of the tables |
//! | 32 | SHA-256 of what the shards were made from and how; zero where others made them |
//! | | tables: C names of classes; S shards (name, 8 bytes of its size, 8 of its number of images, 32 of its SHA-256); |
//! | | B images left out (where, why); a text is its length in 4 bytes and UTF-8 |
//! | 20 N | images: number of the shard, first byte in it / 512, bytes, label, CRC-32C of these bytes |
//! | 4 | CRC-32C of all before |
//!
//! Images are in the order of what the shards were made from, so that a run on shards sees the batches of a run on the
//! folder. 1.28 million of them take 26 MB, which stay as they are in memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use sha2::{Digest, Sha256};

use crate::data::DataError;

const MAGIC: &[u8; 8] = b"PDSHARDS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 80;
const ENTRY_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 4;
/// Tar files consist of blocks of this many bytes.
pub(super) const BLOCK: u64 = 512;

const HAS_CHECKSUMS: u32 = 1;
const IS_SCANNED: u32 = 2;

/// One tar file of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardFile {
    /// Path below the set's folder.
    pub name: String,
    pub bytes: u64,
    pub images: u64,
    /// Zero where it was not computed.
    pub sha256: [u8; 32],
}

/// Where one image is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number of the shard.
    pub shard: u32,
    /// First byte in the shard, a multiple of [`BLOCK`].
    pub offset: u64,
    pub bytes: u32,
    pub label: u32,
    /// CRC-32C; zero where it is not known.
    pub crc: u32,
}

impl Entry {
    /// From [`ENTRY_BYTES`] of the file.
    fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = bytes.chunks_exact(4).map(|bytes| bytes.try_into().map_or(0, u32::from_le_bytes));
        let mut next = || numbers.next().unwrap_or_default();
        let (shard, block) = (next(), next());
        Self { shard, offset: u64::from(block) * BLOCK, bytes: next(), label: next(), crc: next() }
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub has_checksums: bool,
    pub is_scanned: bool,
    pub classes: Vec<String>,
    pub shards: Vec<ShardFile>,
    /// Images left out: where and why.
    pub left_out: Vec<(String, String)>,
    pub plan: [u8; 32],
    /// As in the file.
    pub(super) entries: Vec<u8>,
}

impl Index {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Appends an image; `false` if its place cannot be stated.
    pub fn push(&mut self, entry: Entry) -> bool {
        let (Ok(block), true) = (u32::try_from(entry.offset / BLOCK), entry.offset.is_multiple_of(BLOCK)) else {
            return false;
        };
        for number in [entry.shard, block, entry.bytes, entry.label, entry.crc] {
            self.entries.extend_from_slice(&number.to_le_bytes());
        }
        true
    }

    /// Image number `index`.
    pub fn entry(&self, index: usize) -> Option<Entry> {
        self.entries.chunks_exact(ENTRY_BYTES).nth(index).map(Entry::from_bytes)
    }

    /// All images.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        self.entries.chunks_exact(ENTRY_BYTES).map(Entry::from_bytes)
    }

    /// SHA-256, in hexadecimal, of classes, shards and images.
    pub fn digest(&self) -> String {
        format!("{:x}", Sha256::digest(self.to_bytes()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&self.to_bytes())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut tables = Vec::new();
        let text = |tables: &mut Vec<u8>, text: &str| {
            tables.extend_from_slice(&(text.len() as u32).to_le_bytes());
            tables.extend_from_slice(text.as_bytes());
        };
        self.classes.iter().for_each(|class| text(&mut tables, class));
        for shard in &self.shards {
            text(&mut tables, &shard.name);
            tables.extend_from_slice(&shard.bytes.to_le_bytes());
            tables.extend_from_slice(&shard.images.to_le_bytes());
            tables.extend_from_slice(&shard.sha256);
        }
        for (place, reason) in &self.left_out {
            text(&mut tables, place);
            text(&mut tables, reason);
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + tables.len() + self.entries.len() + CHECKSUM_BYTES);
        bytes.extend_from_slice(MAGIC);
        let flags = u32::from(self.has_checksums) * HAS_CHECKSUMS + u32::from(self.is_scanned) * IS_SCANNED;
        let [classes, shards, left_out] = [self.classes.len(), self.shards.len(), self.left_out.len()];
        for number in [VERSION, flags, classes as u32, shards as u32, left_out as u32, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(tables.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.plan);
        bytes.extend_from_slice(&tables);
        bytes.extend_from_slice(&self.entries);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the index file `path`. What it claims is compared with the file's size before anything is made of it.
    ///
    /// # Errors
    /// When it cannot be read, is no index of this version, or is damaged.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let refused = |problem: String| {
            DataError::images(path, format!("{problem}: copy the file again, or remove it and make it anew"))
        };
        let failed = |error: io::Error| refused(format!("cannot be read ({error})"));
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut header = [0; HEADER_BYTES];
        if size < HEADER_BYTES as u64 {
            return Err(refused(format!("is no index of shards: it has {size} bytes")));
        }
        file.read_exact(&mut header).map_err(failed)?;
        let mut cursor = Cursor(&header);
        if cursor.take(8) != Some(MAGIC) {
            return Err(refused("is no index of shards".into()));
        }
        let mut number = || cursor.u32().unwrap_or_default();
        let [version, flags, num_classes, num_shards, num_left_out, _] = std::array::from_fn(|_| number());
        if version != VERSION {
            return Err(refused(format!("has version {version} of the format, this program reads {VERSION}")));
        }
        let [num_images, table_bytes] = [cursor.u64(), cursor.u64()].map(Option::unwrap_or_default);
        let expected = num_images
            .checked_mul(ENTRY_BYTES as u64)
            .and_then(|bytes| bytes.checked_add(table_bytes))
            .and_then(|bytes| bytes.checked_add((HEADER_BYTES + CHECKSUM_BYTES) as u64));
        if expected != Some(size) || num_images > u64::from(u32::MAX) {
            return Err(refused(format!("is damaged: it claims {num_images} images, but has {size} bytes")));
        }
        let mut body = Vec::new();
        file.read_to_end(&mut body).map_err(failed)?;
        let (bytes, checksum) =
            body.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| refused("is damaged".into()))?;
        if crc32c::crc32c_append(crc32c::crc32c(&header), bytes) != u32::from_le_bytes(*checksum) {
            return Err(refused("is damaged: its checksum is wrong".into()));
        }
        let mut plan = [0; 32];
        plan.copy_from_slice(&header[HEADER_BYTES - 32..]);
        let mut index = Self {
            has_checksums: flags & HAS_CHECKSUMS != 0,
            is_scanned: flags & IS_SCANNED != 0,
            plan,
            ..Self::default()
        };
        // The tables end within the body, for its size is as claimed.
        let (tables, _) = bytes.split_at(table_bytes as usize);
        let counts = [num_classes, num_shards, num_left_out];
        index.read_tables(tables, counts).ok_or_else(|| refused("is damaged: its tables are cut short".into()))?;
        body.truncate(body.len() - CHECKSUM_BYTES);
        body.drain(..table_bytes as usize);
        index.entries = body;
        index.check().map_err(refused)?;
        Ok(index)
    }

    fn read_tables(&mut self, tables: &[u8], [classes, shards, left_out]: [u32; 3]) -> Option<()> {
        let mut cursor = Cursor(tables);
        for _ in 0..classes {
            self.classes.push(cursor.text()?);
        }
        for _ in 0..shards {
            let name = cursor.text()?;
            let [bytes, images] = [cursor.u64()?, cursor.u64()?];
            self.shards.push(ShardFile { name, bytes, images, sha256: *cursor.take(32)?.first_chunk()? });
        }
        for _ in 0..left_out {
            self.left_out.push((cursor.text()?, cursor.text()?));
        }
        cursor.0.is_empty().then_some(())
    }

    /// Whether all entries lie within their shards and have a class.
    fn check(&self) -> Result<(), String> {
        for shard in &self.shards {
            if Path::new(&shard.name).components().any(|part| !matches!(part, Component::Normal(_))) {
                return Err(format!("names a shard {}, which is not in its folder", shard.name));
            }
        }
        let mut counts = vec![0; self.shards.len()];
        for entry in self.iter() {
            let number = entry.shard as usize;
            let Some(shard) = self.shards.get(number) else {
                return Err(format!("is damaged: it has an image in shard {number}"));
            };
            counts[number] += 1;
            if entry.offset + u64::from(entry.bytes) > shard.bytes || entry.offset < BLOCK {
                return Err(format!("is damaged: it has an image beyond the end of {}", shard.name));
            }
            if entry.label as usize >= self.classes.len() {
                return Err(format!("is damaged: it has an image of class {}", entry.label));
            }
        }
        match self.shards.iter().zip(counts).find(|(shard, count)| shard.images != *count) {
            Some((shard, count)) => {
                Err(format!("is damaged: it has {count} images of {}, not {}", shard.name, shard.images))
            }
            None => Ok(()),
        }
    }
}

/// Takes numbers and texts off the front of bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()?;
        String::from_utf8(self.take(length as usize)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn index(num_images: u32) -> Index {
        let mut index = Index {
            has_checksums: true,
            classes: vec!["a".into(), "é".into()],
            shards: vec![ShardFile {
                name: "train-000000.tar".into(),
                bytes: BLOCK * (2 * u64::from(num_images) + 4),
                images: num_images.into(),
                sha256: [7; 32],
            }],
            left_out: vec![("x.jpg".into(), "it is empty".into())],
            plan: [9; 32],
            ..Index::default()
        };
        for image in 0..num_images {
            let offset = BLOCK * (1 + 2 * u64::from(image));
            assert!(index.push(Entry { shard: 0, offset, bytes: 300 + image % 100, label: image % 2, crc: image }));
        }
        index
    }

    fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.index");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn index_comes_back_as_it_was_written() {
        let index = index(5);
        let (_dir, path) = written(&index.to_bytes());
        let read = Index::read(&path).unwrap();
        assert_eq!(read, index);
        assert_eq!(read.entry(4), Some(Entry { shard: 0, offset: BLOCK * 9, bytes: 304, label: 0, crc: 4 }));
        assert_eq!((read.entry(5), read.len()), (None, 5));
        let mut unaligned = index;
        assert!(!unaligned.push(Entry { shard: 0, offset: 1, bytes: 1, label: 0, crc: 0 }));
        assert!(!unaligned.push(Entry { shard: 0, offset: BLOCK << 32, bytes: 1, label: 0, crc: 0 }));
    }

    #[test]
    fn any_changed_or_missing_byte_is_told_in_one_line() {
        let whole = index(3).to_bytes();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            for bytes in [&changed[..], &whole[..at]] {
                let (_dir, path) = written(bytes);
                let message = Index::read(&path).unwrap_err().to_string();
                assert!(message.lines().count() == 1 && message.contains("train.index"), "{message}");
            }
        }
    }

    #[test]
    fn counts_beyond_the_file_ask_for_no_memory() {
        for claimed in [1u64 << 60, u64::MAX, 1 << 32] {
            let mut bytes = index(3).to_bytes();
            bytes[32..40].copy_from_slice(&claimed.to_le_bytes());
            let (_dir, path) = written(&bytes);
            let message = Index::read(&path).unwrap_err().to_string();
            assert!(message.contains(&format!("it claims {claimed} images")), "{message}");
        }
    }

    /// ImageNet's training images.
    #[test]
    fn index_of_imagenets_size_takes_20_bytes_an_image() {
        let (_dir, path) = written(&index(1_281_167).to_bytes());
        let read = Index::read(&path).unwrap();
        assert_eq!(read.len(), 1_281_167);
        assert!(read.entries.capacity() <= 1_281_167 * ENTRY_BYTES * 2);
    }
}
