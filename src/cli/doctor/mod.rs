//! `pdarts doctor`: what this machine and this launch can do, on one screen.
//!
//! - `checks`: what one rank finds out about its machine
//! - `driver`: NVIDIA's driver, and whether libtorch's CUDA runs on it
//! - `together`: the ranks take places and sum something
//! - `screen`: the findings of all ranks, as text
//! - `numerics`: whether the devices compute what they should

mod checks;
mod driver;
mod numerics;
mod screen;
mod together;

use std::collections::BTreeSet;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::checks::Machine;
use self::together::Launch;
use super::logging::Logging;
use super::output;
use super::ranks::{agree, join};
use crate::config::DeviceChoice;
use crate::world::{Label, Ranks, WorldError};

const EXAMPLES: &str = "\
Examples:
  pdarts doctor                                    this machine
  pdarts doctor --require mpi                      after `mpirun -n 2`: its ranks, and whether they can sum
  pdarts doctor --require cuda,nccl                in a job script: fails, and says why, before hours are spent
  pdarts doctor --numerics                         every operation, forward and backward, against the CPU's numbers";

/// Tell what this machine and this launch can do: libraries, driver, GPUs, ranks, and the time of a sum over the ranks
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArguments {
    /// Fail unless all of these work on every rank
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    require: Vec<Requirement>,
    /// Compute every operation of searches and trainings, forward and backward, on the device and on the CPU in double
    /// precision, and compare; fails when one is wrong
    #[arg(long, conflicts_with = "require")]
    numerics: bool,
    /// The device whose numbers are compared
    #[arg(long, value_name = "DEVICE", default_value = "auto", requires = "numerics")]
    device: DeviceChoice,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a job may depend on.
#[derive(Copy, Clone, Debug, ValueEnum)]
enum Requirement {
    /// A GPU that libtorch can use.
    Cuda,
    /// Sums between GPUs.
    Nccl,
    /// Ranks that MPI connects.
    Mpi,
}

/// Whether something works, and what it is or why it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Check {
    works: bool,
    text: String,
}

/// All findings of one rank.
#[derive(Debug, Serialize, Deserialize)]
struct RankReport {
    #[serde(flatten)]
    machine: Machine,
    #[serde(flatten)]
    launch: Launch,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    num_ranks: usize,
    num_nodes: usize,
    ranks: &'a [RankReport],
}

impl Check {
    fn from_result(result: Result<String, String>) -> Self {
        match result {
            Ok(text) => Self { works: true, text },
            Err(text) => Self { works: false, text },
        }
    }
}

pub fn run(arguments: &DoctorArguments, logging: &Logging) -> anyhow::Result<()> {
    // libtorch decides at the first question about CUDA what it can do.
    let mut machine = Machine::examine();
    let (ranks, refusal) = match join() {
        Ok(ranks) => (ranks, None),
        Err(error) => match error.downcast_ref() {
            Some(refusal @ WorldError::NotConnected { .. }) => (Ranks::alone(), Some(refusal.to_string())),
            _ => return Err(error),
        },
    };
    if !ranks.is_root() {
        logging.quieten();
    }
    if arguments.numerics {
        return numerics::run(&ranks, arguments.device, arguments.json);
    }
    let mut launch = Launch::try_out(&ranks, &mut machine)?;
    if let Some(text) = refusal {
        launch.mpi = Check { works: false, text };
    }
    let reports: Vec<RankReport> =
        ranks.gather(&RankReport { machine, launch }, Label::new("findings of the ranks"))?;
    let printed = if ranks.is_root() { print(arguments, &reports) } else { Ok(()) };
    agree(&ranks, printed)?;
    // All ranks come to the same verdict, so that it is told as that of all.
    agree(&ranks, arguments.require.iter().try_for_each(|&requirement| demand(requirement, &reports)))
}

fn print(arguments: &DoctorArguments, reports: &[RankReport]) -> anyhow::Result<()> {
    match arguments.json {
        true => output::print_json(&Report { num_ranks: reports.len(), num_nodes: num_nodes(reports), ranks: reports }),
        false => Ok(output::print(screen::render(reports))?),
    }
}

/// # Errors
/// The first rank without what is required, and its reason.
fn demand(requirement: Requirement, reports: &[RankReport]) -> anyhow::Result<()> {
    for report in reports {
        let (name, check) = match requirement {
            Requirement::Cuda => ("cuda", &report.machine.cuda),
            Requirement::Nccl => ("nccl", &report.machine.nccl),
            Requirement::Mpi => ("mpi", &report.launch.mpi),
        };
        if !check.works {
            let Launch { rank, hostname, .. } = &report.launch;
            let place = if reports.len() > 1 { format!(" on rank {rank} ({hostname})") } else { String::new() };
            return Err(anyhow!("{name} does not work{place}: {}", check.text));
        }
    }
    Ok(())
}

fn num_nodes(reports: &[RankReport]) -> usize {
    reports.iter().map(|report| &report.launch.hostname).collect::<BTreeSet<_>>().len()
}
