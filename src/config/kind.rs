//! Whether a file configures a search or a training.

use std::fmt;
use std::path::Path;

use toml::de::DeTable;

use super::load::read;
use super::{SearchConfig, Settings, TrainConfig};

/// What a configuration is of.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// A search.
    Search,
    /// A training.
    Training,
}

impl ConfigKind {
    /// By the tables that one kind alone has; `None` where the file states none of them. Of a file that cannot be read, or
    /// is no TOML, loading says so.
    pub fn of_file(path: &Path) -> Option<Self> {
        Self::of_text(&read(path).ok()?)
    }

    pub(super) fn of_text(text: &str) -> Option<Self> {
        let tables = DeTable::parse(text).ok()?;
        let states = |table: &str| tables.get_ref().contains_key(table);
        let (search, training) = (tables_of::<SearchConfig>(), tables_of::<TrainConfig>());
        let is_of = |own: &[&str], other: &[&str]| own.iter().any(|table| !other.contains(table) && states(table));
        match () {
            () if is_of(&training, &search) => Some(Self::Training),
            () if is_of(&search, &training) => Some(Self::Search),
            () => None,
        }
    }

    /// The command that it configures.
    pub fn command(self) -> &'static str {
        match self {
            Self::Search => SearchConfig::COMMAND,
            Self::Training => TrainConfig::COMMAND,
        }
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Search => "a search",
            Self::Training => "a training",
        })
    }
}

/// Names of the tables of a file.
fn tables_of<C: Settings>() -> Vec<&'static str> {
    C::SECTIONS.iter().filter_map(|section| section.path.split('.').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_told_by_tables_of_its_own() {
        let kind = |text: &str| ConfigKind::of_text(text);
        assert_eq!(kind(&SearchConfig::default().to_toml().unwrap()), Some(ConfigKind::Search));
        assert_eq!(kind(&TrainConfig::default().to_toml().unwrap()), Some(ConfigKind::Training));
        for (text, expected) in [
            ("[[search.stages]]\ncells = 3\n", Some(ConfigKind::Search)),
            ("search.epochs = 2", Some(ConfigKind::Search)),
            ("[run]\n[ search ]\n", Some(ConfigKind::Search)),
            ("[evolution]\npopulation = 2\n", Some(ConfigKind::Search)),
            ("[schedule]\n", Some(ConfigKind::Training)),
            ("train = { epochs = 2 }", Some(ConfigKind::Training)),
            ("# [train]\n[run]\nseed = 1\n[optimizer]\n", None),
            ("[search\n", None),
            ("", None),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
