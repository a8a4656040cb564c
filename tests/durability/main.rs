//! Runs that lose nothing, whatever happens to them: kills at any moment, disks that fill up, numbers that are not finite,
//! long runs. `make soak` sets `PDARTS_SOAK`, which makes them long; otherwise they are samples of seconds.

mod checkpoints;
mod divergence;
mod kills;
mod long_runs;
#[path = "../program/mod.rs"]
mod program;
mod tasks;
#[path = "../train/training.rs"]
mod training;

/// `long` in a soak, otherwise `short`.
fn amount(short: usize, long: usize) -> usize {
    if std::env::var_os("PDARTS_SOAK").is_some() { long } else { short }
}
