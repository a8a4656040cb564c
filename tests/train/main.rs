//! Retrainings by the program itself on the embedded images: what they leave behind, that a stopped or killed one
//! resumes as if nothing had been, several seeds, several ranks, and what they refuse.

mod complete;
mod from;
mod images;
mod large_batch;
#[path = "../program/mod.rs"]
mod program;
mod ranks;
mod recipes;
mod refusals;
mod resume;
mod seeds;
mod training;
