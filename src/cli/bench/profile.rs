//! `pdarts bench profile`: where the time of a step of the search, or of a retraining, goes: by operations on the CPU, by kernels
//! on a GPU.

use std::time::Instant;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use tch::Device;

use super::supernet::Subject;
use super::train_step::{Network, StepVariant, TrainSubject};
use crate::cli::kernels::KernelsArgument;
use crate::cli::numbers::threads;
use crate::cli::output;
use crate::cli::start::meet;
use crate::cli::table::Table;
use crate::config::{CommunicatorChoice, DeviceChoice, StrategyName};
use crate::search::ForwardMode;
use crate::torch::{OperationTime, num_layout_copies, profile, profile_gpu, synchronise};
use crate::world::{DeviceName, Ranks, World};

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
    /// Kinds of operations, or kernels, to show, those with the most time first.
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Where to compute: auto, cpu or cuda.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Print one JSON object a line for each kind of operation, or for each kernel with its template arguments.
    #[arg(long)]
    json: bool,
}

/// One kind of operation, or one kernel, in a step.
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
                // Of a graph the profiler would see one launch.
                let variant = StepVariant { no_cuda_graphs: true, ..StepVariant::default() };
                Self::Retraining(Box::new(TrainSubject::new(network, batch, variant, world)?))
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
    let world = meet(&Ranks::alone(), arguments.device, arguments.threads, CommunicatorChoice::Auto)?;
    let mut steps = Steps::new(arguments, &world)?;
    steps.run()?;
    synchronise(world.device);
    let (start, copies_before) = (Instant::now(), num_layout_copies());
    let work = || -> anyhow::Result<f64> {
        (0..arguments.repeats).try_for_each(|_| steps.run())?;
        synchronise(world.device);
        Ok(start.elapsed().as_secs_f64())
    };
    let on_gpu = matches!(world.device, Device::Cuda(_));
    let (seconds, times) = if on_gpu { profile_gpu(work)? } else { profile(work)? };
    let num_steps = f64::from(arguments.repeats);
    let wall_ms = 1e3 * seconds? / num_steps;
    let copies = (num_layout_copies() - copies_before) / u64::from(arguments.repeats);
    if on_gpu && times.is_empty() {
        bail!(
            "libtorch's profiler saw no kernel on {}: this libtorch is without CUPTI, or another profiler keeps it busy; \
             measure without that one, or with --device cpu",
            DeviceName(world.device)
        );
    }
    let rows = rows(&times, num_steps);
    if arguments.json {
        for row in rows {
            output::print(serde_json::to_string(&row)?)?;
        }
        return Ok(());
    }
    let head = format!("{}, batch {}, {world}: {wall_ms:.0} ms", steps.name(arguments), arguments.global_batch);
    let (table, foot) = match on_gpu {
        true => gpu_table(rows, arguments.top),
        false => (table("operation", rows, arguments.top, 1), String::new()),
    };
    output::print(format_args!(
        "{head}\n{table}{foot}tensors that kernels copied into channels-last memory: {copies}"
    ))?;
    Ok(())
}

/// The first rows, of each a `what`, with so many decimals of a millisecond.
fn table(what: &str, rows: Vec<Row>, top: usize, decimals: usize) -> Table {
    let mut table = Table::new(&[&[what, "ms", "calls", "share"]]);
    for Row { operation, ms, calls, share_percent } in rows.into_iter().take(top) {
        table.row([operation, format!("{ms:.decimals$}"), format!("{calls:.0}"), format!("{share_percent:.1} %")]);
    }
    table
}

/// With what is to be said below it.
fn gpu_table(rows: Vec<Row>, top: usize) -> (Table, String) {
    let total_ms: f64 = rows.iter().map(|row| row.ms).sum();
    let num_calls: f64 = rows.iter().map(|row| row.calls).sum();
    let foot = format!(
        "the GPU computes for {total_ms:.1} ms of the step, in {num_calls:.0} kernels and copies\n\
         kernels that differ in template arguments are one line; --json has each\n\
         every kernel was launched by itself: no CUDA graphs are replayed here\n"
    );
    (table("kernel", by_short_names(rows), top, 3), foot)
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

/// Rows whose names are short enough to read, those that then have one name added up; most time first.
fn by_short_names(rows: Vec<Row>) -> Vec<Row> {
    let mut merged: Vec<Row> = Vec::new();
    for row in rows {
        let operation = short_name(&row.operation);
        match merged.iter_mut().find(|other| other.operation == operation) {
            Some(other) => {
                other.ms += row.ms;
                other.calls += row.calls;
                other.share_percent += row.share_percent;
            }
            None => merged.push(Row { operation, ..row }),
        }
    }
    merged.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    merged
}

/// A kernel's C++ name without what it returns, template arguments and parameters. Copies are named in words.
fn short_name(name: &str) -> String {
    if name.starts_with("Memcpy ") || name.starts_with("Memset ") {
        return name.into();
    }
    let plain =
        ["(anonymous namespace)::", "<unnamed>::"].iter().fold(name.to_owned(), |name, part| name.replace(part, ""));
    let (mut short, mut depth, mut previous) = (String::new(), 0_usize, ' ');
    for character in plain.strip_prefix("void ").unwrap_or(&plain).chars() {
        match character {
            '<' => depth += 1,
            '>' if previous == '-' => {}
            '>' => depth = depth.saturating_sub(1),
            '(' if depth == 0 => break,
            _ if depth == 0 => short.push(character),
            _ => {}
        }
        previous = character;
    }
    match short.trim() {
        "" => name.into(),
        short => short.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_without_their_template_arguments() {
        for (name, short) in [
            (
                "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>, std::array<char*, 1ul> >\
                 (int, at::native::FillFunctor<float>, std::array<char*, 1ul>)",
                "at::native::vectorized_elementwise_kernel",
            ),
            (
                "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::Two<(int)3>, auto () -> int>\
                 (at::native::Two<(int)3>)",
                "at::native::multi_tensor_apply_kernel",
            ),
            ("void pdarts::<unnamed>::Mix<float>::forward<(bool)1>(pdarts::Batch)", "pdarts::Mix::forward"),
            ("sm90_xmma_gemm_f32f32_nn_n_tilesize64x64x32", "sm90_xmma_gemm_f32f32_nn_n_tilesize64x64x32"),
            ("Memcpy HtoD (Pinned -> Device)", "Memcpy HtoD (Pinned -> Device)"),
            ("Memset (Device)", "Memset (Device)"),
            ("<nothing", "<nothing"),
        ] {
            assert_eq!(short_name(name), short);
        }
    }

    #[test]
    fn kernels_of_one_short_name_are_one_line_and_the_longest_is_first() {
        let time = |name: &str, seconds, calls| OperationTime { name: name.into(), seconds, calls };
        let times =
            [time("gemm", 0.004, 2), time("void add<float>(int)", 0.003, 4), time("void add<int>(int)", 0.003, 2)];
        let (table, foot) = gpu_table(rows(&times, 2.0), 20);
        let lines: Vec<_> =
            table.to_string().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["kernel ms calls share", "add 3.000 3 60.0 %", "gemm 2.000 1 40.0 %"]);
        assert!(foot.starts_with("the GPU computes for 5.0 ms of the step, in 4 kernels and copies\n"), "{foot}");
    }
}
