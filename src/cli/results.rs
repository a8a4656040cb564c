//! `pdarts results`: a table of runs beside the published results.

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::UsageError;
use super::genotype::millions;
use super::output::{self, OutputFile};
use super::table::Table;
use crate::report::{ResultRow, collect_results};

const EXAMPLES: &str = "\
Examples:
  pdarts results runs/search runs/train
  pdarts results runs/* --markdown results.md
  pdarts results runs/train --json

Of several folders, those that are no runs are left out, with a warning.

Errors are of the test set, with the weights of the last epoch; of ImageNet and other images top-1 / top-5. Trainings
that differ in their seeds alone are one row, with the standard deviation. A star: the test set was scored after every
epoch. Published errors are as their authors report them, sizes counted here.";

const HEADINGS: [&str; 9] = [
    "cell",
    "searched on",
    "evaluated on",
    "test error, %",
    "seeds",
    "parameters, M",
    "multiply-adds, M",
    "search",
    "training, each",
];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ResultsArguments {
    /// Run directories of searches and of trainings, also of several seeds
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Write the table as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print the rows as JSON, with every figure
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &ResultsArguments) -> anyhow::Result<()> {
    let inputs: Vec<&Path> = arguments.runs.iter().map(PathBuf::as_path).collect();
    let check = |path: &PathBuf| OutputFile::check("--markdown", path, &inputs);
    let file = arguments.markdown.as_ref().map(check).transpose()?;
    let rows = collect_results(&arguments.runs).map_err(UsageError::new)?;
    if arguments.json {
        output::print_json(&rows)?;
    } else {
        let mut table = Table::new(&[&HEADINGS]);
        rows.iter().for_each(|row| table.row(cells(row)));
        output::print(table)?;
    }
    file.map_or(Ok(()), |file| Ok(file.write(markdown(&rows).as_bytes())?))
}

fn cells(row: &ResultRow) -> [String; HEADINGS.len()] {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let name = if row.published { format!("{} (published)", row.cell) } else { row.cell.clone() };
    let count = |count: Option<u64>| count.map_or(String::new(), millions);
    [
        name,
        text(&row.searched_on),
        text(&row.evaluated_on),
        error(row),
        row.seeds.map_or(String::new(), |seeds| seeds.to_string()),
        count(row.parameters),
        count(row.multiply_adds),
        time(row.search_hours, &row.search_devices),
        time(row.train_hours, &row.train_devices),
    ]
}

/// `2.52 ± 0.09`, with a star where the test set was scored after every epoch; `24.40 / 7.40` with top-5.
fn error(row: &ResultRow) -> String {
    let star = if row.test_scored_every_epoch { " *" } else { "" };
    let deviation = row.error_deviation.map_or(String::new(), |deviation| format!(" ± {deviation:.2}"));
    let top5 = row.error_top5_percent.map_or(String::new(), |error| format!(" / {error:.2}"));
    row.error_percent.map_or(String::new(), |error| format!("{error:.2}{deviation}{top5}{star}"))
}

/// `7.1 h, 8 x cuda`; below an hour in minutes.
fn time(hours: Option<f64>, devices: &Option<String>) -> String {
    let devices = devices.as_deref().map_or(String::new(), |devices| format!(", {devices}"));
    hours.map_or(String::new(), |hours| match hours < 1.0 {
        true => format!("{:.1} min{devices}", 60.0 * hours),
        false => format!("{hours:.1} h{devices}"),
    })
}

fn markdown(rows: &[ResultRow]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let numbers = HEADINGS.iter().skip(1).map(|_| "---:|").collect::<String>();
    let body: String = rows.iter().map(|row| line(&cells(row))).collect();
    format!("{}|---|{numbers}\n{body}", line(&HEADINGS.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_a_line_for_each_row() {
        let row = ResultRow {
            cell: "runs/a|b".to_owned(),
            searched_on: Some("cifar10".to_owned()),
            evaluated_on: Some("cifar100".to_owned()),
            error_percent: Some(17.4),
            error_deviation: Some(0.125),
            seeds: Some(4),
            parameters: Some(3_485_728),
            search_hours: Some(0.125),
            search_devices: Some("cpu (2 threads)".to_owned()),
            train_hours: Some(30.04),
            train_devices: Some("8 x cuda".to_owned()),
            ..ResultRow::default()
        };
        let text = markdown(&[row]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("| cell | searched on |"), "{text}");
        assert_eq!(lines[1], "|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        assert_eq!(
            lines[2],
            "| runs/a\\|b | cifar10 | cifar100 | 17.40 ± 0.12 | 4 | 3.49 |  | 7.5 min, cpu (2 threads) | 30.0 h, 8 x cuda |"
        );
    }
}
