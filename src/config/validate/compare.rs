//! Relations between the keys of an experiment.

use super::require;
use crate::config::schema::{Section, compare::SECTIONS};
use crate::config::{CompareConfig, Settings, Violation};

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
            require(!names[..index].contains(name), &*key, || format!("{name} is listed twice; list each name once"))?;
        }
        let reference = self.compare.reference.as_str();
        require(names.contains(&reference), "compare.reference", || {
            format!("there is no strategy {reference}; name one of {}", names.join(", "))
        })
    }
}
