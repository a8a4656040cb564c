//! Files that are either the old version or the new one, whatever happens in between.

use std::fs::{self, DirEntry, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Start of the name of a file that is still being written.
pub const PARTIAL: &str = ".partial-";

/// Replaces the file `path` by what `write` writes.
///
/// The new content goes to a temporary name in the same directory, is synced, and renamed; then the
/// directory is synced, so that on return the file survives a power cut. On failure the old file is
/// untouched and the temporary one removed. Links are followed; a device or a pipe is written to as it is.
///
/// # Errors
/// The system's reason.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        let mut writer = BufWriter::new(File::options().write(true).open(&target)?);
        write(&mut writer)?;
        return writer.flush();
    }
    let path = target.as_path();
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let partial = partial_file(directory)?;
    let mut writer = BufWriter::new(partial.as_file());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|refused| refused.error)?;
    sync_directory(directory)
}

/// A new file in `directory` under a name that no other has; it goes when it is dropped, unless it is renamed.
///
/// # Errors
/// The system's reason, without that name, which says nothing to anybody.
pub fn partial_file(directory: &Path) -> io::Result<NamedTempFile> {
    // As any other new file: readable to whom the umask allows, not to the owner alone.
    let create = |path: &Path| File::options().read(true).write(true).create_new(true).mode(0o666).open(path);
    tempfile::Builder::new().prefix(PARTIAL).make_in(directory, create)
}

/// The link that leads nowhere, at `path` or above it, and where it leads.
pub fn dangling_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    // Without a slash at its end, behind which a link is what it leads to.
    let path: PathBuf = path.components().collect();
    let link = path.ancestors().find(|path| path.is_symlink() && !path.exists())?;
    Some((link.to_owned(), std::fs::read_link(link).ok()?))
}

/// Gives the file `path` the further name `link`, in place of what had it; a copy where the file system has no links.
///
/// # Errors
/// The system's reason.
pub fn link(path: &Path, link: &Path) -> io::Result<()> {
    let directory = link.parent().unwrap_or(Path::new("."));
    let partial = directory.join(format!("{PARTIAL}link"));
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if fs::hard_link(path, &partial).is_err() {
        return replace(link, |writer| io::copy(&mut File::open(path)?, writer).map(drop));
    }
    fs::rename(&partial, link)?;
    // A rename between two names of one file does nothing.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_directory(directory)
}

/// Makes the names in `directory` durable.
///
/// # Errors
/// The system's reason.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether a file is still being written, or was when its process was killed.
pub fn is_partial(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(PARTIAL) && entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Removes what a killed process left half written in `directory`.
///
/// # Errors
/// The system's reason.
pub fn remove_partial_files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_partial(&entry) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
