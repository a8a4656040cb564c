//! `pdarts completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, output};

const EXAMPLES: &str = "\
Examples:
  pdarts completions bash > ~/.local/share/bash-completion/completions/pdarts
  pdarts completions zsh > ~/.zfunc/_pdarts
  pdarts completions fish > ~/.config/fish/completions/pdarts.fish";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArguments {
    /// Shell to complete in
    shell: Shell,
}

pub fn run(arguments: &CompletionsArguments) -> anyhow::Result<()> {
    // `generate` panics where it cannot write.
    let mut script = Vec::new();
    generate(arguments.shell, &mut Cli::command(), "pdarts", &mut script);
    Ok(output::print(String::from_utf8(script)?)?)
}
