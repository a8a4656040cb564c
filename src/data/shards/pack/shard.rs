//! One shard as it is written: a tar file whose bytes are a function of its images.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::convert::Converted;
use crate::data::shards::index::{BLOCK, Entry};

/// Longest part of an image's own name that its key repeats; a tar file's short names have 100 bytes.
const MOST_NAME: usize = 80;

/// Writes pairs of an image and its label, and keeps count.
pub(super) struct ShardWriter<W> {
    writer: W,
    hasher: Sha256,
    at: u64,
}

impl<W: Write> ShardWriter<W> {
    pub fn new(writer: W) -> Self {
        Self { writer, hasher: Sha256::new(), at: 0 }
    }

    /// Appends image number `index`, whose file was called `name`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn push(&mut self, index: u32, name: &str, label: u32, image: &Converted) -> io::Result<Entry> {
        let key = key(index, name);
        let offset = self.member(&format!("{key}.{}", image.extension), &image.bytes)?;
        self.member(&format!("{key}.cls"), label.to_string().as_bytes())?;
        let bytes = u32::try_from(image.bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(Entry { shard: 0, offset, bytes, label, crc: crc32c::crc32c(&image.bytes) })
    }

    /// Ends the tar file; its size and SHA-256.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<(u64, [u8; 32])> {
        self.write(&[0; 2 * BLOCK as usize])?;
        Ok((self.at, self.hasher.finalize().into()))
    }

    /// Appends a file; where its bytes begin.
    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.write(header.as_bytes())?;
        let offset = self.at;
        self.write(bytes)?;
        let padding = self.at.next_multiple_of(BLOCK) - self.at;
        self.write(&[0; BLOCK as usize][..padding as usize])?;
        Ok(offset)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// A sample's key: its number, which no other has, and its own name for readers, without dots, which end keys.
fn key(index: u32, name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let plain = |character: char| if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' };
    let stem: String = stem.chars().map(plain).take(MOST_NAME).collect();
    format!("{index:08}-{stem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_is_what_the_tar_library_reads() {
        let mut bytes = Vec::new();
        let mut writer = ShardWriter::new(&mut bytes);
        let image = |length: usize| Converted { bytes: vec![length as u8; length], extension: "jpg" };
        let long = format!("{}.JPEG", "long ü name ".repeat(20));
        let entries = [(0, "a.b.jpg", 3, image(700)), (12, long.as_str(), 999, image(512))]
            .map(|(index, name, label, image)| writer.push(index, name, label, &image).unwrap());
        let (size, sha256) = writer.finish().unwrap();
        assert_eq!((size, sha256), (bytes.len() as u64, Sha256::digest(&bytes).into()));
        for (entry, length) in entries.iter().zip([700, 512]) {
            let found = &bytes[entry.offset as usize..][..entry.bytes as usize];
            assert!(found == vec![length as u8; length] && entry.crc == crc32c::crc32c(found));
        }
        let mut archive = tar::Archive::new(bytes.as_slice());
        let members: Vec<(String, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.map(|entry| (entry.path().unwrap().display().to_string(), entry.size())).unwrap())
            .collect();
        assert_eq!(members[0], ("00000000-a_b.jpg".to_owned(), 700));
        assert_eq!(members[1], ("00000000-a_b.cls".to_owned(), 1));
        assert!(members[2].0.starts_with("00000012-long___name_long") && members[2].0.len() < 100, "{}", members[2].0);
        assert_eq!((members.len(), members[3].1), (4, 3));
    }
}
