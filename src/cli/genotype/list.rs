//! `pdarts genotype list`: the published cells, what is counted for them beside what was published.

use clap::Args;
use serde::Serialize;

use super::millions;
use crate::cli::output;
use crate::cli::table::Table;
use crate::genotype::Costs;
use crate::genotype::library::{PublishedCell, PublishedResults, published_cells};

const EXAMPLES: &str = "\
Examples:
  pdarts genotype list
  pdarts genotype list --json > cells.json";

const HEADINGS: [&[&str]; 3] = [
    &["", "CIFAR-10", "", "", "CIFAR-100", "ImageNet", "", "", "", "", "", "", "", ""],
    &[
        "", "params", "", "multiply", "params", "params", "", "multiply", "with BN", "", "error", "error", "error",
        "error",
    ],
    &[
        "cell", "counted", "publ.", "-adds", "counted", "counted", "publ.", "-adds", "and ReLU", "publ.", "C-10",
        "C-100", "top-1", "top-5",
    ],
];

const LEGEND: &str = "\
Parameters and multiply-adds in millions, counted without the auxiliary head: 36 channels and 20 cells on CIFAR,
48 channels and 14 cells on ImageNet at 224 pixels. Multiply-adds are those of convolutions and linear layers;
`with BN and ReLU` is the convention of the P-DARTS paper. Published figures and errors (percent) are the
authors'.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArguments {
    /// Print JSON, with exact counts and sources
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ListedCell {
    name: String,
    title: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(flatten)]
    costs: Costs,
    published: PublishedResults,
}

impl From<PublishedCell> for ListedCell {
    fn from(cell: PublishedCell) -> Self {
        let costs = Costs::of(&cell.genotype);
        let PublishedCell { name, title, source, note, published, .. } = cell;
        Self { name, title, source, note, costs, published }
    }
}

pub fn run(arguments: &ListArguments) -> anyhow::Result<()> {
    let cells: Vec<ListedCell> = published_cells()?.into_iter().map(ListedCell::from).collect();
    if arguments.json {
        return output::print_json(&cells);
    }
    let mut table = Table::new(&HEADINGS);
    for cell in &cells {
        table.row(cell.row());
    }
    let titles: Vec<String> = cells.iter().map(|cell| format!("{}: {}", cell.name, cell.title)).collect();
    Ok(output::print(format_args!("{table}\n{LEGEND}\n\n{}\n{}", titles.join("\n"), notes(&cells)))?)
}

/// One paragraph for each note, after the names of the neighbouring cells that share it.
fn notes(cells: &[ListedCell]) -> String {
    let paragraph = |cells: &[ListedCell]| -> Option<String> {
        let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        Some(format!("\n{}: {}\n", names.join(", "), cells.first()?.note.as_ref()?))
    };
    cells.chunk_by(|a, b| a.note == b.note).filter_map(paragraph).collect()
}

impl ListedCell {
    fn row(&self) -> [String; 14] {
        let Costs { cifar10, cifar100, imagenet } = self.costs;
        let published = &self.published;
        [
            self.name.clone(),
            millions(cifar10.parameters),
            figure(published.cifar10_parameters_millions),
            millions(cifar10.multiply_adds),
            millions(cifar100.parameters),
            millions(imagenet.parameters),
            figure(published.imagenet_parameters_millions),
            millions(imagenet.multiply_adds),
            millions(imagenet.multiply_adds_all),
            figure(published.imagenet_multiply_adds_millions),
            figure(published.cifar10_error_percent),
            figure(published.cifar100_error_percent),
            figure(published.imagenet_top1_error_percent),
            figure(published.imagenet_top5_error_percent),
        ]
    }
}

/// A published figure as it was published.
fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
