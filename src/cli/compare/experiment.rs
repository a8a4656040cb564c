//! What an experiment consists of, and the file in its folder that says so.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::cli::error::UsageError;
use crate::config::{CommunicatorChoice, CompareConfig, SearchConfig, Settings, TrainConfig, expand_home};
use crate::genotype::library;
use crate::report::{ComparedRuns, Comparison};
use crate::run::{EXPERIMENT_FILE, RunDirectory, RunError, RunLock, lock_folder, write_json_atomic};
use crate::trainer::{CellData, SearchData, TrainData};
use crate::world::{Ranks, World};

/// Everything that an experiment runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    pub seeds: Vec<u64>,
    /// Name of the strategy that the others are tested against.
    pub reference: String,
    pub strategies: Vec<Compared>,
    /// Of every cell; the seed is that of the search.
    pub train: TrainConfig,
}

/// One strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub name: String,
    /// With any seed.
    pub search: SearchConfig,
}

/// Where the experiment in `root` keeps the runs of a strategy with a seed: `search` and `train`.
pub fn pair_folder(root: &Path, strategy: &str, seed: u64) -> PathBuf {
    root.join(strategy).join(format!("seed{seed}"))
}

/// Keeps others from writing into the folder while it lives.
pub fn lock(root: &Path) -> anyhow::Result<RunLock> {
    Ok(lock_folder(root)?)
}

impl Experiment {
    /// The experiment that `file` states.
    pub fn load(file: &Path, overrides: &[String]) -> anyhow::Result<Self> {
        let config = CompareConfig::load(file, overrides)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let strategy = |compared: &crate::config::ComparedSection| {
            let base = if compared.config == Path::new("") { &config.search.config } else { &compared.config };
            let set = [&config.search.set[..], &compared.set].concat();
            let search = resolve::<SearchConfig>(folder, base, &set);
            let search = search.with_context(|| format!("{}: strategy {}", file.display(), compared.name))?;
            anyhow::Ok(Compared { name: compared.name.clone(), search })
        };
        let strategies = config.strategies.iter().map(strategy).collect::<Result<_, _>>()?;
        let train = resolve::<TrainConfig>(folder, &config.train.config, &config.train.set);
        let train = train.with_context(|| format!("{}: [train]", file.display()))?;
        Ok(Self { seeds: config.compare.seeds, reference: config.compare.reference, strategies, train })
    }

    /// That of the folder `root`.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(EXPERIMENT_FILE);
        let text = std::fs::read_to_string(&path).map_err(|cause| {
            UsageError::new(anyhow!(
                "{} is not the folder of an experiment: {EXPERIMENT_FILE} cannot be read ({cause})",
                root.display()
            ))
        })?;
        let damaged = || format!("{} is damaged: restore it, or start a new experiment", path.display());
        Ok(serde_json::from_str(&text).with_context(damaged).map_err(UsageError::new)?)
    }

    /// Looks, before anything is computed, whether all searches and trainings can begin on `num_ranks` ranks.
    ///
    /// # Errors
    /// The first strategy that cannot, with the reason.
    pub fn check(&self, num_ranks: usize) -> anyhow::Result<()> {
        let world = World::new(Ranks::alone(), Device::Cpu, 1, CommunicatorChoice::Auto)?;
        for Compared { name, search } in &self.strategies {
            let check = || -> anyhow::Result<()> {
                if search.search.strategy.trains_cells() {
                    CellData::load(search, &world).map_err(UsageError::new)?;
                } else {
                    SearchData::load(search, &world)?;
                    search.validate_with_ranks(num_ranks)?;
                }
                Ok(())
            };
            check().with_context(|| format!("strategy {name}"))?;
        }
        // Any cell will do.
        let cell = library::find("PDARTS_C10")?.genotype;
        let check = TrainData::load(&self.train, &cell, &world).map(drop).map_err(anyhow::Error::from);
        check.and_then(|()| Ok(self.train.validate_with_ranks(num_ranks)?)).context("[train]")
    }

    /// Notes it in `root`, or finds it there. What no run has begun with may have changed, and settings that results do not depend
    /// on.
    ///
    /// # Errors
    /// [`UsageError`] for a folder of another experiment, with what differs, and for one with anything else in it.
    pub fn note_in(&self, root: &Path) -> anyhow::Result<()> {
        if root.join(EXPERIMENT_FILE).exists() {
            let before = Self::read(root)?;
            if let Some(difference) = self.difference(&before, root)? {
                return Err(UsageError::new(anyhow!(
                    "{} is the folder of another experiment ({difference}): choose another --out, or go on with it as it \
                     was begun with --resume",
                    root.display()
                ))
                .into());
            }
        } else {
            RunDirectory::check_vacant(root)?;
            let refused = |cause| RunError::Create { root: root.to_owned(), cause };
            std::fs::create_dir_all(root).map_err(refused)?;
        }
        Ok(write_json_atomic(&root.join(EXPERIMENT_FILE), self)?)
    }

    /// The first thing in which results of the runs in `root` would differ from those of `before`.
    fn difference(&self, before: &Self, root: &Path) -> anyhow::Result<Option<String>> {
        let names = |experiment: &Self| {
            experiment.strategies.iter().map(|strategy| strategy.name.clone()).collect::<Vec<_>>().join(", ")
        };
        let lists = [
            ("seeds", format!("{:?}", self.seeds), format!("{:?}", before.seeds)),
            ("strategies", names(self), names(before)),
            ("reference", self.reference.clone(), before.reference.clone()),
        ];
        if let Some((what, now, then)) = lists.into_iter().find(|(_, now, then)| now != then) {
            return Ok(Some(format!("{what} {now} instead of {then}")));
        }
        let has_begun =
            |name: &str, part: &str| self.seeds.iter().any(|&seed| pair_folder(root, name, seed).join(part).exists());
        for (now, then) in self.strategies.iter().zip(&before.strategies) {
            if has_begun(&now.name, "search")
                && let Some(difference) = now.search.difference(&then.search)?.first()
            {
                return Ok(Some(format!("{}: {difference}", now.name)));
            }
        }
        if !self.strategies.iter().any(|strategy| has_begun(&strategy.name, "train")) {
            return Ok(None);
        }
        Ok(self.train.difference(&before.train)?.first().map(|difference| format!("training: {difference}")))
    }

    /// Puts `data` in the place of the data folder of all runs.
    pub fn set_data(&mut self, data: &Path) {
        self.strategies.iter_mut().for_each(|strategy| strategy.search.data.dir = data.to_owned());
        self.train.data.dir = data.to_owned();
    }

    /// What its complete runs come to.
    pub fn results(&self, root: &Path) -> anyhow::Result<Comparison> {
        let runs = |strategy: &Compared| ComparedRuns {
            name: strategy.name.clone(),
            folders: self.seeds.iter().map(|&seed| pair_folder(root, &strategy.name, seed)).collect(),
        };
        Ok(Comparison::read(&self.strategies.iter().map(runs).collect::<Vec<_>>(), &self.reference)?)
    }
}

/// The configuration in the file `base` of `folder`, or the defaults, with the assignments `set`.
fn resolve<C: Settings>(folder: &Path, base: &Path, set: &[String]) -> anyhow::Result<C> {
    if base == Path::new("") {
        return Ok(C::from_overrides(set)?);
    }
    let base = expand_home(&base.to_string_lossy()).map_err(UsageError::new)?;
    Ok(C::load(&folder.join(PathBuf::from(base)), set)?)
}
