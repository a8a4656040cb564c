//! What an experiment consists of: as it is stated, as it is noted in its folder, and whether both agree.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use tch::Device;

use crate::cli::error::UsageError;
use crate::cli::ranks::compare_with_first;
use crate::cli::run_arguments::{check_apart, check_data_of, move_data_of};
use crate::config::{CommunicatorChoice, CompareConfig, ConfigError, SearchConfig, Settings, TrainConfig, expand_home};
use crate::data::DataIdentity;
use crate::genotype::library;
use crate::report::{ComparedRuns, Comparison};
use crate::run::{ComparedSearch, EXPERIMENT_FILE, ExperimentFile, NewFolders, RunDirectory, RunLock, lock_folder};
use crate::trainer::{CellData, SearchData, TrainData};
use crate::world::{Ranks, World};

/// A folder that this process alone writes while it lives.
pub struct OwnFolder {
    /// Dropped before what was made, in which its file lies.
    lock: RunLock,
    made: NewFolders,
}

impl OwnFolder {
    /// That of an experiment, which is noted there if it is `stated`, in a folder that is made if need be. What is made goes again
    /// unless it is [kept](OwnFolder::keep).
    ///
    /// # Errors
    /// Those of [`ExperimentFile::note_in`], and of a folder that is none or that another process writes.
    pub fn open(root: &Path, stated: Option<&ExperimentFile>) -> anyhow::Result<Self> {
        let mut made = match stated {
            None => {
                ExperimentFile::read(root)?;
                NewFolders::default()
            }
            Some(_) if ExperimentFile::is_in(root) => NewFolders::default(),
            Some(experiment) => {
                experiment.check_apart(root)?;
                RunDirectory::make_vacant(root)?
            }
        };
        let lock = lock_folder(root)?;
        if let Some(experiment) = stated {
            if !ExperimentFile::is_in(root) {
                made.add_file(root.join(EXPERIMENT_FILE));
            }
            experiment.note_in(root)?;
        }
        Ok(Self { lock, made })
    }

    /// Leaves what was made, because the experiment has begun or goes on.
    pub fn keep(&mut self) {
        self.lock.keep();
        self.made.keep();
    }
}

/// What a call makes of an experiment.
impl ExperimentFile {
    /// The experiment that `file` states.
    pub(super) fn load(file: &Path, overrides: &[String]) -> anyhow::Result<Self> {
        let config = CompareConfig::load(file, overrides)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let strategy = |compared: &crate::config::ComparedSection| {
            let base = if compared.config == Path::new("") { &config.search.config } else { &compared.config };
            let set = [&config.search.set[..], &compared.set].concat();
            let search = resolve::<SearchConfig>(folder, base, &set);
            let search = search.with_context(|| format!("{}: strategy {}", file.display(), compared.name))?;
            anyhow::Ok(ComparedSearch { name: compared.name.clone(), search })
        };
        let strategies = config.strategies.iter().map(strategy).collect::<Result<_, _>>()?;
        let train = resolve::<TrainConfig>(folder, &config.train.config, &config.train.set);
        let train = train.with_context(|| format!("{}: [train]", file.display()))?;
        Ok(Self { seeds: config.compare.seeds, reference: config.compare.reference, strategies, train })
    }

    /// Looks, before anything is computed, whether all searches and trainings can begin on `num_ranks` ranks.
    ///
    /// # Errors
    /// The first strategy that cannot, with the reason.
    pub(super) fn check_can_begin(&self, num_ranks: usize) -> anyhow::Result<()> {
        let world = alone()?;
        for ComparedSearch { name, search } in &self.strategies {
            let check = || -> anyhow::Result<()> {
                data_of_search(search, &world)?;
                if !search.search.strategy.trains_cells() {
                    search.validate_with_ranks(num_ranks)?;
                }
                Ok(())
            };
            check().with_context(|| format!("strategy {name}"))?;
        }
        let check = data_of_training(&self.train, &world);
        check.and_then(|_| Ok(self.train.validate_with_ranks(num_ranks)?)).context("[train]")
    }

    /// Notes it in `root`, which this process has locked, or finds it there. What no run has begun with may have changed, and
    /// settings that results do not depend on.
    ///
    /// # Errors
    /// [`UsageError`] for a folder of another experiment, with what differs.
    fn note_in(&self, root: &Path) -> anyhow::Result<()> {
        if Self::is_in(root) {
            let before = Self::read(root)?;
            if let Some(difference) = self.difference(&before, root)? {
                return Err(UsageError::new(anyhow!(
                    "{} is the folder of another experiment ({difference}): choose another --out, or go on with it as it \
                     was begun with --resume",
                    root.display()
                ))
                .into());
            }
        }
        Ok(self.write(root)?)
    }

    /// What of the experiment as a whole is another than that of `other`: what it is, here and there.
    fn difference_in_plan(&self, other: &Self) -> Option<(&'static str, [String; 2])> {
        let names = |experiment: &Self| {
            experiment.strategies.iter().map(|strategy| strategy.name.clone()).collect::<Vec<_>>().join(", ")
        };
        let lists = [
            ("seeds", [self, other].map(|experiment| format!("{:?}", experiment.seeds))),
            ("strategies", [self, other].map(names)),
            ("reference", [self, other].map(|experiment| experiment.reference.clone())),
        ];
        lists.into_iter().find(|(_, [own, theirs])| own != theirs)
    }

    /// Makes sure that all ranks run the same experiment. All ranks call this together.
    ///
    /// # Errors
    /// [`UsageError`] with the first rank that has another, and what differs.
    pub(super) fn compare_between(&self, ranks: &Ranks) -> anyhow::Result<()> {
        compare_with_first(ranks, self, "comparison of experiments", |rank, other, first| {
            Ok(other.difference_between_ranks(first)?.map(|difference| {
                format!(
                    "rank {rank} has another experiment than rank 0 ({difference}): give all ranks the same --config and --set"
                )
            }))
        })
    }

    /// The first thing that a rank must not have otherwise than rank 0, which has `first`.
    fn difference_between_ranks(&self, first: &Self) -> Result<Option<String>, ConfigError> {
        if let Some((what, [own, theirs])) = self.difference_in_plan(first) {
            return Ok(Some(format!("{what}: {own}, those of rank 0 are {theirs}")));
        }
        for (own, theirs) in self.strategies.iter().zip(&first.strategies) {
            if let Some(difference) = own.search.difference_between_ranks(&theirs.search)?.first() {
                return Ok(Some(format!("strategy {}: {difference}", own.name)));
            }
        }
        let differences = self.train.difference_between_ranks(&first.train)?;
        Ok(differences.first().map(|difference| format!("[train]: {difference}")))
    }

    /// The first thing in which results of the runs in `root` would differ from those of `before`.
    fn difference(&self, before: &Self, root: &Path) -> anyhow::Result<Option<String>> {
        if let Some((what, [now, then])) = self.difference_in_plan(before) {
            return Ok(Some(format!("{what}: begun with {then}, now {now}")));
        }
        let has_begun = |name: &str, part: &str| {
            let folders = self.seeds.iter().map(|&seed| Self::pair_folder(root, name, seed));
            folders.into_iter().any(|folder| RunDirectory::has_begun_in(&folder.join(part)))
        };
        for (now, then) in self.strategies.iter().zip(&before.strategies) {
            if has_begun(&now.name, "search")
                && let Some(difference) = now.search.difference(&then.search)?.first()
            {
                return Ok(Some(format!("{}: {}", now.name, difference.since_begun())));
            }
        }
        if !self.strategies.iter().any(|strategy| has_begun(&strategy.name, "train")) {
            return Ok(None);
        }
        let differences = self.train.difference(&before.train)?;
        Ok(differences.first().map(|difference| format!("training: {}", difference.since_begun())))
    }

    /// Refuses a folder `root` among the images of a run.
    fn check_apart(&self, root: &Path) -> Result<(), UsageError> {
        let searches = self.strategies.iter().map(|strategy| &strategy.search.data);
        let mut data =
            searches.map(|data| (data.dataset, &data.dir)).chain([(self.train.data.dataset, &self.train.data.dir)]);
        data.try_for_each(|(dataset, dir)| check_apart(root, dataset, dir))
    }

    /// Puts `data` in the place of the data folder of all runs.
    pub(super) fn set_data(&mut self, data: &Path) {
        self.strategies.iter_mut().for_each(|strategy| strategy.search.data.dir = data.to_owned());
        self.train.data.dir = data.to_owned();
    }

    /// Whether nothing of it is left to run in `root`.
    pub(super) fn is_complete_in(&self, root: &Path) -> bool {
        self.runs_in(root).all(|(search, train)| [search, train].iter().all(|run| RunDirectory::is_complete_in(run)))
    }

    /// Whether some run of it has begun in `root`.
    pub(super) fn has_begun_in(&self, root: &Path) -> bool {
        self.runs_in(root).any(|(search, train)| [search, train].iter().any(|run| RunDirectory::has_begun_in(run)))
    }

    /// Refuses the data folder that it has now if one of the runs in `root`, all of them complete, was begun on other data.
    pub(super) fn check_data(&self, root: &Path) -> anyhow::Result<()> {
        let (world, dir) = (alone()?, &self.train.data.dir);
        let of_training = data_of_training(&self.train, &world)?;
        for ComparedSearch { name, search } in &self.strategies {
            let of_search = data_of_search(search, &world)?;
            for folder in self.seeds.iter().map(|&seed| Self::pair_folder(root, name, seed)) {
                check_data_of::<SearchConfig>(&folder.join("search"), dir, &of_search)?;
                check_data_of::<TrainConfig>(&folder.join("train"), dir, &of_training)?;
            }
        }
        Ok(())
    }

    /// Keeps the data folder that it has now, in `root` and in the runs there that are complete: the others have done so.
    pub(super) fn keep_data(&self, root: &Path) -> anyhow::Result<()> {
        self.write(root)?;
        let data = &self.train.data.dir;
        for (search, train) in self.runs_in(root) {
            if RunDirectory::is_complete_in(&search) {
                move_data_of::<SearchConfig>(&search, data)?;
            }
            if RunDirectory::is_complete_in(&train) {
                move_data_of::<TrainConfig>(&train, data)?;
            }
        }
        Ok(())
    }

    /// The folders of all searches and of their trainings.
    fn runs_in(&self, root: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        let folders = self.strategies.iter().flat_map(move |strategy| {
            self.seeds.iter().map(move |&seed| Self::pair_folder(root, &strategy.name, seed))
        });
        folders.map(|folder| (folder.join("search"), folder.join("train")))
    }

    /// What its complete runs come to.
    pub(super) fn results(&self, root: &Path) -> anyhow::Result<Comparison> {
        let runs = |strategy: &ComparedSearch| ComparedRuns {
            name: strategy.name.clone(),
            folders: self.seeds.iter().map(|&seed| Self::pair_folder(root, &strategy.name, seed)).collect(),
        };
        Ok(Comparison::read(&self.strategies.iter().map(runs).collect::<Vec<_>>(), &self.reference)?)
    }
}

/// One rank of its own, to look at data.
fn alone() -> anyhow::Result<World> {
    Ok(World::new(Ranks::alone(), Device::Cpu, 1, CommunicatorChoice::Auto)?)
}

/// The data of a search, which can begin on it.
fn data_of_search(search: &SearchConfig, world: &World) -> anyhow::Result<DataIdentity> {
    Ok(match search.search.strategy.trains_cells() {
        true => CellData::load(search, world).map_err(UsageError::new)?.data_identity().clone(),
        false => SearchData::load(search, world)?.data_identity,
    })
}

/// The data of a training, which can begin on it.
fn data_of_training(train: &TrainConfig, world: &World) -> anyhow::Result<DataIdentity> {
    // Any cell will do.
    let cell = library::find("PDARTS_C10")?.genotype;
    Ok(TrainData::load(train, &cell, world)?.data_identity)
}

/// The configuration in the file `base` of `folder`, or the defaults, with the assignments `set`.
fn resolve<C: Settings>(folder: &Path, base: &Path, set: &[String]) -> anyhow::Result<C> {
    if base == Path::new("") {
        return Ok(C::from_overrides(set)?);
    }
    let base = expand_home(&base.to_string_lossy()).map_err(UsageError::new)?;
    Ok(C::load(&folder.join(PathBuf::from(base)), set)?)
}
