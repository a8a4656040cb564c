//! `pdarts genotype derive`: from the architecture parameters of any epoch to cells.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use super::argument::read_text;
use super::millions;
use crate::cli::error::UsageError;
use crate::cli::output;
use crate::cli::table::Table;
use crate::config::SearchConfig;
use crate::genotype::{CostLimits, GenotypeError, NetworkShape, restrict, text, variants_within};
use crate::run::{AlphasFile, FolderKind, GenotypeFile, PricedVariant, RunDirectory, json_problem};

const EXAMPLES: &str = "\
Examples:
  pdarts genotype derive runs/first/alphas/stage3-epoch025.json
  pdarts genotype derive runs/first/alphas/stage3-epoch025.json --max-skip-connects 4 --json > genotype.json
  pdarts genotype derive runs/first/alphas/stage3-epoch025.json --max-multiply-adds 600000000 --limit-network imagenet";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeriveArguments {
    /// A file from the folder alphas of a run, or - for standard input
    #[arg(value_name = "ALPHAS.json")]
    alphas: PathBuf,
    /// Limit on skip connections in the normal cell, 0 to 8, that decides which cell is the result
    #[arg(long, value_name = "M", default_value_t = SearchConfig::default().search.max_skip_connects as u8, value_parser = clap::value_parser!(u8).range(0..=8))]
    max_skip_connects: u8,
    /// Most parameters of the network, as search.max_parameters
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_parameters: Option<u64>,
    /// Most multiply-adds of the network for one image, as search.max_multiply_adds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_multiply_adds: Option<u64>,
    /// The network that these limits are on: 36 channels and 20 cells, or 48 and 14
    #[arg(long, value_enum, value_name = "NETWORK", default_value_t = LimitedNetwork::Cifar)]
    limit_network: LimitedNetwork,
    /// Print JSON: what a search writes as genotype.json
    #[arg(long)]
    json: bool,
}

/// The networks of the papers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum LimitedNetwork {
    Cifar,
    Imagenet,
}

impl DeriveArguments {
    fn limits(&self) -> CostLimits {
        let shape = match self.limit_network {
            LimitedNetwork::Cifar => NetworkShape::cifar(10),
            LimitedNetwork::Imagenet => NetworkShape::imagenet(),
        };
        let (max_parameters, max_multiply_adds) = (self.max_parameters, self.max_multiply_adds);
        CostLimits { shape, max_parameters, max_multiply_adds }
    }
}

pub fn run(arguments: &DeriveArguments) -> anyhow::Result<()> {
    let file = derive(arguments).map_err(UsageError::new)?;
    if arguments.json {
        return output::print_json(&file);
    }
    let text = |priced: &PricedVariant| format!("M = {}\n{}", priced.variant.max_skip_connects, priced.python);
    let texts: Vec<String> = file.variants.iter().map(text).collect();
    let (table, why) = (variant_table(&file), &file.result.why);
    Ok(output::print(format_args!("{table}\nIn millions. * {why}\n\n{}", texts.join("\n\n")))?)
}

fn derive(arguments: &DeriveArguments) -> anyhow::Result<GenotypeFile> {
    if arguments.alphas.is_dir() {
        return Err(anyhow!("{} is a folder: {}", arguments.alphas.display(), advice(&arguments.alphas)));
    }
    let (name, text) = read_text(&arguments.alphas)?;
    let AlphasFile { live, alphas, .. } = serde_json::from_str(&text)
        .map_err(|error| anyhow!("{name} is not a file of alphas: {}", found(&text, &error)))?;
    let limits = arguments.limits();
    let variants = restrict(&live, &alphas).and_then(|variants| variants_within(variants, &live, &alphas, limits));
    Ok(GenotypeFile::new(&variants.context(name)?, arguments.max_skip_connects.into(), None).within(&limits))
}

/// What `text` is instead of a file of alphas, of which `error` tells, and what to do.
fn found(text: &str, error: &serde_json::Error) -> String {
    match text::read_cell(text, None) {
        Ok(_) | Err(GenotypeError::SeveralCells { .. }) => {
            "it holds a cell, which pdarts genotype show prints; cells are derived of a file from the folder alphas of a \
             search"
                .to_owned()
        }
        Err(_) => format!("it {}; name one from the folder alphas of a search", json_problem(text, error)),
    }
}

/// What can be named instead of the folder `root`.
fn advice(root: &Path) -> String {
    let shown = root.display();
    match (RunDirectory::last_alphas_in(root), FolderKind::of(root)) {
        (Some(last), _) => format!("name one of its files of alphas; the last is {}", last.display()),
        (None, FolderKind::Search) => {
            "this search has no alphas, as those of single cells, or none yet; its cell is that of pdarts genotype show"
                .to_owned()
        }
        (None, FolderKind::Training | FolderKind::Seeds) => format!(
            "a training has a cell and no alphas: pdarts genotype show {shown} prints it; cells are derived of a file from \
             the folder alphas of a search"
        ),
        (None, FolderKind::Experiment) => {
            format!("name a file from the folder alphas of one of its searches, {shown}/STRATEGY/seedN/search")
        }
        (None, FolderKind::Other) => "name a file from the folder alphas of a search".to_owned(),
    }
}

/// One line for each variant, the result with a star.
fn variant_table(file: &GenotypeFile) -> Table {
    let mut table = Table::new(&[
        &["", "limit M", "skips", "CIFAR-10", "", "ImageNet", "", "with BN"],
        &["", "", "", "params", "multiply-adds", "params", "multiply-adds", "and ReLU"],
    ]);
    for priced in &file.variants {
        let variant = &priced.variant;
        let (cifar10, imagenet) = (priced.costs.cifar10, priced.costs.imagenet);
        let is_result = variant.max_skip_connects == file.result.max_skip_connects;
        let counts = [
            cifar10.parameters,
            cifar10.multiply_adds,
            imagenet.parameters,
            imagenet.multiply_adds,
            imagenet.multiply_adds_all,
        ];
        let star = if is_result { "*" } else { "" }.to_owned();
        let limits = [star, variant.max_skip_connects.to_string(), variant.skip_connects.to_string()];
        table.row(limits.into_iter().chain(counts.map(millions)));
    }
    table
}
