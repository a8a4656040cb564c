//! What can go wrong with the files of a run, each as one line that also says what to do.
//!
//! The cause is part of the message (and so not repeated as `source()`), because the advice depends on it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{FolderKind, RunDirectory};

/// A failure to create, open, read or write a run directory or one of its files.
#[derive(Debug, Error)]
pub enum RunError {
    #[error(
        "{} is not empty (it holds `{entry}`): choose another --out{}", root.display(), or_go_on(root)
    )]
    NotEmpty { root: PathBuf, entry: String },

    #[error("{} cannot be a run directory, a file is in its place: name a directory", root.display())]
    NotADirectory { root: PathBuf },

    #[error("cannot create the run directory {}: {cause}; choose {}", root.display(), match cause.kind() {
        io::ErrorKind::InvalidFilename => "a shorter --out",
        _ if is_full(cause) => "an --out where there is room, or free some space",
        _ => "an --out where you may write",
    })]
    Create { root: PathBuf, cause: io::Error },

    #[error(
        "{} is a link to {}, which is not there: make that folder, or choose another --out", link.display(), target.display()
    )]
    DanglingLink { link: PathBuf, target: PathBuf },

    #[error(
        "there is no run directory {}: give --resume the directory of an earlier run, or begin one there with --out",
        from_the_root(root)
    )]
    NoSuchRun { root: PathBuf },

    #[error("{} is not a run directory, config.toml is missing: give --resume the directory of an earlier run", root.display())]
    NotARun { root: PathBuf },

    #[error("the start in {} ended before the run had begun, there is nothing to go on with: start anew with --out", root.display())]
    NotBegun { root: PathBuf },

    #[error("{} is not the folder of an experiment: experiment.json cannot be read ({cause})", root.display())]
    NotAnExperiment { root: PathBuf, cause: io::Error },

    #[error(
        "{} is complete and its checkpoints are gone, there is nothing to go on from: its result is in summary.json; \
         choose another --out to run it again, or train its weights on with pdarts train --from {}", root.display(), root.display()
    )]
    NothingToResume { root: PathBuf },

    #[error("{} is in use by {holder}: wait until it ends, or choose another --out", root.display())]
    InUse { root: PathBuf, holder: String },

    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },

    #[error("cannot write {}: {cause}; {}", path.display(), advice(path, cause))]
    Write { path: PathBuf, cause: io::Error },

    #[error(
        "{} is missing, of which the checkpoint continues {expected_bytes} bytes: restore the file, or start a new run", path.display()
    )]
    LogMissing { path: PathBuf, expected_bytes: u64 },

    #[error("{} {problem}: restore it, or start a new run", path.display())]
    Config { path: PathBuf, problem: String },

    #[error(
        "{} has {found_bytes} bytes, but {expected_bytes} when the checkpoint was written: restore the file, or start a new run", path.display()
    )]
    LogTooShort { path: PathBuf, expected_bytes: u64, found_bytes: u64 },

    #[error(
        "{} was changed after the checkpoint was written (no line ends at byte {position}): restore the file, or start a new run", path.display()
    )]
    LogChanged { path: PathBuf, position: u64 },
}

impl RunError {
    /// Whether the directory that the user named is at fault, rather than the run or the machine.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NotEmpty { .. }
                | Self::NotADirectory { .. }
                | Self::Create { .. }
                | Self::DanglingLink { .. }
                | Self::NoSuchRun { .. }
                | Self::NotARun { .. }
                | Self::NotBegun { .. }
                | Self::NotAnExperiment { .. }
                | Self::NothingToResume { .. }
                | Self::Config { .. }
        )
    }

    /// For `map_err` on whatever reads `path`.
    pub(super) fn read(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| Self::Read { path: path.to_owned(), cause }
    }

    /// Of a file that says what is run, and cannot be right.
    pub(super) fn config(path: &Path, problem: String) -> Self {
        Self::Config { path: path.to_owned(), problem }
    }

    /// For `map_err` on whatever writes `path`.
    pub(super) fn write(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| Self::Write { path: path.to_owned(), cause }
    }
}

/// Whether it is for want of space.
fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What can be done, which depends on whether a run is written and what is left of it.
fn advice(path: &Path, cause: &io::Error) -> &'static str {
    let is_of_run = path.ancestors().skip(1).any(RunDirectory::has_begun_in);
    if cause.kind() == io::ErrorKind::FileTooLarge {
        return match is_of_run {
            true => {
                "what was saved before is intact: raise the limit on the size of files (ulimit -f), then go on with --resume"
            }
            false => "raise the limit on the size of files (ulimit -f) and call again",
        };
    }
    let is_refused = matches!(cause.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied);
    match (is_of_run, is_full(cause)) {
        (true, true) => "what was saved before is intact: free some space, then go on with --resume",
        (true, false) if is_refused => {
            "what was saved before is intact: make its folder writable, then go on with --resume"
        }
        (true, false) => "what was saved before is intact",
        (false, true) => "free some space and call again",
        (false, false) if !path.parent().is_none_or(|folder| folder == Path::new("") || folder.is_dir()) => {
            "its folder is not there (any more)"
        }
        (false, false) => "choose another place, or make it writable",
    }
}

/// What else can be done with a folder that is in use.
fn or_go_on(root: &Path) -> String {
    FolderKind::of(root).resume_command(root).map_or(String::new(), |call| format!(", or go on with {call}"))
}

/// A path that does not depend on where the program was started.
fn from_the_root(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
