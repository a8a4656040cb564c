//! NCCL without GPUs: a test double of the library on host memory, on ranks under mpirun, and the real library as far as
//! it goes without a driver.
//!
//! The double shows that calls come in the right order with the right arguments, that errors and deadlines are handled,
//! and that results are right; it has no streams. The test executable calls itself under mpirun to become the ranks.

mod bench;
mod collectives;
mod double;
mod failures;
mod library;
#[path = "../program/mod.rs"]
mod program;
mod search;
mod stalls;
