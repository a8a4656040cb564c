//! Files and folders that a command writes at its end: looked at before its work begins, and never one of its inputs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, anyhow};

use crate::cli::error::UsageError;
use crate::files::{dangling_link, partial_file};
use crate::run::{RunDirectory, RunError, write_atomic};

/// What files of data sets end in; an output does not replace one of them.
const DATA_EXTENSIONS: [&str; 14] =
    ["bin", "gz", "tgz", "tar", "zip", "zst", "xz", "bz2", "jpg", "jpeg", "png", "pickle", "pkl", "npy"];

/// A file that the option of a command names and that can be written.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
}

impl OutputFile {
    /// Makes sure that `path`, the value of `option`, can be written and is none of the `inputs`: files, or folders of
    /// runs and data sets.
    ///
    /// # Errors
    /// [`UsageError`] for a folder, a path whose folder is not there or not writable, and for an input.
    pub fn check(option: &str, path: &Path, inputs: &[impl AsRef<Path>]) -> Result<Self, UsageError> {
        check(path, inputs).with_context(|| format!("{option} {}", path.display())).map_err(UsageError::new)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Replaces the file by `bytes`, or leaves it as it was.
    ///
    /// # Errors
    /// When the disk refuses after all.
    pub fn write(&self, bytes: &[u8]) -> Result<(), RunError> {
        write_atomic(&self.path, |writer| writer.write_all(bytes))
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the folder `path`, the value of `option`, if need be, and makes sure that files can be made in it.
///
/// # Errors
/// [`UsageError`] with the system's reason.
pub fn check_folder(option: &str, path: &Path) -> Result<(), UsageError> {
    let ready = match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(anyhow!("it is a file: name a folder")),
        _ => refuse_dangling_links(path).and_then(|()| Ok(fs::create_dir_all(path).and_then(|()| try_out(path))?)),
    };
    ready.with_context(|| format!("{option} {}", path.display())).map_err(UsageError::new)
}

fn check(path: &Path, inputs: &[impl AsRef<Path>]) -> anyhow::Result<()> {
    if path.as_os_str().is_empty() {
        return Err(anyhow!("the name of a file is missing"));
    }
    // Through links, whose target the writer replaces; a link into nowhere makes its target.
    let target = fs::canonicalize(path).or_else(|_| resolve_link(path)).unwrap_or_else(|_| path.to_owned());
    let found = fs::metadata(&target);
    if found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidFilename) {
        return Err(anyhow!("it is too long a name for the file system: choose a shorter one"));
    }
    if found.as_ref().is_ok_and(fs::Metadata::is_dir) || path.to_string_lossy().ends_with('/') {
        return Err(anyhow!("it is a folder: name a file in it"));
    }
    if let Ok(found) = &found {
        for input in inputs {
            refuse_input(&target, found, input.as_ref())?;
        }
        if let Some(run) = target.ancestors().skip(1).find(|folder| RunDirectory::owns(folder, &target)) {
            return Err(anyhow!("it is a file of the run {}: name another", run.display()));
        }
        // A device or a pipe is written to as it is.
        if !found.is_file() {
            return Ok(());
        }
    }
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        refuse_dangling_links(folder)?;
        let folder = absolute(folder).unwrap_or_else(|_| folder.to_owned());
        return Err(anyhow!("there is no folder {}: make it first", folder.display()));
    }
    try_out(folder).with_context(|| format!("cannot write in the folder {}", folder.display()))
}

/// Refuses a folder that is not there because it, or one above it, is a link that leads nowhere.
fn refuse_dangling_links(folder: &Path) -> anyhow::Result<()> {
    let Some((link, target)) = dangling_link(folder) else { return Ok(()) };
    let (link, target) = (link.display(), target.display());
    Err(anyhow!("{link} is a link to {target}, which is not there: make that folder, or name another"))
}

/// Refuses an output that would replace `input` or a file of it.
fn refuse_input(target: &Path, found: &fs::Metadata, input: &Path) -> anyhow::Result<()> {
    let Ok(known) = fs::metadata(input) else { return Ok(()) };
    if (found.dev(), found.ino()) == (known.dev(), known.ino()) {
        return Err(anyhow!("it is the input {}: name another file", input.display()));
    }
    let is_below = known.is_dir() && fs::canonicalize(input).is_ok_and(|input| target.starts_with(input));
    let extension = target.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    if is_below && extension.is_none_or(|extension| DATA_EXTENSIONS.contains(&extension.as_str())) {
        return Err(anyhow!("it is a file in the input {}: name another", input.display()));
    }
    Ok(())
}

fn resolve_link(path: &Path) -> io::Result<PathBuf> {
    let target = fs::read_link(path)?;
    Ok(path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target)))
}

/// What permissions, quotas and read-only disks say, said before it matters.
pub fn try_out(folder: &Path) -> io::Result<()> {
    partial_file(folder).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refusal(path: &Path, inputs: &[&Path]) -> String {
        OutputFile::check("--out", path, inputs).unwrap_err().to_string()
    }

    #[test]
    fn name_that_is_too_long_is_refused_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let message = refusal(&folder.path().join("x".repeat(256)), &[]);
        assert!(message.starts_with("--out ") && message.ends_with("choose a shorter one"), "{message}");
    }

    #[test]
    fn input_is_found_through_links_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("weights.pt"), "mine").unwrap();
        fs::create_dir(at("sub")).unwrap();
        symlink("weights.pt", at("link.pt")).unwrap();
        fs::hard_link(at("weights.pt"), at("hard.pt")).unwrap();
        let weights = at("weights.pt");
        for name in ["weights.pt", "link.pt", "hard.pt", "sub/../weights.pt"] {
            let message = refusal(&at(name), &[&weights]);
            assert!(message.contains("it is the input") && message.ends_with("name another file"), "{message}");
            OutputFile::check("--out", &at("other.pt"), &[&weights]).unwrap();
        }
        assert!(refusal(&weights, &[&at("link.pt")]).contains("it is the input"));
        assert_eq!(fs::read_to_string(weights).unwrap(), "mine");
    }

    #[test]
    fn files_of_runs_and_data_sets_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("run/checkpoints")).unwrap();
        for name in ["run/config.toml", "run/summary.json", "run/checkpoints/x.safetensors", "run/mine.md"] {
            fs::write(at(name), "").unwrap();
        }
        for name in ["run/config.toml", "run/summary.json", "run/checkpoints/x.safetensors"] {
            assert!(refusal(&at(name), &[]).contains("it is a file of the run"), "{name}");
        }
        OutputFile::check("--out", &at("run/mine.md"), &[at("data")]).unwrap();
        OutputFile::check("--out", &at("run/new.md"), &[at("data")]).unwrap();
        fs::create_dir(at("data")).unwrap();
        for name in ["cifar-10-binary.tar.gz", "test_batch", "logits.safetensors"] {
            fs::write(at("data").join(name), "").unwrap();
        }
        for name in ["data/cifar-10-binary.tar.gz", "data/test_batch"] {
            assert!(refusal(&at(name), &[&at("data")]).contains("it is a file in the input"), "{name}");
        }
        OutputFile::check("--out", &at("data/logits.safetensors"), &[&at("data")]).unwrap();
    }

    #[test]
    fn place_that_cannot_be_written_is_told_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let message = refusal(&folder.path().join("none/x"), &[]);
        assert!(message.contains("there is no folder") && message.ends_with("make it first"), "{message}");
        assert!(refusal(folder.path(), &[]).contains("it is a folder"));
        assert!(refusal(&folder.path().join("new/"), &[]).contains("it is a folder"));
        assert!(refusal(Path::new("/proc/x"), &[]).contains("cannot write in the folder /proc"));
        OutputFile::check("--out", Path::new("/dev/null"), &[folder.path()]).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(check_folder("--out", &folder.path().join("file")).is_err());
        assert!(check_folder("--out", &folder.path().join("file/x")).is_err());
        check_folder("--out", &folder.path().join("a/b")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
