//! `pdarts bench checkpoint`: what a checkpoint of a retraining costs, in the time that the steps wait for it and in the time
//! of the thread that writes it beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;

use super::supernet::median;
use super::train_step::{Network, StepVariant, TrainSubject};
use crate::cli::error::UsageError;
use crate::cli::numbers::threads;
use crate::cli::output::{self, try_out};
use crate::config::{CommunicatorChoice, DeviceChoice, TrainConfig};
use crate::run::write_atomic;
use crate::trainer::{Checkpoint, TrainProgress, TrainRecords};
use crate::world::{Ranks, World};

/// Images of the steps before each checkpoint.
const GLOBAL_BATCH: u16 = 8;

#[derive(Debug, Args)]
pub struct CheckpointArguments {
    /// Which network of the paper.
    #[arg(long, value_enum)]
    network: Network,
    /// Folder on the disk that is asked about; the file is removed again.
    #[arg(long, value_name = "DIR", default_value = ".")]
    to: PathBuf,
    /// CPU threads; 0 = the cores that it may use.
    #[arg(long, default_value_t = 0, value_parser = threads())]
    threads: usize,
    /// Checkpoints that are timed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Where to compute: auto, cpu or cuda.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    network: Network,
    file_mib: f64,
    /// The copy to host memory, for which the steps wait.
    held_s: f64,
    /// From there until the file is durable.
    written_s: f64,
    /// Of a core, for the same.
    written_cpu_s: f64,
    step_s: f64,
    /// By `run.checkpoint_every_minutes`.
    every_s: f64,
    /// The most that this takes of the time: as if nothing went on beside the writing.
    share_percent: f64,
}

pub fn run(arguments: &CheckpointArguments) -> anyhow::Result<()> {
    let ranks = Ranks::alone();
    let device = ranks.choose_device(arguments.device)?;
    let world = World::new(ranks, device, arguments.threads, CommunicatorChoice::Auto)?;
    let refused = || format!("cannot write to {}: name another folder with --to", arguments.to.display());
    try_out(&arguments.to).with_context(refused).map_err(UsageError::new)?;
    let folder = tempfile::tempdir_in(&arguments.to).with_context(refused)?;
    let figures = measure(arguments, &world, folder.path())?;
    if arguments.json {
        return Ok(output::print(serde_json::to_string(&figures)?)?);
    }
    let Figures { network, file_mib, held_s, written_s, written_cpu_s, step_s, every_s, share_percent } = figures;
    Ok(output::print(format_args!(
        "checkpoint of the {network:?} network, {world}\n  \
         file                 {file_mib:.1} MiB\n  \
         steps wait           {held_s:.4} s\n  \
         written beside them  {written_s:.3} s, {written_cpu_s:.3} s of a core\n  \
         a step of {GLOBAL_BATCH} images     {step_s:.3} s\n  \
         every {:.0} minutes     {share_percent:.3} % of the time at most",
        every_s / 60.0
    ))?)
}

/// Seconds of a core that this thread has taken.
fn thread_seconds() -> anyhow::Result<f64> {
    const PATH: &str = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(PATH).context(PATH)?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse().context(PATH)?;
    Ok(nanoseconds / 1e9)
}

fn measure(arguments: &CheckpointArguments, world: &World, folder: &Path) -> anyhow::Result<Figures> {
    let mut subject = TrainSubject::new(arguments.network, GLOBAL_BATCH, StepVariant::default(), world)?;
    let path = folder.join("checkpoint.safetensors");
    let progress = TrainProgress::new(TrainRecords { epochs: Vec::new() });
    let (mut held, mut written, mut cpu, mut steps, mut bytes) = (vec![], vec![], vec![], vec![], 0);
    // The first makes what all others find.
    for repeat in 0..=arguments.repeats {
        let start = Instant::now();
        subject.step()?;
        let step = start.elapsed();
        let start = Instant::now();
        let checkpoint = Checkpoint::take(&subject.state, &progress, "", &world.ranks)?;
        let hold = start.elapsed();
        let write = || -> anyhow::Result<(usize, f64, f64)> {
            let (start, before) = (Instant::now(), thread_seconds()?);
            let content = checkpoint.into_bytes()?;
            write_atomic(&path, |writer| writer.write_all(&content))?;
            Ok((content.len(), start.elapsed().as_secs_f64(), thread_seconds()? - before))
        };
        let outcome = thread::scope(|scope| scope.spawn(write).join());
        let (size, seconds, core_seconds) = outcome.map_err(|_| anyhow!("the thread that writes panicked"))??;
        if repeat > 0 {
            steps.push(step.as_secs_f64());
            held.push(hold.as_secs_f64());
            written.push(seconds);
            cpu.push(core_seconds);
        }
        bytes = size;
    }
    let every_s = 60.0 * TrainConfig::default().run.checkpoint_every_minutes;
    let [held_s, written_s, written_cpu_s, step_s] =
        [held, written, cpu, steps].map(|mut seconds| median(&mut seconds));
    Ok(Figures {
        network: arguments.network,
        file_mib: bytes as f64 / f64::from(1 << 20),
        held_s,
        written_s,
        written_cpu_s,
        step_s,
        every_s,
        share_percent: 100.0 * (held_s + written_s) / every_s,
    })
}
