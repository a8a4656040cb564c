//! `pdarts config`: the configuration as a search would use it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::output;
use crate::config::{Config, ConfigError};

const EXAMPLES: &str = "\
Examples:
  pdarts config show > my-search.toml
  pdarts config show --config my-search.toml --set search.epochs=10
  pdarts config show --set data.dataset=cifar100 --json";

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting: the defaults with their meaning, or what a file and --set make of them
    #[command(after_help = EXAMPLES)]
    Show(ShowArguments),
}

#[derive(Debug, Args)]
pub struct ShowArguments {
    /// TOML file of the settings that differ from the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change one setting, as in search.epochs=10 or search.stages.0.cells=3; wins over the file, may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print JSON instead of TOML
    #[arg(long)]
    json: bool,
}

pub fn run(command: ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Show(arguments) = command;
    let stated = arguments.config.is_some() || !arguments.overrides.is_empty();
    let config = resolve(arguments.config.as_deref(), &arguments.overrides)?;
    if arguments.json {
        output::print_json(&config)?;
    } else if stated {
        output::print(config.to_toml()?)?;
    } else {
        output::print(Config::commented_defaults()?)?;
    }
    Ok(())
}

fn resolve(file: Option<&Path>, overrides: &[String]) -> Result<Config, ConfigError> {
    match file {
        Some(path) => Config::load(path, overrides),
        None => Config::from_overrides(overrides),
    }
}
