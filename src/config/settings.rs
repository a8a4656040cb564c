//! What the configurations of all kinds of run have in common: how they are read, written and compared.

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::Section;
use super::{ConfigError, Violation};

/// A key whose value is not its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As in `search.stages.1.cells`.
    pub key: String,
    /// As TOML; `None` of an element that the defaults have and the configuration has not.
    pub value: Option<String>,
    /// As TOML; `None` of an element that the defaults have not.
    pub default: Option<String>,
    /// What the schema says of it.
    pub meaning: String,
}

/// A key whose value differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As in `search.stages.1.cells`.
    pub key: String,
    /// As TOML; `(absent)` of an element of a list that the one has not.
    pub ours: String,
    /// The same of the other.
    pub theirs: String,
}

impl Difference {
    /// What was given now of ours, where theirs is what a run was begun with.
    pub fn since_begun(&self) -> String {
        let Self { key, ours, theirs } = self;
        format!("{key}: the run was begun with {theirs}, now {ours} was given")
    }
}

impl fmt::Display for Difference {
    /// As in `search.epochs = 10 instead of 25`, the other's.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, ours, theirs } = self;
        write!(formatter, "{key} = {ours} instead of {theirs}")
    }
}

/// Keys that may differ between a run of any kind and its continuation.
pub(super) const CHANGEABLE_KEYS: [&str; 25] = [
    "run.threads",
    "run.device",
    "run.log_every_steps",
    "run.checkpoint_every_epochs",
    "run.checkpoint_every_minutes",
    "run.keep_checkpoints",
    "run.keep_best_checkpoint",
    "run.max_failed_checkpoints",
    "run.on_divergence",
    "run.divergence_limit",
    "run.digest_batches",
    "run.check_numerics",
    "run.cuda_graphs",
    "data.dir",
    "data.loader_threads",
    "data.on_bad_image",
    "data.bad_image_limit",
    "model.checkpoint_cells",
    "parallel.communicator",
    "parallel.bucket_mib",
    "parallel.first_bucket_mib",
    "parallel.check_every_steps",
    "parallel.nccl_timeout_seconds",
    "parallel.stall_warning_seconds",
    "parallel.stall_abort_seconds",
];

/// A typed configuration. The implementing types state the data, the functions come with it.
pub trait Settings: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned {
    /// Every section, in the order of the file.
    #[doc(hidden)]
    const SECTIONS: &'static [Section];

    /// Keys that may differ between a run and its continuation, besides those of every kind of run: they decide how and
    /// where it runs and what it reports, not what it computes.
    const OWN_CHANGEABLE_KEYS: &'static [&'static str];

    /// Keys that configurations did not always have. The digest leaves them out where they have their defaults, so that
    /// runs begun without them go on.
    const LATER_KEYS: &'static [&'static str] = &[];

    /// The command that it configures.
    const COMMAND: &'static str;

    /// The command that lists all keys.
    const SHOW_COMMAND: &'static str;

    /// An override, for messages.
    const EXAMPLE: &'static str;

    /// Whether `key` may differ between a run and its continuation.
    fn is_changeable(key: &str) -> bool {
        CHANGEABLE_KEYS.contains(&key) || Self::OWN_CHANGEABLE_KEYS.contains(&key)
    }

    /// The key data.dir, where there is one.
    fn data_dir(&mut self) -> Option<&mut PathBuf> {
        None
    }

    /// Checks every relation that the configuration alone can violate.
    ///
    /// # Errors
    /// The first violated relation.
    fn validate(&self) -> Result<(), Violation>;

    /// Reads a TOML file over the defaults, then applies `overrides` (`a.b=value`) in their order.
    ///
    /// An override's value is TOML; what is not TOML is taken as a string, so that names need no
    /// quotes. `search.stages.0.cells=3` changes one key of one element of a list.
    ///
    /// # Errors
    /// One line that names the file and line, or the override, the key, and what would be right: a
    /// file that cannot be read, invalid TOML, an unknown key, a wrong type, an impossible value.
    fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        super::load::load(path, overrides)
    }

    /// Applies `overrides` to the defaults, as [`Settings::load`] does to a file.
    ///
    /// # Errors
    /// Those of [`Settings::load`], but for the file's.
    fn from_overrides(overrides: &[String]) -> Result<Self, ConfigError> {
        super::load::from_overrides(overrides)
    }

    /// The resolved configuration as TOML, every key stated.
    ///
    /// # Errors
    /// If an integer exceeds TOML's 63 bits.
    fn to_toml(&self) -> Result<String, ConfigError> {
        Ok(toml::to_string(self)?)
    }

    /// The defaults as a TOML file in which every key has its comment.
    ///
    /// # Errors
    /// As [`Settings::to_toml`].
    fn commented_defaults() -> Result<String, ConfigError> {
        super::document::commented_defaults::<Self>()
    }

    /// The defaults as a page of documentation with a table for each section.
    ///
    /// # Errors
    /// As [`Settings::to_toml`].
    fn markdown() -> Result<String, ConfigError> {
        super::markdown::markdown::<Self>()
    }

    /// Every key whose value is not its default.
    ///
    /// # Errors
    /// As [`Settings::to_toml`].
    fn changes(&self) -> Result<Vec<Change>, ConfigError> {
        super::document::changes(self)
    }

    /// SHA-256, in hexadecimal, of all that a run's results depend on.
    ///
    /// Two runs with the same digest may continue each other. Threads, device, data folder and the
    /// intervals of metrics and checkpoints do not count.
    ///
    /// # Errors
    /// As [`Settings::to_toml`].
    fn digest(&self) -> Result<String, ConfigError> {
        super::document::digest(self)
    }

    /// The keys that make the digests of two configurations differ.
    ///
    /// # Errors
    /// As [`Settings::to_toml`].
    fn difference(&self, other: &Self) -> Result<Vec<Difference>, ConfigError> {
        super::document::difference(self, other)
    }

    /// The keys in which two ranks of one run differ and must not, as [`Settings::difference`].
    ///
    /// # Errors
    /// As [`Settings::to_toml`].
    fn difference_between_ranks(&self, other: &Self) -> Result<Vec<Difference>, ConfigError> {
        super::document::difference_between_ranks(self, other)
    }
}
