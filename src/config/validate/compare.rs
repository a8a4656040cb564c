//! Relations between the keys of an experiment.

use super::{require, validate_seed};
use crate::config::schema::{Section, compare::SECTIONS};
use crate::config::{CompareConfig, Settings, Violation};

/// What lies beside the folders of the strategies.
const FILES: [&str; 4] = ["experiment.json", "results.json", "results.txt", "report.html"];

impl Settings for CompareConfig {
    const SECTIONS: &'static [Section] = &SECTIONS;

    const OWN_CHANGEABLE_KEYS: &'static [&'static str] = &[];

    const COMMAND: &'static str = "pdarts compare";

    const SHOW_COMMAND: &'static str = "pdarts config show --kind compare";

    const EXAMPLE: &'static str = "compare.seeds=[0,1]";

    fn validate(&self) -> Result<(), Violation> {
        validate_seeds("compare.seeds", &self.compare.seeds)?;
        let names: Vec<&str> = self.strategies.iter().map(|strategy| strategy.name.as_str()).collect();
        validate_strategies(&names, "compare.reference", &self.compare.reference)?;
        let of_strategies = self
            .strategies
            .iter()
            .enumerate()
            .map(|(index, strategy)| (format!("strategies.{index}.set"), &strategy.set));
        let common = [("search.set".to_owned(), &self.search.set), ("train.set".to_owned(), &self.train.set)];
        for (key, set) in common.into_iter().chain(of_strategies) {
            let is_seed =
                |assignment: &String| assignment.split('=').next().is_some_and(|key| key.trim() == "run.seed");
            require(!set.iter().any(is_seed), key, || {
                "run.seed is that of each run in turn; state compare.seeds instead".to_owned()
            })?;
        }
        Ok(())
    }
}

/// Checks seeds of which each has a run.
///
/// # Errors
/// A list without any, or the first that is too large or listed twice.
pub fn validate_seeds(key: &str, seeds: &[u64]) -> Result<(), Violation> {
    require(!seeds.is_empty(), key, || "there is none; list one or more".to_owned())?;
    seeds.iter().enumerate().try_for_each(|(index, seed)| {
        validate_seed(key, *seed)?;
        require(!seeds[..index].contains(seed), key, || format!("{seed} is listed twice; list each seed once"))
    })
}

/// Checks the `names` of an experiment's strategies, which are folders, and that `reference` is one of them.
///
/// # Errors
/// The first name that cannot be, by its key, or `reference_key`.
pub fn validate_strategies(names: &[&str], reference_key: &str, reference: &str) -> Result<(), Violation> {
    require(!names.is_empty(), "strategies", || "there is none; state one or more".to_owned())?;
    for (index, name) in names.iter().enumerate() {
        let key = format!("strategies.{index}.name");
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        require(!name.is_empty() && name.chars().all(is_name) && !name.starts_with('.'), &*key, || {
            format!("{name:?} cannot be a folder; use letters, digits, - and _")
        })?;
        require(!FILES.contains(name), &*key, || format!("{name} is a file of the experiment; choose another name"))?;
        require(!names[..index].contains(name), &*key, || format!("{name} is listed twice; list each name once"))?;
    }
    require(names.contains(&reference), reference_key, || {
        format!("there is no strategy {reference}; name one of {}", names.join(", "))
    })
}
