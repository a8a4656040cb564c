//! Searches by the program itself on the embedded images: what they leave behind, that a stopped or killed one
//! resumes as if nothing had been, and what they refuse.

mod cells;
mod complete;
mod full_disk;
mod images;
mod locks;
#[path = "../program/mod.rs"]
mod program;
mod refusals;
mod resume;
mod signals;
mod strategies;
