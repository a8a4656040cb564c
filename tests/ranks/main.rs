//! Searches on several ranks under mpirun: that they are the search of one rank, that they stop, resume and fail
//! together, and what they refuse.

mod digests;
mod equivalence;
mod eval;
mod faults;
mod launchers;
#[path = "../program/mod.rs"]
mod program;
mod refusals;
mod runs;
