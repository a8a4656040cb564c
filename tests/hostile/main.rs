//! No input panics, takes memory without bound, leaves its folder or runs anything: every reader of files that others
//! may have written is given changed ones, over and over.
//!
//! Seeded: `PDARTS_SOAK_SEED` chooses what is tried. `make soak` makes the loops long.
//! A target that fails names the file of its input; after a crash of the whole process, the files that are left in
//! `target/tmp/hostile` are the inputs that were under way.

mod allocations;
mod cifar;
mod config;
mod corpus;
mod genotype;
mod images;
mod mutate;
mod runs;
mod shards;
#[path = "../soak/mod.rs"]
mod soak;
mod target;
mod weights;

use soak::amount;
