//! `pdarts doctor`: what this machine and this launch can do, on one screen.
//!
//! `checks` finds out what one rank can tell; here ranks are put together and what was required is judged.

mod checks;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::checks::{Findings, RankFindings};
use super::output;
use super::ranks::agree;
use super::table::Table;
use crate::world::{Label, Ranks};

/// Say what this machine and this launch can do; under mpirun or srun, for all ranks
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// What must work, else the exit code is 1: cuda, nccl, mpi, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    require: Vec<Requirement>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Something that can be required.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Requirement {
    /// A GPU that libtorch can use, on every rank.
    Cuda,
    /// NCCL's library and a GPU for it, on every rank.
    Nccl,
    /// More than a process on its own: an MPI launch.
    Mpi,
}

pub fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    let ranks = Ranks::join()?;
    let own = RankFindings::of(&ranks)?;
    let all: Vec<RankFindings> = ranks.gather(&own, Label::new("exchange of findings"))?;
    let findings = Findings::of(&ranks, all)?;
    if ranks.is_root() {
        match arguments.json {
            true => output::print_json(&findings)?,
            false => output::print(screen(&findings))?,
        }
    }
    let verdict = arguments.require.iter().find_map(|&requirement| findings.lacks(requirement));
    agree(&ranks, verdict.map_or(Ok(()), |reason| Err(anyhow!("{reason}"))))?;
    Ok(ExitCode::SUCCESS)
}

impl Findings {
    /// Why `requirement` is not met; none if it is.
    fn lacks(&self, requirement: Requirement) -> Option<String> {
        let first = |what: &str, of: &dyn Fn(&RankFindings) -> Result<(), String>| {
            self.ranks.iter().find_map(|rank| {
                let reason = of(rank).err()?;
                Some(format!("{what} does not work on rank {} ({}): {reason}", rank.rank, rank.hostname))
            })
        };
        match requirement {
            Requirement::Cuda => first("cuda", &|rank| rank.gpus.clone().map(drop)),
            // Without a GPU the library has nothing to work on.
            Requirement::Nccl => {
                first("nccl", &|rank| rank.nccl.as_ref().and(rank.gpus.as_ref()).map(drop).map_err(String::clone))
            }
            Requirement::Mpi => self.all_reduce.is_none().then(|| {
                "mpi does not work here: this process was started without an MPI launcher; use mpirun or srun \
                 --mpi=pmix"
                    .to_owned()
            }),
        }
    }
}

fn screen(findings: &Findings) -> String {
    let Findings { program, libtorch, driver, mpi, launcher, slurm, all_reduce, ranks } = findings;
    let mut lines = vec![
        format!("pdarts     {program}"),
        format!("libtorch   {libtorch}"),
        format!("driver     {driver}"),
        format!("MPI        {mpi}"),
        format!("launcher   {launcher}"),
    ];
    if !slurm.is_empty() {
        lines.push(format!("SLURM      {}", slurm.join(" ")));
    }
    let hosts: BTreeSet<&String> = ranks.iter().map(|rank| &rank.hostname).collect();
    lines.push(format!("ranks      {} on {} machines", ranks.len(), hosts.len()));
    if let Some(figure) = all_reduce {
        lines.push(format!(
            "all-reduce {:.3} ms for {} KiB between {} ranks ({})",
            figure.milliseconds,
            figure.kib,
            ranks.len(),
            figure.communicator
        ));
    }
    let mut table = Table::new(&[&["rank", "machine", "on it", "cores", "threads", "GPUs", "NCCL"]]);
    for rank in ranks {
        table.row([
            rank.rank.to_string(),
            rank.hostname.clone(),
            format!("{} of {}", rank.local_rank, rank.local_size),
            rank.cores.to_string(),
            rank.threads.to_string(),
            rank.gpus.as_ref().map_or("none".to_owned(), usize::to_string),
            rank.nccl.clone().unwrap_or_else(|_| "none".to_owned()),
        ]);
    }
    let mut screen = format!("{}\n\n{table}", lines.join("\n"));
    // The same reason on all ranks is told once.
    let reasons = ranks.iter().flat_map(|rank| {
        let gpus = rank.gpus.as_ref().err().map(|reason| format!("no GPU: {reason}"));
        let nccl = rank.nccl.as_ref().err().map(|reason| format!("no NCCL: {reason}"));
        gpus.into_iter().chain(nccl)
    });
    for reason in reasons.collect::<BTreeSet<_>>() {
        screen.push_str(&format!("\n{reason}"));
    }
    screen
}
