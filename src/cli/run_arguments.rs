//! Which run, under which configuration: the arguments and the first steps that `pdarts search` and `pdarts train`
//! have in common.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::error::UsageError;
use super::kernels::KernelsArgument;
use super::logging::Logging;
use super::output::OutputFile;
use super::ranks::{agree, join, known_to_all};
use crate::config::{ConfigKind, DatasetName, Difference, Settings};
use crate::data::{DataIdentity, refuse_among_images};
use crate::run::{FolderKind, RunDirectory, RunError, RunOrigin, compact_utc, write_atomic};
use crate::trace;
use crate::trainer::{ResumePoint, RunProgress, StopSignal, TrainError};
use crate::world::{Label, Ranks};

#[derive(Debug, Args)]
pub struct RunArguments {
    /// What to do, as in configs/; `pdarts config show` (of a training: with --kind train) explains every key
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub config: Option<PathBuf>,
    /// Change one key of the configuration, as in run.seed=1; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Folder with the data set, instead of data.dir
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The run directory, new or empty [default: runs/CONFIG-TIME]
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue what was begun in this run directory from its last checkpoint
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Write a timeline of all ranks in Chrome's trace format, which ui.perfetto.dev opens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Check configuration, data, ranks and disk, take one step of each kind, tell what the run would take, and leave
    /// nothing behind
    #[arg(long, conflicts_with_all = ["resume", "trace"])]
    pub dry_run: bool,
    /// Print the summary as JSON instead of a text
    #[arg(long)]
    pub json: bool,
}

/// The run directory of a task.
pub enum RunPlace {
    /// To be made by rank 0.
    New(PathBuf),
    /// To go on in.
    Resumed {
        root: PathBuf,
        /// On rank 0, which alone writes it.
        run: Option<RunDirectory>,
    },
}

/// How far the run in a folder has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Complete,
    Begun,
    New,
}

impl Standing {
    /// That of the run in `root`, as rank 0 sees it. All ranks call this together.
    pub fn of(root: &Path, ranks: &Ranks) -> anyhow::Result<Self> {
        let standing = match () {
            () if RunDirectory::is_complete_in(root) => Self::Complete,
            () if RunDirectory::has_begun_in(root) => Self::Begun,
            () => Self::New,
        };
        Ok(ranks.gather(&standing, Label::new("standing of a run"))?.swap_remove(0))
    }
}

impl RunPlace {
    /// That of a run in `root` that is not complete. All ranks call this together.
    pub fn of(root: PathBuf, standing: Standing, ranks: &Ranks) -> anyhow::Result<Self> {
        let open = || if ranks.is_root() { RunDirectory::open(&root).map(Some) } else { Ok(None) };
        Ok(match standing {
            Standing::New => Self::New(root),
            _ => {
                let run = agree(ranks, open().map_err(Into::into))?;
                Self::Resumed { root, run }
            }
        })
    }
}

impl RunArguments {
    /// Listens to the signals that ask a run to save and end. A dry run has nothing to save: they end it.
    pub fn listen(&self) -> anyhow::Result<StopSignal> {
        match self.dry_run {
            true => Ok(StopSignal::default()),
            false => StopSignal::listen().context("cannot listen to signals"),
        }
    }

    /// Joins the other ranks; all but rank 0 fall silent.
    pub fn join_ranks(&self, logging: &Logging) -> anyhow::Result<Ranks> {
        self.kernels.apply();
        let ranks = join()?;
        if !ranks.is_root() {
            logging.quieten();
        }
        if self.trace.is_some() {
            trace::start();
        }
        Ok(ranks)
    }

    /// The configuration; that of a run to be continued may change where results do not depend on it.
    pub fn load_config<C: Settings>(&self) -> anyhow::Result<C> {
        let Some(root) = &self.resume else {
            let file = self.config.as_deref().context("--config is missing")?;
            return Ok(C::load(file, &self.overrides)?);
        };
        let stored = RunDirectory::config_path_in(root);
        check_stored::<C>(&stored)?;
        let config = C::load(self.config.as_deref().unwrap_or(&stored), &self.overrides)?;
        if let Some(difference) = config.difference(&C::load(&stored, &[])?)?.first() {
            let (root, advice) = (root.display(), advice(difference, root));
            return Err(UsageError::new(anyhow!(
                "--resume {root}: {}, which cannot change within a run: leave it as it was or start a new run{advice}",
                difference.since_begun()
            ))
            .into());
        }
        Ok(config)
    }

    /// Puts `--data` in the place of `data.dir`.
    pub fn apply_data(&self, dataset: DatasetName, dir: &mut PathBuf) {
        if let Some(stated) = self.data_of_resumed().or_else(|| self.data.clone()) {
            note_unread(dataset == DatasetName::Photodigits, &stated, "data.dataset chooses another data set");
            *dir = stated;
        }
    }

    /// Where the data of a run that goes on is said to lie: kept, so as a path that holds in every folder.
    pub fn data_of_resumed(&self) -> Option<PathBuf> {
        self.data.as_deref().filter(|_| self.resume.is_some()).map(from_anywhere)
    }

    /// Makes sure, before any work, that the timeline can be written.
    ///
    /// # Errors
    /// [`UsageError`] with the reason.
    pub fn check_outputs(&self) -> anyhow::Result<()> {
        let Some(trace) = &self.trace else { return Ok(()) };
        // Within the directory of the run, which is made later.
        if self.out.as_ref().is_some_and(|out| trace.parent() == Some(out.as_path())) && !trace.exists() {
            return Ok(());
        }
        let inputs: Vec<&PathBuf> = self.config.iter().chain(&self.data).collect();
        OutputFile::check("--trace", trace, &inputs)?;
        Ok(())
    }

    /// The run that `command` is to continue, locked by rank 0.
    pub fn open_resumed(&self, command: &str, ranks: &Ranks) -> anyhow::Result<Option<RunDirectory>> {
        match &self.resume {
            Some(root) => {
                check_kind(root, command)?;
                Ok(ranks.is_root().then(|| RunDirectory::open(root)).transpose()?)
            }
            None => Ok(None),
        }
    }

    /// Where a new run goes: `runs/search-quickstart-20190429T081500Z` for `configs/search-quickstart.toml`.
    pub fn new_root(&self) -> PathBuf {
        let config = self.config.as_deref().unwrap_or(Path::new("run"));
        let name = config.file_stem().unwrap_or(config.as_os_str()).to_string_lossy();
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{name}-{}", compact_utc())))
    }

    /// Collects the timelines of all ranks in one file, if one was asked for. All ranks call this together.
    pub fn write_trace(&self, ranks: &Ranks) -> anyhow::Result<()> {
        let Some(file) = &self.trace else { return Ok(()) };
        let timelines = ranks.gather(&trace::take(ranks.rank), Label::new("exchange of traces"))?;
        if ranks.is_root() {
            let timelines = trace::to_json(&timelines.concat())?;
            write_atomic(file, |writer| writer.write_all(timelines.as_bytes()))?;
        }
        Ok(())
    }
}

/// Refuses a run in `root` among the images of `dataset` in `dir`, which would be taken for images of theirs.
pub fn check_apart(root: &Path, dataset: DatasetName, dir: &Path) -> Result<(), UsageError> {
    match dataset {
        DatasetName::Images => refuse_among_images(dir, root).map_err(UsageError::new),
        DatasetName::Photodigits | DatasetName::Cifar10 | DatasetName::Cifar100 => Ok(()),
    }
}

/// Says so where the folder `data` of `--data` is not read, because the data set is that which is built in, and what chooses another.
pub fn note_unread(is_built_in: bool, data: &Path, choice: &str) {
    if is_built_in {
        tracing::warn!("--data {} is not read, because photodigits is built in: {choice}", data.display());
    }
}

/// Makes sure that the stored configuration is one.
fn check_stored<C: Settings>(path: &Path) -> anyhow::Result<()> {
    // Of what is not there, loading says so.
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let Ok(stored) = text.parse::<toml::Table>() else { return Ok(()) };
    let sections = C::SECTIONS.iter().filter_map(|section| section.path.split('.').next());
    // Runs of earlier versions lack the sections that did not exist then.
    let is_later =
        |name: &str| C::LATER_KEYS.iter().any(|key| key.starts_with(&format!("{name}.")) && !is_old::<C>(name));
    let missing: Vec<&str> = sections.filter(|name| !stored.contains_key(*name) && !is_later(name)).collect();
    let problem = match missing.first() {
        None => return Ok(()),
        Some(_) if stored.is_empty() => "is empty".to_owned(),
        Some(section) => format!("does not have the section [{section}] that every run states"),
    };
    Err(RunError::Config { path: path.to_owned(), problem }.into())
}

/// Whether some key of the section `name` is not a later one.
fn is_old<C: Settings>(name: &str) -> bool {
    let sections = C::SECTIONS.iter().filter(|section| section.path.split('.').next() == Some(name));
    sections
        .flat_map(|section| section.keys().map(|(key, ..)| format!("{}.{key}", section.path)))
        .any(|key| !C::LATER_KEYS.contains(&key.as_str()))
}

/// What helps whoever wants this change.
fn advice(Difference { key, .. }: &Difference, root: &Path) -> String {
    let name = key.rsplit('.').next().unwrap_or_default();
    match name {
        "global_batch" | "channels" | "cells" => {
            "; within a run model.checkpoint_cells = true or more accumulate_steps need less memory, in a new one also a \
             smaller global_batch"
                .to_owned()
        }
        "epochs" if key.starts_with("train") => {
            format!("; pdarts train --from {} trains its weights on under a new schedule", root.display())
        }
        _ => String::new(),
    }
}

/// A run that all ranks work on.
pub struct Entered<P> {
    /// On rank 0, which alone writes it.
    pub run: Option<RunDirectory>,
    pub root: PathBuf,
    /// Where it goes on.
    pub resume: Option<ResumePoint<P>>,
}

/// Enters `run`, which rank 0 has, with a configuration, the digest by which its checkpoints are known, and data: once all ranks can
/// go on from where it stands, it has begun. All ranks call this together.
///
/// # Errors
/// Those of [`check_origin`], [`newest_whole_checkpoint`] and [`read_resume_point`]; the folder is then as it was.
pub fn enter<P: RunProgress, C: Settings>(
    mut run: Option<RunDirectory>,
    (config, digest): (&C, &str),
    data: &DataIdentity,
    ranks: &Ranks,
) -> anyhow::Result<Entered<P>> {
    let newest = |run: &RunDirectory| {
        check_origin(run, config, data)?;
        anyhow::Ok((run.root().to_owned(), newest_whole_checkpoint::<P>(run, digest)?))
    };
    let found = agree(ranks, run.as_ref().map(newest).transpose())?;
    let found: Option<(PathBuf, Option<PathBuf>)> =
        ranks.gather(&found, Label::new("name of the run directory"))?.swap_remove(0);
    let (root, newest) = found.unwrap_or_default();
    let resume = agree(ranks, newest.map(|path| read_resume_point(&path, digest)).transpose())?;
    agree(ranks, run.as_mut().map_or(Ok(()), |run| begin(run, config, data)))?;
    Ok(Entered { run, root, resume })
}

/// Compares what `run` was begun with, if it was, with what it is to go on with.
///
/// # Errors
/// [`UsageError`] for other data, and for a configuration that was changed since, with the first key.
pub fn check_origin<C: Settings>(run: &RunDirectory, config: &C, data: &DataIdentity) -> anyhow::Result<()> {
    let Some(before) = run.origin() else { return Ok(()) };
    let root = run.root().display();
    let was: Option<C> = serde_json::from_value(before.config).ok();
    if let Some(difference) = was.map(|was| config.difference(&was)).transpose()?.unwrap_or_default().first() {
        let path = run.latest_checkpoint()?.unwrap_or_else(|| run.root().to_owned());
        return Err(anyhow!(
            "{} was written under another configuration ({}: the run was begun with {}, config.toml has {} now): restore \
             config.toml or start a new run",
            path.display(),
            difference.key,
            difference.theirs,
            difference.ours
        ));
    }
    if before.data != data.digest {
        return Err(UsageError::new(anyhow!(
            "{root} was begun on other data than that in data.dir now (digest {:.12}, now {:.12}): name the folder \
             that it was begun on with --data, or start a new run",
            before.data,
            data.digest
        ))
        .into());
    }
    // Not refused: a run that ended at a bad image goes on when the image was mended.
    if let (Some(sizes), Some(now)) = (before.data_sizes, &data.sizes)
        && sizes != *now
    {
        tracing::warn!(
            "images in data.dir have other sizes than when {root} was begun, under the same names: what it goes on with \
             is not all that it began with"
        );
    }
    Ok(())
}

/// Notes what `run` begins with, or where the data of one that goes on lies now. On rank 0.
///
/// # Errors
/// When it cannot be written.
pub fn begin<C: Settings>(run: &mut RunDirectory, config: &C, data: &DataIdentity) -> anyhow::Result<()> {
    if run.origin().is_none() {
        let (data, data_sizes) = (data.digest.clone(), data.sizes.clone());
        run.record_origin(&RunOrigin { config: serde_json::to_value(config)?, data, data_sizes })?;
    }
    keep_data_dir(run, config)?;
    run.keep();
    Ok(())
}

/// Refuses a folder of `--resume` that another command than `command` goes on with.
///
/// # Errors
/// [`UsageError`] with the call that does.
pub fn check_kind(root: &Path, command: &str) -> Result<(), UsageError> {
    let kind = FolderKind::of(root);
    // Of a run whose configuration cannot be read, loading says so.
    if kind == FolderKind::Search && ConfigKind::of_file(&RunDirectory::config_path_in(root)).is_none() {
        return Ok(());
    }
    match kind.command() {
        Some(other) if other != command => {
            let root = root.display();
            Err(UsageError::new(anyhow!("{root} is {kind}: go on with {other} --resume {root}")))
        }
        _ => Ok(()),
    }
}

/// `path` from the root, as far as that is known.
pub fn from_anywhere(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Refuses `data`, that of the folder `dir`, for the complete run in `root` if it was begun on other data. On rank 0.
///
/// # Errors
/// Those of [`check_origin`], and when its configuration cannot be read.
pub fn check_data_of<C: Settings>(root: &Path, dir: &Path, data: &DataIdentity) -> anyhow::Result<()> {
    let (run, config) = on_data::<C>(root, dir)?;
    check_origin(&run, &config, data)
}

/// Keeps `dir` as the data folder of the complete run in `root`, which does not go on: for whoever reads it next. On rank 0.
///
/// # Errors
/// When its configuration cannot be read or written.
pub fn move_data_of<C: Settings>(root: &Path, dir: &Path) -> anyhow::Result<()> {
    let (run, config) = on_data::<C>(root, dir)?;
    keep_data_dir(&run, &config)
}

/// The run in `root` with its configuration, but for its data in the folder `dir`.
fn on_data<C: Settings>(root: &Path, dir: &Path) -> anyhow::Result<(RunDirectory, C)> {
    let run = RunDirectory::open(root)?;
    let mut config = C::load(&run.config_path(), &[])?;
    config.data_dir().into_iter().for_each(|own| *own = dir.to_owned());
    Ok((run, config))
}

/// Keeps data.dir of `config` in the configuration of `run`, for whoever reads it next.
fn keep_data_dir<C: Settings>(run: &RunDirectory, config: &C) -> anyhow::Result<()> {
    let path = run.config_path();
    let (mut config, mut stored) = (config.clone(), C::load(&path, &[])?);
    let (Some(dir), Some(stored_dir)) = (config.data_dir(), stored.data_dir()) else { return Ok(()) };
    if dir == stored_dir {
        return Ok(());
    }
    let before = std::mem::replace(stored_dir, dir.clone());
    let text = stored.to_toml()?;
    write_atomic(&path, |writer| writer.write_all(text.as_bytes()))?;
    let now = from_anywhere(dir);
    tracing::info!("data.dir in {} is {} from now on, instead of {}", path.display(), now.display(), before.display());
    Ok(())
}

/// A failure of the run that rank 0 has in `run`, with where it can go on from.
pub fn run_failure(error: TrainError, run: Option<&RunDirectory>, command: &str, ranks: &Ranks) -> anyhow::Error {
    let is_common = matches!(error, TrainError::Diverged(_));
    let error = match run {
        Some(run) => with_checkpoint(run, command, error),
        None => error.into(),
    };
    if is_common { known_to_all(ranks, error).context(Diverged) } else { error }
}

/// Marks the failure of a run that all ranks have come to alike, so that another run can follow; says nothing itself.
#[derive(Copy, Clone, Debug)]
pub struct Diverged;

impl fmt::Display for Diverged {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

fn with_checkpoint(run: &RunDirectory, command: &str, error: TrainError) -> anyhow::Error {
    if !error.can_be_resumed() {
        return error.into();
    }
    let root = run.root().display();
    match run.latest_checkpoint() {
        Ok(Some(_)) => anyhow!("{error}; the last checkpoint is from before: pdarts {command} --resume {root}"),
        _ => error.into(),
    }
}

/// The newest checkpoint that the run with `config_digest` can go on from; damaged ones are passed over, which is said. On
/// rank 0.
///
/// # Errors
/// [`TrainError::OtherConfig`], and what is wrong with the newest when none is whole.
pub fn newest_whole_checkpoint<P: RunProgress>(
    run: &RunDirectory,
    config_digest: &str,
) -> anyhow::Result<Option<PathBuf>> {
    let mut damaged: Vec<anyhow::Error> = Vec::new();
    for path in run.checkpoints_to_resume()? {
        match read_resume_point::<P>(&path, config_digest) {
            Ok(_) => {
                for error in &damaged {
                    tracing::warn!("{error}: going on from {} instead", path.display());
                }
                return Ok(Some(path));
            }
            Err(error) if matches!(error.downcast_ref(), Some(TrainError::OtherConfig { .. })) => return Err(error),
            Err(error) => damaged.push(error),
        }
    }
    match damaged.into_iter().next() {
        None => Ok(None),
        Some(newest) => Err(newest.context(format!("no checkpoint of {} can be used", run.root().display()))),
    }
}

/// Where the run with `config_digest` goes on: at the checkpoint `path`.
///
/// # Errors
/// When it cannot be read, or is not one of this run.
pub fn read_resume_point<P: RunProgress>(path: &Path, config_digest: &str) -> anyhow::Result<ResumePoint<P>> {
    let bytes = RunDirectory::read_checkpoint(path)?;
    Ok(ResumePoint::new(path, &bytes, config_digest)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CompareConfig, SearchConfig, TrainConfig};

    #[test]
    fn folder_of_another_command_is_told_with_the_call_that_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("search/config.toml", &SearchConfig::default().to_toml().unwrap());
        write("train/config.toml", &TrainConfig::default().to_toml().unwrap());
        write("damaged/config.toml", "[run");
        write("seeds/seeds.json", "{}");
        write("experiment/experiment.json", "{}");
        let [search, train, compare] = [SearchConfig::COMMAND, TrainConfig::COMMAND, CompareConfig::COMMAND];
        let told = |name: &str, command| {
            let refused = check_kind(&folder.path().join(name), command).err().map(|error| error.to_string());
            refused.map(|text| text.replace(&format!("{}/", folder.path().display()), ""))
        };
        for (name, own) in [("search", search), ("train", train), ("seeds", train), ("experiment", compare)] {
            for command in [search, train, compare] {
                let expected = (command != own).then(|| format!(": go on with {own} --resume {name}"));
                let told = told(name, command);
                assert_eq!(told.is_some(), expected.is_some(), "{name}, {command}");
                assert!(told.unwrap_or_default().ends_with(&expected.unwrap_or_default()), "{name}, {command}");
            }
        }
        assert_eq!(told("damaged", train).or(told("none", train)), None);
        let of_seeds = "seeds is the folder of trainings with several seeds: go on with pdarts train --resume seeds";
        assert_eq!(told("seeds", compare).as_deref(), Some(of_seeds));
    }

    #[test]
    fn run_that_goes_on_keeps_where_its_data_lies_now() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = SearchConfig::default();
        let mut run = RunDirectory::create(&folder.path().join("run"), &config.to_toml().unwrap()).unwrap();
        let data = |digest: &str| DataIdentity { digest: digest.to_owned(), sizes: None };
        let mut enter = |config: &SearchConfig, digest| {
            check_origin(&run, config, &data(digest)).and_then(|()| begin(&mut run, config, &data(digest)))
        };
        let path = folder.path().join("run/config.toml");
        enter(&config, "a").unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        enter(&config, "a").unwrap();

        config.data.dir = "moved/images".into();
        config.run.threads = 3;
        let other = enter(&config, "b").unwrap_err().to_string();
        assert!(other.contains("with --data"), "{other}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        enter(&config, "a").unwrap();
        let stored = SearchConfig::load(&path, &[]).unwrap();
        assert_eq!((stored.data.dir, stored.run.threads), (config.data.dir.clone(), 0));
    }
}
