//! `pdarts genotype draw`: the two cells as pictures.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::argument::{GenotypeArgument, NamedGenotype};
use crate::cli::output::{self, OutputFile};
use crate::figures::{CellGraph, cell_svg};
use crate::genotype::CellKind;
use crate::run::RunError;

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
    output::check_folder("--out", out)?;
    let input = Path::new(arguments.genotype.source());
    let file = |kind: CellKind| OutputFile::check("--out", &out.join(format!("{kind}.svg")), &[input]);
    let (normal, reduction) = (file(CellKind::Normal)?, file(CellKind::Reduction)?);
    let drawings = Drawings {
        normal: draw(&cells, CellKind::Normal, &normal)?,
        reduction: draw(&cells, CellKind::Reduction, &reduction)?,
    };
    if arguments.json {
        return output::print_json(&drawings);
    }
    Ok(output::print(format_args!("{}\n{}", drawings.normal.display(), drawings.reduction.display()))?)
}

fn draw(cells: &NamedGenotype, kind: CellKind, file: &OutputFile) -> Result<PathBuf, RunError> {
    let title = format!("{}: {kind} cell", cells.name);
    let svg = cell_svg(&CellGraph::of_genotype(title, &cells.genotype, kind));
    file.write(svg.as_bytes())?;
    Ok(file.path().to_owned())
}
