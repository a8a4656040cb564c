//! `pdarts genotype`: cells without a network, to look at, compare and derive.

mod argument;
mod derive;
mod draw;
mod list;
mod show;

pub use self::argument::{NamedGenotype, read_genotype};
pub use self::show::describe;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum GenotypeCommand {
    /// List the published cells with their costs and results
    List(list::ListArguments),
    /// Print the operations and the costs of a cell
    Show(show::ShowArguments),
    /// Draw a cell as SVG
    Draw(draw::DrawArguments),
    /// Derive cells from the architecture parameters of a run, one for each limit on skip connections
    Derive(derive::DeriveArguments),
}

pub fn run(command: GenotypeCommand) -> anyhow::Result<()> {
    match command {
        GenotypeCommand::List(arguments) => list::run(&arguments),
        GenotypeCommand::Show(arguments) => show::run(&arguments),
        GenotypeCommand::Draw(arguments) => draw::run(&arguments),
        GenotypeCommand::Derive(arguments) => derive::run(&arguments),
    }
}

/// A count in millions: `3.43` parameters, `532.2` multiply-adds.
pub fn millions(count: u64) -> String {
    let millions = count as f64 / 1e6;
    if millions < 100.0 { format!("{millions:.2}") } else { format!("{millions:.1}") }
}
