//! `pdarts config`: the configuration as a search or a retraining would use it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::output;
use crate::config::{CompareConfig, ConfigError, SearchConfig, Settings, TrainConfig};

const EXAMPLES: &str = "\
Examples:
  pdarts config show > my-search.toml
  pdarts config show --config my-search.toml --set search.epochs=10
  pdarts config show --set data.dataset=cifar100 --json
  pdarts config show --kind train > my-training.toml";

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting: the defaults with their meaning, or what a file and --set make of them
    #[command(after_help = EXAMPLES)]
    Show(ShowArguments),
}

#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The settings of which command
    #[arg(long, value_enum, default_value_t = Kind::Search)]
    kind: Kind,
    /// TOML file of the settings that differ from the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change one setting, as in search.epochs=10 or search.stages.0.cells=3; wins over the file, may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print JSON instead of TOML
    #[arg(long)]
    json: bool,
    /// Print the defaults with their meaning as Markdown: a page of the documentation
    #[arg(long, conflicts_with_all = ["json", "config", "overrides"])]
    markdown: bool,
}

/// The commands that have settings.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// `pdarts search`
    Search,
    /// `pdarts train`
    Train,
    /// `pdarts compare`
    Compare,
}

pub fn run(command: ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Show(arguments) = command;
    match arguments.kind {
        Kind::Search => show::<SearchConfig>(&arguments),
        Kind::Train => show::<TrainConfig>(&arguments),
        Kind::Compare => show::<CompareConfig>(&arguments),
    }
}

fn show<C: Settings>(arguments: &ShowArguments) -> anyhow::Result<()> {
    if arguments.markdown {
        return Ok(output::print(C::markdown()?)?);
    }
    let stated = arguments.config.is_some() || !arguments.overrides.is_empty();
    let config: C = resolve(arguments.config.as_deref(), &arguments.overrides)?;
    if arguments.json {
        output::print_json(&config)?;
    } else if stated {
        output::print(config.to_toml()?)?;
    } else {
        output::print(C::commented_defaults()?)?;
    }
    Ok(())
}

fn resolve<C: Settings>(file: Option<&Path>, overrides: &[String]) -> Result<C, ConfigError> {
    match file {
        Some(path) => C::load(path, overrides),
        None => C::from_overrides(overrides),
    }
}
