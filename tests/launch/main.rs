//! `launch/mpirun.sh`: the commands that it makes for both families of MPI, and searches that it runs and saves.

mod commands;
mod elastic;
#[path = "../program/mod.rs"]
mod program;
mod signals;
mod staging;
