//! The run directory itself: who may write it, and where each file lies.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::checkpoints::{self, Moment};
use super::lock::{LOCK, RunLock, lock};
use super::{
    AlphasFile, CheckpointFile, Environment, EventWriter, JsonLog, NewFolders, RunError, write_atomic,
    write_json_atomic,
};
use crate::files::{dangling_link, is_partial, partial_file, remove_partial_files};

pub(super) const CONFIG: &str = "config.toml";
/// Lies in a folder from a start's first file until the run has an origin, with which it has begun: what of [`FIRST_FILES`] is
/// there without it is not the program's to remove.
pub(super) const STARTING: &str = ".starting";
/// What a start writes before that.
const FIRST_FILES: [&str; 3] = [CONFIG, "genotype.json", "initial-weights.safetensors"];
/// Of every run.
const FOLDERS: [&str; 3] = ["checkpoints", "events", "figures"];
/// Of a search, made with its first file.
const ALPHAS: &str = "alphas";

/// A run directory that this process alone may write, until it is dropped. What this process has made of it goes then, unless
/// it is [kept](RunDirectory::keep): a start that is refused leaves what was there.
#[derive(Debug)]
pub struct RunDirectory {
    root: PathBuf,
    /// Dropped before the folders, in which its file lies.
    lock: RunLock,
    folders: NewFolders,
    /// Whether the files of a start are removed with them.
    starts: bool,
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // What has come to lie beside them is not a start's.
        if self.starts
            && matches!(first_content(&self.root), Ok(None))
            && let Err(error) = remove_first_files(&self.root)
        {
            warn!("cannot clear {} away ({error}): remove it", self.root.display());
        }
    }
}

impl RunDirectory {
    /// Starts a run in `root`, which must be new or empty, and writes `config` (TOML, resolved) there.
    ///
    /// # Errors
    /// [`RunError::NotEmpty`], [`RunError::NotADirectory`], [`RunError::Create`], [`RunError::InUse`]
    /// or [`RunError::Write`].
    pub fn create(root: &Path, config: &str) -> Result<Self, RunError> {
        let mut folders = Self::make_vacant(root)?;
        create_folders(root, &mut folders).map_err(|cause| RunError::Create { root: root.to_owned(), cause })?;
        let mut run = Self { root: root.to_owned(), lock: lock(root)?, folders, starts: false };
        // Once more, now that nobody else writes there.
        if let Some(entry) = first_content(root).map_err(RunError::write(root))? {
            return Err(RunError::NotEmpty { root: root.to_owned(), entry: entry.to_string_lossy().into_owned() });
        }
        remove_partial_files(root).and_then(|()| remove_first_files(root)).map_err(RunError::write(root))?;
        let mark = root.join(STARTING);
        run.starts = true;
        fs::write(&mark, "").map_err(RunError::write(&mark))?;
        write_atomic(&run.config_path(), |writer| writer.write_all(config.as_bytes()))?;
        Ok(run)
    }

    /// [`RunDirectory::create`], with further files that `write` writes and no run goes on without.
    ///
    /// # Errors
    /// Those of [`RunDirectory::create`] and of `write`.
    pub fn create_with<E: From<RunError>>(
        root: &Path,
        config: &str,
        write: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let run = Self::create(root, config)?;
        write(&run)?;
        Ok(run)
    }

    /// Leaves what was made here, because the run has begun or goes on.
    pub fn keep(&mut self) {
        self.lock.keep();
        self.folders.keep();
        self.starts = false;
    }

    /// Whether a run was begun in `root`, so that there is something to go on with.
    pub fn has_begun_in(root: &Path) -> bool {
        root.join(CONFIG).is_file() && !matches!(first_content(root), Ok(None))
    }

    /// Makes the folder `root`, which must be new or hold nothing but what a start leaves that was killed before it began.
    ///
    /// # Errors
    /// [`RunError::NotEmpty`], [`RunError::NotADirectory`], [`RunError::DanglingLink`] or [`RunError::Create`].
    pub fn make_vacant(root: &Path) -> Result<NewFolders, RunError> {
        let refused = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                RunError::NotADirectory { root: root.to_owned() }
            }
            _ => RunError::Create { root: root.to_owned(), cause },
        };
        refuse_dangling_links(root)?;
        let mut folders = NewFolders::default();
        check_names(root).and_then(|()| folders.make(root)).map_err(refused)?;
        match first_content(root).map_err(refused)? {
            None => Ok(folders),
            Some(entry) => {
                Err(RunError::NotEmpty { root: root.to_owned(), entry: entry.to_string_lossy().into_owned() })
            }
        }
    }

    /// Refuses what [`RunDirectory::create`] would refuse, and makes nothing. Returns the folder that is there, in which
    /// the run's would be made.
    ///
    /// # Errors
    /// Those of [`RunDirectory::make_vacant`].
    pub fn check_vacant(root: &Path) -> Result<PathBuf, RunError> {
        let refused = |cause: io::Error| RunError::Create { root: root.to_owned(), cause };
        refuse_dangling_links(root)?;
        check_names(root).map_err(refused)?;
        let root = std::path::absolute(root).map_err(refused)?;
        let folder = root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            return Err(RunError::NotADirectory { root });
        }
        if folder == root
            && let Some(entry) = first_content(folder).map_err(refused)?
        {
            return Err(RunError::NotEmpty { root: root.clone(), entry: entry.to_string_lossy().into_owned() });
        }
        partial_file(folder).map_err(refused)?;
        Ok(folder.to_owned())
    }

    /// Opens the run in `root` to continue it, and clears away what a killed process left half written. Who goes on with it
    /// [keeps](RunDirectory::keep) it.
    ///
    /// # Errors
    /// [`RunError::NoSuchRun`], [`RunError::NotADirectory`], [`RunError::NotARun`], [`RunError::NotBegun`],
    /// [`RunError::InUse`] or [`RunError::Write`].
    pub fn open(root: &Path) -> Result<Self, RunError> {
        if !root.exists() {
            return Err(RunError::NoSuchRun { root: root.to_owned() });
        }
        if !root.is_dir() {
            return Err(RunError::NotADirectory { root: root.to_owned() });
        }
        let of_start = [STARTING, LOCK].iter().any(|name| root.join(name).is_file());
        if of_start && matches!(first_content(root), Ok(None)) {
            // One that is under way has the lock.
            if root.join(LOCK).is_file() {
                lock(root)?;
            }
            return Err(RunError::NotBegun { root: root.to_owned() });
        }
        if !root.join(CONFIG).is_file() {
            return Err(RunError::NotARun { root: root.to_owned() });
        }
        let mut run = Self { root: root.to_owned(), lock: lock(root)?, folders: NewFolders::default(), starts: false };
        if !Self::has_begun_in(root) {
            return Err(RunError::NotBegun { root: root.to_owned() });
        }
        create_folders(root, &mut run.folders).map_err(RunError::write(root))?;
        let folders = FOLDERS.into_iter().chain([ALPHAS]).map(|folder| root.join(folder));
        for directory in folders.chain([run.root.clone()]).filter(|directory| directory.exists()) {
            remove_partial_files(&directory).map_err(RunError::write(&directory))?;
        }
        Ok(run)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn config_path(&self) -> PathBuf {
        Self::config_path_in(&self.root)
    }

    /// The configuration of the run in `root`, for ranks that do not write it.
    pub fn config_path_in(root: &Path) -> PathBuf {
        root.join(CONFIG)
    }

    /// Where the program's log goes, one JSON object per line.
    pub fn log_path(&self) -> PathBuf {
        self.root.join("log.jsonl")
    }

    /// Where the ranks of the run in `root` leave their heartbeats.
    pub fn heartbeats_in(root: &Path) -> PathBuf {
        root.join("heartbeats")
    }

    pub fn genotype_path(&self) -> PathBuf {
        Self::genotype_path_in(&self.root)
    }

    /// The cell or cells of the run in `root`.
    pub fn genotype_path_in(root: &Path) -> PathBuf {
        root.join("genotype.json")
    }

    /// The tensors of a trained network.
    pub fn weights_path(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.safetensors"))
    }

    pub fn summary_path(&self) -> PathBuf {
        self.root.join("summary.json")
    }

    /// `name` with its extension, as in `stage1-normal.svg`.
    pub fn figure_path(&self, name: &str) -> PathBuf {
        self.root.join("figures").join(name)
    }

    /// The architecture parameters after `epoch` of `stage`, both counted from 1.
    pub fn alphas_path(&self, stage: usize, epoch: usize) -> PathBuf {
        self.root.join(ALPHAS).join(format!("stage{stage}-epoch{epoch:03}.json"))
    }

    /// The architecture parameters of the last stage's last epoch in the run `root`, as far as names tell.
    pub fn last_alphas_in(root: &Path) -> Option<PathBuf> {
        let moment = |path: &PathBuf| {
            let (stage, epoch) = path.file_name()?.to_str()?.strip_prefix("stage")?.split_once("-epoch")?;
            Some((stage.parse::<usize>().ok()?, epoch.strip_suffix(".json")?.parse::<usize>().ok()?))
        };
        let paths = fs::read_dir(root.join(ALPHAS)).ok()?.flatten().map(|entry| entry.path());
        paths.filter(|path| moment(path).is_some()).max_by_key(moment)
    }

    /// Writes the architecture parameters after an epoch to their [`RunDirectory::alphas_path`].
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn write_alphas(&self, alphas: &AlphasFile) -> Result<(), RunError> {
        let folder = self.root.join(ALPHAS);
        fs::create_dir_all(&folder).map_err(RunError::write(&folder))?;
        write_json_atomic(&self.alphas_path(alphas.stage, alphas.epoch), alphas)
    }

    /// A checkpoint after `epoch` whole epochs of `stage` (counted from 1) and `step` steps.
    ///
    /// Checkpoints are ordered by stage, then epoch, then step; `step` may count from the start of the
    /// epoch, the stage or the run.
    pub fn checkpoint_path(&self, stage: usize, epoch: usize, step: u64) -> PathBuf {
        self.checkpoints().join(Moment { stage, epoch, step }.file_name())
    }

    /// The newest checkpoint; `None` in a run that was stopped before its first.
    ///
    /// # Errors
    /// [`RunError::Read`].
    pub fn latest_checkpoint(&self) -> Result<Option<PathBuf>, RunError> {
        Ok(checkpoints::list(&self.checkpoints())?.pop())
    }

    /// The content of the checkpoint at `path`, for any rank.
    ///
    /// # Errors
    /// [`RunError::Read`].
    pub fn read_checkpoint(path: &Path) -> Result<Vec<u8>, RunError> {
        fs::read(path).map_err(RunError::read(path))
    }

    /// What the run may go on from, newest first; nothing where it begins (anew, which is said with the reason, if it had
    /// been started).
    ///
    /// # Errors
    /// [`RunError::NothingToResume`] of a complete run without checkpoints, and [`RunError::Read`].
    pub fn checkpoints_to_resume(&self) -> Result<Vec<PathBuf>, RunError> {
        let mut found = checkpoints::list(&self.checkpoints())?;
        found.reverse();
        if found.is_empty() && self.is_complete() {
            return Err(RunError::NothingToResume { root: self.root.clone() });
        }
        let starts = fs::read_to_string(self.root.join("environment.jsonl")).unwrap_or_default();
        if let (true, Some(first)) = (found.is_empty(), starts.lines().next()) {
            let first: serde_json::Value = serde_json::from_str(first).unwrap_or_default();
            warn!(
                "{} begins anew: it was started {} and ended before its first checkpoint; a checkpoint is written every \
                 run.checkpoint_every_epochs epochs and every run.checkpoint_every_minutes minutes, and when a signal \
                 (Ctrl-C, SIGTERM, not SIGKILL) ends the run",
                self.root.display(),
                first["started_at"].as_str().map_or("before".to_owned(), |time| format!("at {time}")),
            );
        }
        Ok(found)
    }

    fn is_complete(&self) -> bool {
        Self::is_complete_in(&self.root)
    }

    /// Whether the run in `root` has ended with a result.
    pub fn is_complete_in(root: &Path) -> bool {
        let summary = fs::read_to_string(root.join("summary.json")).unwrap_or_default();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap_or_default();
        summary["status"] == "complete"
    }

    /// The newest checkpoint of the run in `root`, as far as names tell.
    pub fn last_checkpoint_in(root: &Path) -> Option<PathBuf> {
        checkpoints::list(&root.join("checkpoints")).ok()?.pop()
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// A checkpoint at this place, to be written; see [`RunDirectory::checkpoint_path`].
    pub fn checkpoint_file(&self, stage: usize, epoch: usize, step: u64, keep: usize) -> CheckpointFile {
        CheckpointFile { folder: self.checkpoints(), moment: Moment { stage, epoch, step }, keep, is_best: false }
    }

    /// Adds this start to `environment.jsonl`.
    ///
    /// # Errors
    /// [`RunError::Read`] or [`RunError::Write`].
    pub fn record_environment(&self, environment: &Environment) -> Result<(), RunError> {
        self.compare_ranks(environment.ranks);
        JsonLog::open(&self.root.join("environment.jsonl"))?.append(environment)
    }

    /// Says when a run goes on on another number of ranks.
    fn compare_ranks(&self, ranks: usize) {
        let starts = fs::read_to_string(self.root.join("environment.jsonl")).unwrap_or_default();
        let last: serde_json::Value =
            serde_json::from_str(starts.lines().last().unwrap_or_default()).unwrap_or_default();
        match last["ranks"].as_u64() {
            Some(before) if before != ranks as u64 => tracing::info!(
                "the run was on {before} rank(s) and goes on on {ranks}: the same data and batches, equal up to rounding"
            ),
            _ => {}
        }
    }

    /// Opens `metrics.jsonl` as it was at `position`, which is 0 in a new run.
    ///
    /// # Errors
    /// As [`JsonLog::open_at`].
    pub fn open_metrics(&self, position: u64) -> Result<JsonLog, RunError> {
        JsonLog::open_at(&self.root.join("metrics.jsonl"), position)
    }

    /// Opens a new TensorBoard event file for points from `first_step` on, see [`EventWriter::create`].
    ///
    /// # Errors
    /// As [`EventWriter::create`].
    pub fn open_events(&self, first_step: u64) -> Result<EventWriter, RunError> {
        EventWriter::create(&self.root.join("events"), first_step)
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
}

fn create_folders(root: &Path, folders: &mut NewFolders) -> io::Result<()> {
    FOLDERS.iter().try_for_each(|folder| folders.make(&root.join(folder)))
}

/// Refuses a folder that cannot be made because `root`, or a folder above it, is a link to what is not there.
fn refuse_dangling_links(root: &Path) -> Result<(), RunError> {
    match dangling_link(root) {
        None => Ok(()),
        Some((link, target)) => Err(RunError::DanglingLink { link, target }),
    }
}

/// Removes [`FIRST_FILES`] from `root`, then their mark.
fn remove_first_files(root: &Path) -> io::Result<()> {
    FIRST_FILES.iter().chain([&STARTING]).try_for_each(|name| match fs::remove_file(root.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// Refuses a name that is too long for the file system, at which the folders above it would have been made, and a place whose
/// path leaves no room for the names of a run's files.
fn check_names(root: &Path) -> io::Result<()> {
    // As long as any.
    let file = Path::new("checkpoints").join(Moment { stage: 1, epoch: 1, step: 1 }.file_name());
    let folder = root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new(""));
    let missing = root.strip_prefix(folder).unwrap_or(root).iter().map(|name| folder.join(name));
    for path in missing.chain([root.join(file)]) {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The first entry of `root` that a start which ended before it began would not leave.
fn first_content(root: &Path) -> io::Result<Option<OsString>> {
    let are_of_start = root.join(STARTING).is_file();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let empty_folder = entry.file_type()?.is_dir() && fs::read_dir(entry.path())?.next().is_none();
        let is_first = are_of_start && FIRST_FILES.iter().any(|name| entry.file_name() == *name);
        if !empty_folder
            && !is_first
            && ![LOCK, STARTING].iter().any(|name| entry.file_name() == *name)
            && !is_partial(&entry)
        {
            return Ok(Some(entry.file_name()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::RunOrigin;
    use super::super::small_disk::SmallDisk;
    use super::*;

    #[test]
    fn new_run_has_its_config_and_folders() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(&parent.path().join("runs/first"), "[run]\nseed = 1\n").unwrap();
        assert_eq!(fs::read_to_string(run.config_path()).unwrap(), "[run]\nseed = 1\n");
        assert!(run.alphas_path(1, 3).ends_with("runs/first/alphas/stage1-epoch003.json"));
        fs::write(run.figure_path("result-normal.svg"), "").unwrap();
        run.open_metrics(0).unwrap();
        run.open_events(0).unwrap();
        assert!(run.latest_checkpoint().unwrap().is_none());
    }

    #[test]
    fn last_alphas_are_those_of_the_last_stage() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(&parent.path().join("run"), "").unwrap();
        assert_eq!(RunDirectory::last_alphas_in(run.root()), None);
        fs::create_dir(run.root().join(ALPHAS)).unwrap();
        let paths = [(2, 999), (10, 999), (10, 1000), (1, 2000)].map(|(stage, epoch)| run.alphas_path(stage, epoch));
        paths.iter().chain([&run.root().join(ALPHAS).join("notes.txt")]).for_each(|path| fs::write(path, "").unwrap());
        assert_eq!(RunDirectory::last_alphas_in(run.root()).as_ref(), Some(&paths[2]));
    }

    #[test]
    fn complete_run_without_checkpoints_is_not_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(&root.path().join("run"), "").unwrap();
        fs::write(run.summary_path(), r#"{"status": "stopped"}"#).unwrap();
        assert!(run.checkpoints_to_resume().unwrap().is_empty());
        fs::write(run.summary_path(), r#"{"status": "complete"}"#).unwrap();
        let error = run.checkpoints_to_resume().unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("its checkpoints are gone"), "{error}");
        fs::write(run.checkpoint_path(1, 2, 3), "").unwrap();
        fs::write(run.checkpoint_path(1, 2, 4), "").unwrap();
        let newest_first = [4, 3].map(|step| run.checkpoint_path(1, 2, step));
        assert_eq!(run.checkpoints_to_resume().unwrap(), newest_first);
    }

    #[test]
    fn directory_with_content_is_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.tex"), "").unwrap();
        let error = RunDirectory::create(root.path(), "").unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("`thesis.tex`"), "{error}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn finished_run_is_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(root.path(), "seed = 1").unwrap();
        fs::write(run.summary_path(), "{}").unwrap();
        drop(run);
        assert!(RunDirectory::has_begun_in(root.path()));
        let error = RunDirectory::create(root.path(), "seed = 2").unwrap_err();
        assert!(error.to_string().contains("--resume"), "{error}");
        assert_eq!(fs::read_to_string(root.path().join(CONFIG)).unwrap(), "seed = 1");
    }

    /// The names below `root`, all folders made.
    fn names(root: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    /// What a killed start leaves in `root`.
    fn kill_start(root: &Path, config: &str) {
        RunDirectory::create(root, config).unwrap().keep();
    }

    #[test]
    fn start_that_is_refused_leaves_what_was_there() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("runs/first");
        let refuse = |_: &RunDirectory| Err(RunError::NotARun { root: PathBuf::new() });
        RunDirectory::create_with(&root, "", refuse).unwrap_err();
        drop(RunDirectory::create(&root, "").unwrap());
        assert!(names(parent.path()).is_empty());
        // Of a folder that was there, and of a start that was killed.
        fs::create_dir_all(root.join("figures")).unwrap();
        drop(RunDirectory::create(&root, "").unwrap());
        assert_eq!(names(&root), ["figures"]);
        kill_start(&root, "seed = 1");
        let before = names(&root);
        let message = RunDirectory::open(&root).unwrap_err().to_string();
        assert!(message.ends_with("start anew with --out"), "{message}");
        fs::remove_file(root.join(CONFIG)).unwrap();
        assert_eq!(RunDirectory::open(&root).unwrap_err().to_string(), message);
        fs::write(root.join(CONFIG), "").unwrap();
        assert_eq!(names(&root), before);
        // One that has begun stays.
        let mut run = RunDirectory::create(&root, "").unwrap();
        let origin = RunOrigin { config: serde_json::Value::Null, data: String::new(), data_sizes: None };
        run.record_origin(&origin).unwrap();
        drop(run);
        assert!(RunDirectory::has_begun_in(&root) && !root.join(STARTING).exists());
    }

    #[test]
    fn run_that_does_not_go_on_is_left_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        for name in [CONFIG, "origin.json"] {
            fs::write(root.path().join(name), "{}").unwrap();
        }
        let before = names(root.path());
        let run = RunDirectory::open(root.path()).unwrap();
        assert!(run.latest_checkpoint().unwrap().is_none());
        drop(run);
        assert_eq!(names(root.path()), before);
        RunDirectory::open(root.path()).unwrap().keep();
        assert_eq!(names(root.path()).len(), before.len() + FOLDERS.len() + 1);
    }

    #[test]
    fn link_to_nowhere_is_told_as_such() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink("/scratch-that-is-gone", &link).unwrap();
        for root in [link.clone(), link.join(""), link.join("run")] {
            let checked = RunDirectory::check_vacant(&root).map(drop);
            for outcome in [checked, RunDirectory::create(&root, "").map(drop)] {
                let error = outcome.unwrap_err();
                let said = "link is a link to /scratch-that-is-gone, which is not there: ";
                assert!(error.is_usage() && error.to_string().contains(said), "{error}");
            }
        }
    }

    #[test]
    fn start_that_wrote_nothing_does_not_block_the_next() {
        let root = tempfile::tempdir().unwrap();
        let mut folders = NewFolders::default();
        create_folders(root.path(), &mut folders).unwrap();
        folders.keep();
        lock(root.path()).unwrap().keep();
        let half_written = root.path().join(".partial-x1y2z3");
        fs::write(&half_written, "[run]\nse").unwrap();
        RunDirectory::check_vacant(root.path()).unwrap();
        RunDirectory::create(root.path(), "").unwrap();
        assert!(!half_written.exists());
    }

    #[test]
    fn start_that_ended_among_its_first_files_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        kill_start(root.path(), "seed = 1");
        fs::write(RunDirectory::genotype_path_in(root.path()), "{}").unwrap();
        assert!(!RunDirectory::has_begun_in(root.path()));
        RunDirectory::check_vacant(root.path()).unwrap();
        let run = RunDirectory::create(root.path(), "seed = 2").unwrap();
        assert_eq!(fs::read_to_string(run.config_path()).unwrap(), "seed = 2");
        assert!(!run.genotype_path().exists());
        drop(run);
        kill_start(root.path(), "seed = 2");
        let unbegun = RunDirectory::open(root.path()).unwrap_err();
        assert!(unbegun.is_usage() && unbegun.to_string().ends_with("start anew with --out"), "{unbegun}");
        // Whoever put them there without a start keeps them.
        fs::remove_file(root.path().join(STARTING)).unwrap();
        let error = RunDirectory::create(root.path(), "").unwrap_err();
        assert!(error.to_string().contains("it holds `config.toml`"), "{error}");
    }

    #[test]
    fn disk_that_is_full_before_the_run_begins_leaves_room_to_begin_again() {
        let Some(disk) = SmallDisk::mount() else { return };
        let root = disk.path().join("run");
        let large = |run: &RunDirectory| {
            write_atomic(&run.genotype_path(), |writer| writer.write_all(b"{}"))?;
            write_atomic(&RunDirectory::initial_weights_in(&root), |writer| writer.write_all(&vec![1; 1 << 20]))
        };
        let message = RunDirectory::create_with(&root, "", large).unwrap_err().to_string();
        assert!(
            message.contains("initial-weights") && message.ends_with("free some space and call again"),
            "{message}"
        );
        assert!(!root.exists());
        let none = RunDirectory::open(&root).unwrap_err().to_string();
        assert!(none.ends_with("or begin one there with --out"), "{none}");
        let run = RunDirectory::create_with(&root, "", |_| Ok::<_, RunError>(())).unwrap();
        // What comes next is no file of a run that was begun either, until it is there.
        let origin = root.join("origin.json");
        let too_large = || write_atomic(&origin, |writer| writer.write_all(&vec![1; 1 << 20])).unwrap_err().to_string();
        assert!(too_large().ends_with("free some space and call again"), "{}", too_large());
        fs::write(run.summary_path(), "{}").unwrap();
        assert!(too_large().ends_with("then go on with --resume"), "{}", too_large());
    }

    #[test]
    fn file_in_the_way_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        for root in [file.clone(), file.join("run")] {
            let error = RunDirectory::create(&root, "").unwrap_err();
            assert!(matches!(error, RunError::NotADirectory { .. }), "{error}");
        }
        let error = RunDirectory::open(&file).unwrap_err();
        assert!(matches!(error, RunError::NotADirectory { .. }), "{error}");
    }

    #[test]
    fn unwritable_place_is_one_clear_line() {
        // Nobody, not even root, can create a directory in /proc.
        let error = RunDirectory::create(Path::new("/proc/run"), "").unwrap_err();
        let message = error.to_string();
        assert!(error.is_usage() && message.contains("/proc/run") && message.contains("--out"), "{message}");
        assert_eq!(message.lines().count(), 1);
        let full = RunError::Create { root: PathBuf::new(), cause: io::ErrorKind::QuotaExceeded.into() }.to_string();
        assert!(full.ends_with("choose an --out where there is room, or free some space"), "{full}");
    }

    #[test]
    fn name_that_is_too_long_is_refused_before_anything_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let long = "x".repeat(256);
        let deep: PathBuf = std::iter::repeat_n("y".repeat(250), 20).collect();
        for out in [Path::new("runs").join(&long), Path::new(&long).join("run"), deep] {
            let root = parent.path().join(out);
            let checked = RunDirectory::check_vacant(&root).map(drop);
            for outcome in [checked, RunDirectory::create(&root, "").map(drop)] {
                let error = outcome.unwrap_err();
                assert!(error.is_usage() && error.to_string().ends_with("choose a shorter --out"), "{error}");
            }
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn opening_says_what_is_missing() {
        let parent = tempfile::tempdir().unwrap();
        let missing = RunDirectory::open(&parent.path().join("none")).unwrap_err();
        assert!(matches!(missing, RunError::NoSuchRun { .. }), "{missing}");
        let other = RunDirectory::open(parent.path()).unwrap_err();
        assert!(other.to_string().contains("config.toml is missing"), "{other}");
    }

    #[test]
    fn second_writer_is_refused_while_the_first_lives() {
        let root = tempfile::tempdir().unwrap();
        let first = RunDirectory::create(root.path(), "").unwrap();
        let message = RunDirectory::open(root.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("in use by process {}", std::process::id())), "{message}");
        assert_eq!(message.lines().count(), 1);
        fs::write(first.summary_path(), "{}").unwrap();
        drop(first);
        RunDirectory::open(root.path()).unwrap();
    }

    #[test]
    fn opening_clears_half_written_files_and_finds_the_newest_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(root.path(), "").unwrap();
        let newest = run.checkpoint_path(2, 1, 3);
        for path in [run.checkpoint_path(1, 25, 900), newest.clone()] {
            fs::write(path, "").unwrap();
        }
        fs::create_dir(root.path().join(ALPHAS)).unwrap();
        let partials = ["checkpoints", ALPHAS].map(|folder| root.path().join(folder).join(".partial-x1y2z3"));
        partials.iter().for_each(|partial| fs::write(partial, "half").unwrap());
        drop(run);

        let run = RunDirectory::open(root.path()).unwrap();
        assert!(partials.iter().all(|partial| !partial.exists()));
        assert_eq!(run.latest_checkpoint().unwrap(), Some(newest.clone()));
        checkpoints::prune(&run.checkpoints(), 1).unwrap();
        assert_eq!(checkpoints::list(&run.checkpoints()).unwrap(), [newest]);
    }

    #[test]
    fn each_start_adds_its_environment() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(root.path(), "").unwrap();
        for threads in [2, 4] {
            run.record_environment(&Environment::capture("2.13.0", "fused", "cpu", threads, 1)).unwrap();
        }
        let content = fs::read_to_string(root.path().join("environment.jsonl")).unwrap();
        let threads: Vec<_> = content
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["threads"].clone())
            .collect();
        assert_eq!(threads, [2, 4]);
    }
}
