//! `pdarts genotype show`: one cell in full.

use clap::Args;
use serde::Serialize;

use super::argument::{GenotypeArgument, NamedGenotype};
use super::millions;
use crate::cli::output;
use crate::cli::table::Table;
use crate::genotype::{CellKind, Costs, EDGES_PER_NODE, Genotype, NUM_INPUTS};

const EXAMPLES: &str = "\
Examples:
  pdarts genotype show PDARTS_C10
  pdarts genotype show runs/first/genotype.json --json
  pdarts genotype derive runs/first/alphas/stage3-epoch025.json --json | pdarts genotype show -";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArguments {
    #[command(flatten)]
    genotype: GenotypeArgument,
    /// Print JSON, with exact counts
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    skip_connects: usize,
    genotype: &'a Genotype,
    python: String,
    #[serde(flatten)]
    costs: Costs,
}

pub fn run(arguments: &ShowArguments) -> anyhow::Result<()> {
    let NamedGenotype { name, genotype, .. } = &arguments.genotype.read()?;
    let costs = Costs::of(genotype);
    let skip_connects = genotype.skip_connects();
    if arguments.json {
        return output::print_json(&Shown { name, skip_connects, genotype, python: genotype.to_string(), costs });
    }
    Ok(output::print(format_args!("{name}\n\n{}", describe(genotype)))?)
}

/// Both cells, what their networks cost, and the Python text.
pub fn describe(genotype: &Genotype) -> String {
    let cells: Vec<String> = CellKind::ALL.into_iter().map(|kind| cell_text(genotype, kind)).collect();
    let skip_connects = genotype.skip_connects();
    let costs = cost_table(&Costs::of(genotype));
    let cells = cells.join("\n");
    format!("{cells}\nskip connections in the normal cell: {skip_connects}\n\n{costs}\n{genotype}")
}

/// What each node of a cell adds up.
fn cell_text(genotype: &Genotype, kind: CellKind) -> String {
    let edges: Vec<String> = genotype
        .edges(kind)
        .iter()
        .map(|(operation, source)| format!("{operation}({})", state_name(*source)))
        .collect();
    let width = edges.iter().map(String::len).max().unwrap_or(0);
    let mut text = format!("{kind} cell\n");
    for (node, sum) in edges.chunks(EDGES_PER_NODE).enumerate() {
        let terms: Vec<String> = sum.iter().map(|edge| format!("{edge:<width$}")).collect();
        text += format!("  node {node} = {}", terms.join(" + ")).trim_end();
        text += "\n";
    }
    let outputs: Vec<String> = genotype.concat(kind).iter().map(|&state| state_name(state)).collect();
    text + &format!("  output = {}\n", outputs.join(", "))
}

/// As in the drawings.
fn state_name(state: usize) -> String {
    match state.checked_sub(NUM_INPUTS) {
        Some(node) => format!("node {node}"),
        None => format!("c_{{k-{}}}", NUM_INPUTS - state),
    }
}

fn cost_table(costs: &Costs) -> Table {
    let mut table = Table::new(&[
        &["network", "parameters", "multiply-adds", "with BN and ReLU"],
        &["", "millions", "millions", "millions"],
    ]);
    let networks = [
        ("CIFAR-10, 36 channels, 20 cells", costs.cifar10),
        ("CIFAR-100, 36 channels, 20 cells", costs.cifar100),
        ("ImageNet, 48 channels, 14 cells", costs.imagenet),
    ];
    for (network, cost) in networks {
        let counts = [cost.parameters, cost.multiply_adds, cost.multiply_adds_all].map(millions);
        table.row([network.to_owned()].into_iter().chain(counts));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::library;

    #[test]
    fn nodes_are_sums_of_operations_on_named_states() {
        let genotype = library::find("PDARTS_C10").unwrap().genotype;
        let text = cell_text(&genotype, CellKind::Normal);
        assert!(text.contains("  node 0 = skip_connect(c_{k-2}) + dil_conv_3x3(c_{k-1})\n"), "{text}");
        assert!(text.contains("  node 3 = sep_conv_3x3(c_{k-2}) + dil_conv_5x5(node 2)\n"), "{text}");
        assert!(text.ends_with("  output = node 0, node 1, node 2, node 3\n"), "{text}");
    }
}
