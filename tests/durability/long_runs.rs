//! Thousands of steps: memory, open files and threads stay what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::amount;
use crate::program::{Process, texts};
use crate::soak::{is_long, report};
use crate::tasks::{Task, command};

/// What a process holds at a moment.
#[derive(Copy, Clone, Debug)]
struct Holding {
    resident_kib: f64,
    files: usize,
    threads: usize,
}

impl Holding {
    fn of(process: u32) -> io::Result<Self> {
        let proc = PathBuf::from(format!("/proc/{process}"));
        let status = fs::read_to_string(proc.join("status"))?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).ok_or(io::ErrorKind::NotFound)
        };
        let files = fs::read_dir(proc.join("fd"))?.count();
        Ok(Self { resident_kib: number("VmRSS:")?, files, threads: number("Threads:")? as usize })
    }
}

/// Steps so far: the metrics have a line for each.
fn num_steps(run: &Path) -> usize {
    fs::read(run.join("metrics.jsonl")).unwrap_or_default().iter().filter(|&&byte| byte == b'\n').count()
}

#[test]
fn memory_files_and_threads_stay_what_they_are() {
    for task in Task::ALL {
        let (epochs_key, stages) = match task {
            Task::Search => ("search.epochs", 2),
            Task::Train => ("train.epochs", 1),
        };
        let steps = amount(200, 10_000);
        let epochs = format!("{epochs_key}={}", steps / 4 / stages);
        let rare = ["run.checkpoint_every_epochs=50", "run.checkpoint_every_minutes=0.05"];
        let arguments = [&task.start()[..], &["--set", &epochs, "--set", rare[0], "--set", rare[1]]].concat();
        let folder = task.folder();
        // `env` becomes the program itself.
        let mut process = Process::start(&mut command(&folder, 1, &arguments));
        let (id, start, mut samples) = (process.id(), Instant::now(), Vec::new());
        while !process.has_ended() {
            if let Ok(holding) = Holding::of(id) {
                samples.push((num_steps(&folder.path("run")) as f64, holding));
            }
            assert!(start.elapsed() < Duration::from_secs(3600), "{task:?} takes too long");
            thread::sleep(Duration::from_millis(if is_long() { 200 } else { 50 }));
        }
        let output = process.end();
        assert!(output.status.success(), "{}", texts(&output).1);
        // The first half is the start: caches, pools of buffers, the first stage.
        let end = samples.last().map_or(0.0, |(steps, _)| *steps);
        samples.retain(|(steps, _)| *steps > end / 2.0 + 10.0 && *steps < end - 10.0);
        let highest = |value: fn(&Holding) -> usize| samples.iter().map(|(_, holding)| value(holding)).max().unwrap();
        let lowest = |value: fn(&Holding) -> usize| samples.iter().map(|(_, holding)| value(holding)).min().unwrap();
        if is_long() {
            for (steps, holding) in samples.iter().step_by(samples.len().div_ceil(20)) {
                println!("{steps} {holding:?}");
            }
        }
        let slope = slope(&samples.iter().map(|(steps, holding)| (*steps, holding.resident_kib)).collect::<Vec<_>>());
        report(&format!(
            "{task:?}: {end} steps in {:.0} s, memory grows by {slope:.3} KiB a step, {} to {} open files, {} to {} threads",
            start.elapsed().as_secs_f64(),
            lowest(|holding| holding.files),
            highest(|holding| holding.files),
            lowest(|holding| holding.threads),
            highest(|holding| holding.threads)
        ));
        // A step's activations are hundreds of KiB: what kept one of a hundred would show.
        assert!(slope < if is_long() { 1.0 } else { 100.0 }, "{task:?} gains {slope} KiB a step");
        // A checkpoint that is being written has a thread and a file, an epoch's loader some of each.
        assert!(highest(|holding| holding.files) <= lowest(|holding| holding.files) + 8, "{task:?}");
        assert!(highest(|holding| holding.threads) <= lowest(|holding| holding.threads) + 8, "{task:?}");
    }
}

/// Of the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    covariance / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
