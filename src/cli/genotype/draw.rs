//! `pdarts genotype draw`: the two cells as pictures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::argument::{GenotypeArgument, NamedGenotype};
use crate::cli::error::UsageError;
use crate::cli::output;
use crate::figures::{CellGraph, cell_svg};
use crate::genotype::CellKind;
use crate::run::{RunError, write_atomic};

const EXAMPLES: &str = "\
Examples:
  pdarts genotype draw PDARTS_C10
  pdarts genotype draw runs/first --out figures";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DrawArguments {
    #[command(flatten)]
    genotype: GenotypeArgument,
    /// Folder for normal.svg and reduction.svg
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Print the paths as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Drawings {
    normal: PathBuf,
    reduction: PathBuf,
}

pub fn run(arguments: &DrawArguments) -> anyhow::Result<()> {
    let cells = arguments.genotype.read()?;
    let out = &arguments.out;
    fs::create_dir_all(out)
        .with_context(|| format!("cannot create the folder {}", out.display()))
        .map_err(UsageError::new)?;
    let drawings =
        Drawings { normal: draw(&cells, CellKind::Normal, out)?, reduction: draw(&cells, CellKind::Reduction, out)? };
    if arguments.json {
        return output::print_json(&drawings);
    }
    Ok(output::print(format_args!("{}\n{}", drawings.normal.display(), drawings.reduction.display()))?)
}

fn draw(cells: &NamedGenotype, kind: CellKind, out: &Path) -> Result<PathBuf, RunError> {
    let title = format!("{}: {kind} cell", cells.name);
    let svg = cell_svg(&CellGraph::of_genotype(title, &cells.genotype, kind));
    let path = out.join(format!("{kind}.svg"));
    write_atomic(&path, |writer| writer.write_all(svg.as_bytes()))?;
    Ok(path)
}
