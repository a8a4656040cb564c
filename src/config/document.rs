//! A configuration as text: resolved, commented, as a digest, and against another one.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::schema::Section;
use super::{Change, ConfigError, Difference, Settings};

/// Keys that may differ between the ranks of a run: what a rank has of its node.
const LOCAL_TO_A_RANK: [&str; 3] = ["run.threads", "data.dir", "data.loader_threads"];

/// [`Settings::commented_defaults`].
pub(super) fn commented_defaults<C: Settings>() -> Result<String, ConfigError> {
    let defaults = Value::try_from(C::default())?;
    let mut lines = Vec::new();
    for section in C::SECTIONS {
        lines.extend(section.comment.iter().map(|line| format!("#{line}")));
        let mut names = section.path.split('.');
        match names.try_fold(&defaults, |node, name| node.get(name)) {
            Some(Value::Table(table)) => {
                lines.push(format!("[{}]", section.path));
                lines.extend(section_lines(section, table, true));
                lines.push(String::new());
            }
            Some(Value::Array(elements)) => {
                for (index, table) in elements.iter().filter_map(Value::as_table).enumerate() {
                    lines.push(format!("[[{}]]", section.path));
                    lines.extend(section_lines(section, table, index == 0));
                    lines.push(String::new());
                }
            }
            _ => {}
        }
    }
    Ok(lines.join("\n"))
}

/// [`Settings::digest`].
pub(super) fn digest<C: Settings>(config: &C) -> Result<String, ConfigError> {
    let mut hasher = Sha256::new();
    let defaults = decisive_values(&C::default())?;
    for (key, value) in decisive_values(config)? {
        if C::LATER_KEYS.contains(&key.as_str()) && defaults.get(&key) == Some(&value) {
            continue;
        }
        hasher.update(format!("{key} = {value}\n"));
    }
    Ok(format!("{:x}", hasher.finalize()))
}

/// [`Settings::difference`].
pub(super) fn difference<C: Settings>(ours: &C, theirs: &C) -> Result<Vec<Difference>, ConfigError> {
    Ok(differences(&decisive_values(ours)?, &decisive_values(theirs)?))
}

/// [`Settings::difference_between_ranks`].
pub(super) fn difference_between_ranks<C: Settings>(ours: &C, theirs: &C) -> Result<Vec<Difference>, ConfigError> {
    let is_local = |key: &str| LOCAL_TO_A_RANK.contains(&key);
    Ok(differences(&values_except(ours, is_local)?, &values_except(theirs, is_local)?))
}

/// [`Settings::changes`].
pub(super) fn changes<C: Settings>(config: &C) -> Result<Vec<Change>, ConfigError> {
    let (values, defaults) = (values_except(config, |_| false)?, values_except(&C::default(), |_| false)?);
    let keys: BTreeSet<&String> = values.keys().chain(defaults.keys()).collect();
    let value = |values: &BTreeMap<String, String>, key| values.get(key).cloned();
    let changes = keys.into_iter().map(|key| Change {
        key: key.clone(),
        value: value(&values, key),
        default: value(&defaults, key),
        meaning: meaning::<C>(key),
    });
    Ok(changes.filter(|change| change.value != change.default).collect())
}

/// The comment of a key, in one line; `key` may name an element of a list of tables.
fn meaning<C: Settings>(key: &str) -> String {
    let names: Vec<&str> = key.split('.').filter(|name| name.parse::<usize>().is_err()).collect();
    let of_key = C::SECTIONS.iter().flat_map(|section| section.keys().map(move |key| (section.path, key)));
    let found = of_key.into_iter().find(|(path, (name, ..))| join(path, name) == names.join("."));
    found.map_or(String::new(), |(_, (_, comment, _))| comment.concat().trim().to_owned())
}

/// Every key that the digest covers, with its value as TOML.
fn decisive_values<C: Settings>(config: &C) -> Result<BTreeMap<String, String>, ConfigError> {
    values_except(config, C::is_changeable)
}

fn values_except<C: Settings>(
    config: &C,
    is_left_out: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut values = BTreeMap::new();
    collect_leaves(&Value::try_from(config)?, "", &mut values);
    values.retain(|key, _| !is_left_out(key));
    Ok(values)
}

fn differences(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<Difference> {
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let value = |values: &BTreeMap<String, String>, key| values.get(key).map_or("(absent)".to_owned(), String::clone);
    keys.into_iter()
        .map(|key| Difference { key: key.clone(), ours: value(ours, key), theirs: value(theirs, key) })
        .filter(|difference| difference.ours != difference.theirs)
        .collect()
}

/// `key = value` for each key of a table, with comments or without.
fn section_lines(section: &Section, table: &Table, with_comments: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, comment, _) in section.keys() {
        let Some(value) = table.get(key).filter(|value| !is_table_list(value)) else {
            continue; // A list of tables is a section of its own.
        };
        if with_comments {
            lines.extend(comment.iter().map(|line| format!("#{line}")));
        }
        lines.push(format!("{key} = {value}"));
    }
    lines
}

fn is_table_list(value: &Value) -> bool {
    let elements = value.as_array().map_or(&[][..], Vec::as_slice);
    elements.iter().any(Value::is_table)
}

fn collect_leaves(node: &Value, path: &str, leaves: &mut BTreeMap<String, String>) {
    match node {
        Value::Table(table) => {
            for (name, child) in table {
                collect_leaves(child, &join(path, name), leaves);
            }
        }
        Value::Array(elements) if is_table_list(node) => {
            for (index, child) in elements.iter().enumerate() {
                collect_leaves(child, &join(path, &index.to_string()), leaves);
            }
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf.to_string());
        }
    }
}

/// `name` below `path`; the root's path is empty.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::super::settings::CHANGEABLE_KEYS;
    use super::*;
    use crate::config::{SearchConfig, StageSection, TrainConfig};

    fn leaves<C: Settings>() -> BTreeMap<String, String> {
        let mut leaves = BTreeMap::new();
        collect_leaves(&Value::try_from(C::default()).unwrap(), "", &mut leaves);
        leaves
    }

    fn commented_keys<C: Settings>() -> BTreeSet<String> {
        let sections = C::SECTIONS.iter();
        sections.flat_map(|section| section.keys().map(|(key, ..)| join(section.path, key))).collect()
    }

    #[test]
    fn every_key_has_a_comment_and_no_comment_lacks_a_key() {
        let mut keys: BTreeSet<String> = leaves::<SearchConfig>().into_keys().collect();
        keys.retain(|key| !key.starts_with("search.stages."));
        keys.extend(["cells", "keep", "skip_dropout"].map(|key| format!("search.stages.{key}")));

        let mut commented = commented_keys::<SearchConfig>();
        commented.remove("search.stages");
        assert_eq!(commented, keys);
        assert_eq!(commented_keys::<TrainConfig>(), leaves::<TrainConfig>().into_keys().collect());
    }

    #[test]
    fn commented_defaults_are_the_defaults() {
        let text = SearchConfig::commented_defaults().unwrap();
        assert_eq!(toml::from_str::<SearchConfig>(&text).unwrap(), SearchConfig::default());
        let of_training = TrainConfig::commented_defaults().unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&of_training).unwrap(), TrainConfig::default());
        assert!(text.contains("# Seed of every random stream.\nseed = 0\n"), "{text}");
        assert!(text.contains("\n[[search.stages]]\n# Cells of the supernet"), "{text}");
        assert!(text.contains("\n[[search.stages]]\ncells = 11\n"), "{text}");
    }

    #[test]
    fn resolved_toml_states_every_key_and_reads_back() {
        let mut config = SearchConfig::default();
        config.optimizer.alphas.learning_rate = 0.1 + 0.2;
        config.data.dir = "/a folder/\"quoted\"".into();
        let text = config.to_toml().unwrap();
        assert_eq!(toml::from_str::<SearchConfig>(&text).unwrap(), config);
        assert!(text.contains("[[search.stages]]\ncells = 17\nkeep = 1\nskip_dropout = 0.7\n"), "{text}");
    }

    #[test]
    fn digest_covers_what_decides_the_result_only() {
        let config = SearchConfig::default();
        let digest = config.digest().unwrap();
        assert_eq!(digest.len(), 64);

        let mut moved = config.clone();
        moved.run.threads = 7;
        moved.run.log_every_steps = 1;
        moved.run.checkpoint_every_epochs = 9;
        moved.data.dir = "elsewhere".into();
        moved.data.loader_threads = 3;
        assert_eq!(moved.digest().unwrap(), digest);
        assert_eq!(moved.difference(&config).unwrap(), []);

        let mut reseeded = config.clone();
        reseeded.run.seed = 1;
        assert_ne!(reseeded.digest().unwrap(), digest);
    }

    #[test]
    fn digest_of_a_configuration_without_later_keys_stays_what_it_was() {
        let config = SearchConfig::default();
        let before = "47b5b62449a65185fa8068d67d078f451e9722485f9df2a5edf27e50c2ca956d";
        assert_eq!(config.digest().unwrap(), before);
        let mut with_later = config.clone();
        with_later.data.alpha_fraction = 0.25;
        assert_ne!(with_later.digest().unwrap(), before);
    }

    #[test]
    fn keys_changeable_at_resume_exist() {
        let exist = |keys: &[&str], leaves: BTreeMap<String, String>| keys.iter().all(|key| leaves.contains_key(*key));
        assert!(exist(SearchConfig::OWN_CHANGEABLE_KEYS, leaves::<SearchConfig>()));
        assert!(exist(TrainConfig::OWN_CHANGEABLE_KEYS, leaves::<TrainConfig>()));
        assert!(exist(&CHANGEABLE_KEYS, leaves::<SearchConfig>()));
        assert!(exist(&CHANGEABLE_KEYS, leaves::<TrainConfig>()));
        assert!(exist(SearchConfig::LATER_KEYS, leaves::<SearchConfig>()));
        assert!(exist(&LOCAL_TO_A_RANK, leaves::<SearchConfig>()));
        assert!(exist(&LOCAL_TO_A_RANK, leaves::<TrainConfig>()));
    }

    #[test]
    fn changes_are_all_keys_that_differ_from_the_defaults_with_their_meaning() {
        let mut config = SearchConfig::default();
        config.run.threads = 3;
        config.search.stages.truncate(2);
        config.search.stages[1].cells = 6;
        let changes = config.changes().unwrap();
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        let stages =
            ["search.stages.1.cells", "search.stages.2.cells", "search.stages.2.keep", "search.stages.2.skip_dropout"];
        assert_eq!(keys, [&["run.threads"][..], &stages].concat());
        let value = |text: &str| Some(text.to_owned());
        assert_eq!((&changes[0].value, &changes[0].default), (&value("3"), &value("0")));
        assert!(changes[0].meaning.starts_with("CPU threads of a rank"), "{}", changes[0].meaning);
        assert!(changes[1].meaning.starts_with("Cells of the supernet"), "{}", changes[1].meaning);
        assert_eq!(changes[2].value, None);
        assert_eq!(SearchConfig::default().changes().unwrap(), []);
    }

    #[test]
    fn difference_lists_keys_with_both_values() {
        let theirs = SearchConfig::default();
        let mut ours = theirs.clone();
        ours.search.epochs = 10;
        ours.search.stages.truncate(2);
        ours.search.stages[1] = StageSection { cells: 6, keep: 1, skip_dropout: 0.4 };
        let differences = ours.difference(&theirs).unwrap();
        assert_eq!(differences[0].since_begun(), "search.epochs: the run was begun with 25, now 10 was given");
        assert_eq!(
            differences.iter().map(Difference::to_string).collect::<Vec<_>>(),
            [
                "search.epochs = 10 instead of 25",
                "search.stages.1.cells = 6 instead of 11",
                "search.stages.1.keep = 1 instead of 3",
                "search.stages.2.cells = (absent) instead of 17",
                "search.stages.2.keep = (absent) instead of 1",
                "search.stages.2.skip_dropout = (absent) instead of 0.7",
            ]
        );
    }
}
