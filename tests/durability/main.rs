//! Runs that lose nothing, whatever happens to them: kills at any moment, disks that fill up, numbers that are not finite,
//! long runs. `make soak` makes them long; otherwise they are samples of seconds.

mod checkpoints;
mod divergence;
mod kills;
mod long_runs;
#[path = "../program/mod.rs"]
mod program;
#[path = "../soak/mod.rs"]
mod soak;
mod tasks;
#[path = "../train/training.rs"]
mod training;

use soak::amount;
