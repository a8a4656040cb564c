//! How a file is packed, told by its content whatever its name, and what unpacks it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a tar header says that it is one.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");
const HEADER_BYTES: usize = 512;

/// A kind of archive or compression.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Tar,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Zip,
    SevenZip,
    Rar,
}

/// Endings of names with what they stand for; a file's content counts for more.
const ENDINGS: [(&str, Packing); 13] = [
    ("gz", Packing::Gzip),
    ("tgz", Packing::Gzip),
    ("bz2", Packing::Bzip2),
    ("tbz", Packing::Bzip2),
    ("tbz2", Packing::Bzip2),
    ("xz", Packing::Xz),
    ("txz", Packing::Xz),
    ("zst", Packing::Zstd),
    ("tzst", Packing::Zstd),
    ("zip", Packing::Zip),
    ("7z", Packing::SevenZip),
    ("rar", Packing::Rar),
    ("tar", Packing::Tar),
];

impl Packing {
    /// By the first bytes of what begins at `start` in `file`; none if they are of no kind that is known.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(file: &File, start: u64) -> io::Result<Option<Self>> {
        let (mut header, mut length) = ([0; HEADER_BYTES], 0);
        loop {
            match file.read_at(&mut header[length..], start + length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        let (position, magic) = TAR_MAGIC;
        Ok(match &header[..length] {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Self::Zip),
            [b'B', b'Z', b'h', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Some(Self::Xz),
            [b'7', b'z', 0xbc, 0xaf, ..] => Some(Self::SevenZip),
            [b'R', b'a', b'r', b'!', ..] => Some(Self::Rar),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            header if header.get(position..).is_some_and(|rest| rest.starts_with(magic)) => Some(Self::Tar),
            _ => None,
        })
    }

    /// Of the file `path`, by its content, else by its name.
    pub fn of(path: &Path) -> Option<Self> {
        let content = File::open(path).and_then(|file| Self::at(&file, 0)).ok().flatten();
        content.or_else(|| Self::by_name(path))
    }

    fn by_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        ENDINGS.iter().find(|(ending, _)| extension.eq_ignore_ascii_case(ending)).map(|(_, packing)| *packing)
    }

    /// Whether a file of this name is something packed other than a plain tar file.
    pub fn is_compressed_name(name: &[u8]) -> bool {
        let packing = Self::by_name(Path::new(OsStr::from_bytes(name)));
        packing.is_some_and(|packing| packing != Self::Tar)
    }

    /// As the rest of a sentence: "x.zip is a zip archive".
    pub fn words(self) -> &'static str {
        match self {
            Self::Tar => "a tar file",
            Self::Gzip => "compressed by gzip",
            Self::Bzip2 => "compressed by bzip2",
            Self::Xz => "compressed by xz",
            Self::Zstd => "compressed by zstd",
            Self::Zip => "a zip archive",
            Self::SevenZip => "a 7z archive",
            Self::Rar => "a rar archive",
        }
    }

    /// What unpacks a file of this kind; a compressed tar file of folders needs `tar` besides.
    fn unpacker(self) -> &'static str {
        match self {
            Self::Tar => "tar -xf",
            Self::Gzip => "gunzip",
            Self::Bzip2 => "bunzip2",
            Self::Xz => "unxz",
            Self::Zstd => "unzstd",
            Self::Zip => "unzip",
            Self::SevenZip => "7z x",
            Self::Rar => "unrar x",
        }
    }

    /// The ending that unpackers expect, where they do.
    fn ending(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gz"),
            Self::Bzip2 => Some("bz2"),
            Self::Xz => Some("xz"),
            Self::Zstd => Some("zst"),
            Self::Tar | Self::Zip | Self::SevenZip | Self::Rar => None,
        }
    }

    /// What such a file is and what to do, as the rest of a sentence that begins with it.
    pub fn advice(self) -> String {
        let and_tar = if self.ending().is_some() { ", and a tar file of folders with tar -xf" } else { "" };
        format!("is {}, which is not read as it is: unpack it with {}{and_tar}", self.words(), self.unpacker())
    }

    /// The same of a file that should be a plain tar file by its name.
    pub fn advice_on_tar(self) -> String {
        let rename = self.ending().map_or_else(String::new, |ending| format!("give it the ending .tar.{ending} and "));
        format!("is {}, though it is called .tar: {rename}unpack it with {}", self.words(), self.unpacker())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_more_than_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            Packing::of(&dir.path().join(name))
        };
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(file("x.tar", &tar), Some(Packing::Tar));
        assert_eq!(file("y.TGZ", &tar), Some(Packing::Tar));
        assert_eq!(file("x.tar", b"\x1f\x8b\x08"), Some(Packing::Gzip));
        assert_eq!(file("x", b"PK\x05\x06"), Some(Packing::Zip));
        assert_eq!(file("x.tar.zst", b""), Some(Packing::Zstd));
        assert_eq!(file("x.Zip", b"what else"), Some(Packing::Zip));
        assert_eq!((file("x.jpg", b"what else"), Packing::of(dir.path())), (None, None));
        assert!(Packing::is_compressed_name(b"a.tar.gz") && !Packing::is_compressed_name(b"a.tar"));
    }
}
