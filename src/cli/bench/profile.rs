//! `pdarts bench profile`: where the time of a step of the search goes.

use clap::Args;
use serde::Serialize;

use super::supernet::Subject;
use crate::cli::kernels::KernelsArgument;
use crate::cli::output;
use crate::cli::table::Table;
use crate::config::DeviceChoice;
use crate::search::ForwardMode;
use crate::torch::{OperationTime, profile};
use crate::trainer::TrainError;
use crate::world::World;

#[derive(Debug, Args)]
pub struct ProfileArguments {
    /// Stage of the paper: 1 (5 cells, 8 operations), 2 (11 cells, 5) or 3 (17 cells, 3).
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    stage: u8,
    /// Images of a step.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    global_batch: u16,
    /// CPU threads; 0 = all cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Pairs of an architecture step and a weight step that are profiled, after one that is not.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Kinds of operations to show, those with the most time first.
    #[arg(long, default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Print one JSON object a line for each kind of operation.
    #[arg(long)]
    json: bool,
}

/// One kind of operation in a pair of steps.
#[derive(Debug, Serialize)]
struct Row {
    operation: String,
    ms: f64,
    calls: f64,
    share_percent: f64,
}

pub fn run(arguments: &ProfileArguments) -> anyhow::Result<()> {
    arguments.kernels.apply();
    let world = World::single(DeviceChoice::Cpu, arguments.threads)?;
    let mut subject = Subject::new(arguments.stage, &[], arguments.global_batch, &world)?;
    subject.pair_of_steps()?;
    let (result, times) = profile(|| (0..arguments.repeats).try_for_each(|_| subject.pair_of_steps()))?;
    result?;
    let rows = rows(&times, f64::from(arguments.repeats));
    if arguments.json {
        for row in rows {
            output::print(serde_json::to_string(&row)?)?;
        }
        return Ok(());
    }
    let mut table = Table::new(&[&["operation", "ms", "calls", "share"]]);
    for Row { operation, ms, calls, share_percent } in rows.into_iter().take(arguments.top) {
        table.row([operation, format!("{ms:.1}"), format!("{calls:.0}"), format!("{share_percent:.1} %")]);
    }
    output::print(format_args!(
        "stage {}, {world}, one architecture step and one weight step\n{table}",
        arguments.stage
    ))?;
    Ok(())
}

impl Subject {
    fn pair_of_steps(&mut self) -> Result<(), TrainError> {
        let mode = ForwardMode::training(0.0);
        self.state.alpha_step(&self.batch, mode)?;
        self.state.weight_step(&self.batch, self.learning_rate, mode)?;
        Ok(())
    }
}

fn rows(times: &[OperationTime], num_pairs: f64) -> Vec<Row> {
    let total: f64 = times.iter().map(|time| time.seconds).sum();
    times
        .iter()
        .map(|OperationTime { name, seconds, calls }| Row {
            operation: name.clone(),
            ms: 1e3 * seconds / num_pairs,
            calls: *calls as f64 / num_pairs,
            share_percent: 100.0 * seconds / total,
        })
        .collect()
}
