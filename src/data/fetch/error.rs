//! What can go wrong with a download.

use std::io;
use std::path::{Path, PathBuf};

/// Why an archive is not there.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No byte came.
    #[error(
        "cannot reach {url} ({cause}); on a machine without internet, download it on another and put {name} into \
         {}; --url names a mirror",
        dir.display()
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the connection says.
        cause: String,
        /// The archive.
        name: &'static str,
        /// Where it belongs.
        dir: PathBuf,
    },
    /// The server does not give the file.
    #[error("{url}: the server answers {status}; --url names another place with this file")]
    Status {
        /// What was asked for.
        url: String,
        /// Number and meaning.
        status: String,
    },
    /// The connection broke, and trying again brought nothing.
    #[error("{url}: the connection broke after {received} bytes ({cause}); call again to go on from there")]
    Broken {
        /// What was asked for.
        url: String,
        /// In the partial file.
        received: u64,
        /// What the connection says.
        cause: String,
    },
    /// Something else came.
    #[error(
        "{url} has the MD5 sum {found}, the published archive {expected}: it was damaged on the way or is another \
         file; it was removed, call again or name another place with --url"
    )]
    Checksum {
        /// Where it came from.
        url: String,
        /// Of what came.
        found: String,
        /// As published.
        expected: &'static str,
    },
    /// A file with the archive's name that is not the archive.
    #[error("{} is not the published archive (MD5 {found}, expected {expected}): move it away and call again", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// Its checksum.
        found: String,
        /// As published.
        expected: &'static str,
    },
    /// Another process downloads the same.
    #[error("{} is being written by another process: wait for it", path.display())]
    InUse {
        /// The partial file.
        path: PathBuf,
    },
    /// The disk refuses.
    #[error("cannot write {} ({source})", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl FetchError {
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        |source| Self::File { path: path.to_owned(), source }
    }
}
