//! `pdarts bench profile`: where the time of a step of the search, or of a retraining, goes.

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::supernet::Subject;
use super::train_step::{Network, StepVariant, TrainSubject};
use crate::cli::kernels::KernelsArgument;
use crate::cli::numbers::threads;
use crate::cli::output;
use crate::cli::table::Table;
use crate::config::{DeviceChoice, StrategyName};
use crate::search::ForwardMode;
use crate::torch::{OperationTime, num_layout_copies, profile};
use crate::world::World;

#[derive(Debug, Args)]
pub struct ProfileArguments {
    /// Stage of the paper: 1 (5 cells, 8 operations), 2 (11 cells, 5) or 3 (17 cells, 3).
    #[arg(long, required_unless_present = "network", value_parser = clap::value_parser!(u8).range(1..=3))]
    stage: Option<u8>,
    /// A step of a retraining instead: the network of the paper.
    #[arg(long, value_enum, conflicts_with = "stage")]
    network: Option<Network>,
    /// Images of a step.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    global_batch: u16,
    /// CPU threads; 0 = the cores that it may use.
    #[arg(long, default_value_t = 0, value_parser = threads())]
    threads: usize,
    /// Steps (of the search, pairs of an architecture step and a weight step) that are profiled, after one that is not.
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

/// One kind of operation in a step.
#[derive(Debug, Serialize)]
struct Row {
    operation: String,
    ms: f64,
    calls: f64,
    share_percent: f64,
}

/// What is profiled.
enum Steps {
    Search(Box<Subject>),
    Retraining(Box<TrainSubject>),
}

impl Steps {
    fn new(arguments: &ProfileArguments, world: &World) -> anyhow::Result<Self> {
        let batch = arguments.global_batch;
        Ok(match arguments.network {
            Some(network) => {
                Self::Retraining(Box::new(TrainSubject::new(network, batch, StepVariant::default(), world)?))
            }
            None => Self::Search(Box::new(Subject::new(
                StrategyName::PDarts,
                arguments.stage.unwrap_or(1),
                &[],
                batch,
                world,
            )?)),
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Retraining(subject) => subject.step(),
            Self::Search(subject) => {
                let mode = ForwardMode::training(0.0);
                subject.state.alpha_step(&mut (&subject.batch).into(), mode)?;
                subject.state.weight_step(&mut (&subject.batch).into(), subject.learning_rate, mode)?;
                Ok(())
            }
        }
    }

    fn name(&self, arguments: &ProfileArguments) -> String {
        match arguments.network {
            Some(network) => format!("{network:?} network, one step"),
            None => format!("stage {}, one architecture step and one weight step", arguments.stage.unwrap_or(1)),
        }
    }
}

pub fn run(arguments: &ProfileArguments) -> anyhow::Result<()> {
    arguments.kernels.apply();
    let world = World::single(DeviceChoice::Cpu, arguments.threads)?;
    let mut steps = Steps::new(arguments, &world)?;
    steps.run()?;
    let (start, copies_before) = (Instant::now(), num_layout_copies());
    let (result, times) = profile(|| (0..arguments.repeats).try_for_each(|_| steps.run()))?;
    result?;
    let wall_ms = 1e3 * start.elapsed().as_secs_f64() / f64::from(arguments.repeats);
    let copies = (num_layout_copies() - copies_before) / u64::from(arguments.repeats);
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
        "{}, batch {}, {world}: {wall_ms:.0} ms\n{table}tensors that kernels copied into channels-last memory: {copies}",
        steps.name(arguments),
        arguments.global_batch
    ))?;
    Ok(())
}

fn rows(times: &[OperationTime], num_steps: f64) -> Vec<Row> {
    let total: f64 = times.iter().map(|time| time.seconds).sum();
    times
        .iter()
        .map(|OperationTime { name, seconds, calls }| Row {
            operation: name.clone(),
            ms: 1e3 * seconds / num_steps,
            calls: *calls as f64 / num_steps,
            share_percent: 100.0 * seconds / total,
        })
        .collect()
}
