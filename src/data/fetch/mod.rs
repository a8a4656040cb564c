//! Downloads a data set's archive: resumed where it broke, and used only with the published checksum.
//!
//! The bytes go to `NAME.partial`, which stays when a connection breaks, and a later call asks the server for the rest.
//! Only a whole archive with the right checksum takes its name.

mod error;
mod roots;
mod transfer;

#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::{Digest, Md5};

pub use error::FetchError;
pub use transfer::Progress;

use super::DatasetKind;
use transfer::{Attempt, Transfer};

/// Where the authors of CIFAR publish it.
pub const CIFAR_URL: &str = "https://www.cs.toronto.edu/~kriz";

/// A published file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// On the server and on disk.
    pub name: &'static str,
    /// MD5 in hexadecimal, as published.
    pub md5: &'static str,
}

impl Archive {
    /// The archive of a data set; there is none for photodigits and images of your own.
    pub fn of(dataset: DatasetKind) -> Option<Self> {
        match dataset {
            DatasetKind::Photodigits | DatasetKind::Images => None,
            DatasetKind::Cifar10 => {
                Some(Self { name: "cifar-10-binary.tar.gz", md5: "c32a1d4ab5d03f1284b67883e8d87530" })
            }
            DatasetKind::Cifar100 => {
                Some(Self { name: "cifar-100-binary.tar.gz", md5: "03b5dce01913d631647c71ecec9e9cb8" })
            }
        }
    }
}

/// A download to make.
#[derive(Copy, Clone, Debug)]
pub struct Fetch<'a> {
    /// What to download.
    pub archive: Archive,
    /// The folder on the server.
    pub base_url: &'a str,
    /// The folder on disk; made if it is not there.
    pub dir: &'a Path,
    /// Pause before a broken connection is tried again; longer each time.
    pub pause: Duration,
}

/// How a download ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The archive was there, whole.
    AlreadyThere(PathBuf),
    /// It was downloaded.
    Downloaded(PathBuf),
}

impl Fetched {
    /// Where the archive is.
    pub fn path(&self) -> &Path {
        match self {
            Self::AlreadyThere(path) | Self::Downloaded(path) => path,
        }
    }
}

/// Attempts in a row that bring nothing, after the first that brought something.
const ATTEMPTS: u32 = 4;

impl Fetch<'_> {
    /// Downloads what is missing of the archive and checks it. `progress` hears of every block.
    ///
    /// # Errors
    /// When the server cannot be reached, does not have the file or breaks off again and again (what came stays), when
    /// the checksum is not the published one, and when the disk refuses.
    pub fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<Fetched, FetchError> {
        let path = self.dir.join(self.archive.name);
        fs::create_dir_all(self.dir).map_err(FetchError::file(self.dir))?;
        if path.exists() {
            return match checksum(&path).map_err(FetchError::file(&path))? {
                found if found == self.archive.md5 => Ok(Fetched::AlreadyThere(path)),
                found => Err(FetchError::OtherFile { path, found, expected: self.archive.md5 }),
            };
        }
        let partial = self.dir.join(format!("{}.partial", self.archive.name));
        let file = open_alone(&partial)?;
        let downloaded = self.download(file, &partial, progress);
        if downloaded.is_err() && fs::metadata(&partial).is_ok_and(|partial| partial.len() == 0) {
            fs::remove_file(&partial).map_err(FetchError::file(&partial))?;
        }
        downloaded?;
        let found = checksum(&partial).map_err(FetchError::file(&partial))?;
        if found != self.archive.md5 {
            fs::remove_file(&partial).map_err(FetchError::file(&partial))?;
            return Err(FetchError::Checksum { url: self.url(), found, expected: self.archive.md5 });
        }
        fs::rename(&partial, &path).map_err(FetchError::file(&path))?;
        Ok(Fetched::Downloaded(path))
    }

    fn url(&self) -> String {
        format!("{}/{}", self.base_url.trim_end_matches('/'), self.archive.name)
    }

    /// Fills `file` to its end, over as many connections as that takes.
    fn download(&self, file: File, partial: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), FetchError> {
        let url = self.url();
        let mut transfer = Transfer::new(url.clone(), file, partial);
        let mut has_received = false;
        let mut idle_attempts = 0;
        loop {
            let Attempt { received, end } = transfer.attempt(progress)?;
            let Err(cause) = end else {
                return transfer.finish();
            };
            has_received |= received > 0;
            idle_attempts = if received > 0 { 0 } else { idle_attempts + 1 };
            if !has_received {
                let (name, dir) = (self.archive.name, self.dir.to_owned());
                return Err(FetchError::Unreachable { url, cause, name, dir });
            }
            if idle_attempts == ATTEMPTS {
                return Err(FetchError::Broken { url, received: transfer.length()?, cause });
            }
            tracing::warn!("{url}: {cause}; trying again");
            std::thread::sleep(self.pause * (idle_attempts + 1));
        }
    }
}

/// Opens `path` to be filled by this process alone.
fn open_alone(path: &Path) -> Result<File, FetchError> {
    let file = File::options().create(true).append(true).open(path).map_err(FetchError::file(path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(FetchError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
            Err(FetchError::file(path)(error))
        }
        // Some cluster file systems have no locks.
        _ => Ok(file),
    }
}

/// MD5 of a file, in hexadecimal.
fn checksum(path: &Path) -> io::Result<String> {
    let mut hasher = Md5::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}
