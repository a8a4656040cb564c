//! Relations between the keys of an experiment.

use super::require;
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
        let seeds = &self.compare.seeds;
        require(!seeds.is_empty(), "compare.seeds", || "there is none; list one or more".to_owned())?;
        for (index, seed) in seeds.iter().enumerate() {
            require(!seeds[..index].contains(seed), "compare.seeds", || {
                format!("{seed} is listed twice; list each seed once")
            })?;
        }
        require(!self.strategies.is_empty(), "strategies", || "there is none; state one or more".to_owned())?;
        let names: Vec<&str> = self.strategies.iter().map(|strategy| strategy.name.as_str()).collect();
        for (index, name) in names.iter().enumerate() {
            let key = format!("strategies.{index}.name");
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            require(!name.is_empty() && name.chars().all(is_name) && !name.starts_with('.'), &*key, || {
                format!("{name:?} cannot be a folder; use letters, digits, - and _")
            })?;
            require(!FILES.contains(name), &*key, || {
                format!("{name} is a file of the experiment; choose another name")
            })?;
            require(!names[..index].contains(name), &*key, || format!("{name} is listed twice; list each name once"))?;
        }
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
        let reference = self.compare.reference.as_str();
        require(names.contains(&reference), "compare.reference", || {
            format!("there is no strategy {reference}; name one of {}", names.join(", "))
        })
    }
}
