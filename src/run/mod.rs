//! A run is a directory: what a search or a retraining leaves behind, and what it needs to go on after a stop.
//!
//! ```text
//! RUN/
//!   config.toml        the resolved configuration, written first
//!   environment.jsonl  one object per start: a resumed run has several environments
//!   metrics.jsonl      one object per step interval and per epoch
//!   log.jsonl          the program's log; log.jsonl.1 what came before, once it is full
//!   events/            TensorBoard event files, one per start
//!   alphas/            of a search: stage1-epoch003.json, the architecture parameters after each epoch
//!   checkpoints/       stage1-epoch003-step00000104.safetensors
//!   figures/           SVG
//!   genotype.json      of a search: the result and its variants; of a retraining: its cell, written at the start
//!   weights.safetensors  of a retraining: the network under the authors' names (weights-ema.safetensors: averaged)
//!   summary.json       written last
//!   report.html        all of it as a page
//!   .lock              held while a process writes here
//! ```
//!
//! Every file is either written whole ([`write_atomic`]: temporary name, sync, rename) or grows line
//! by line ([`JsonLog`], [`EventWriter`]), so a crash, a kill or a full disk costs at most the work
//! since the last checkpoint. Only one process writes a run, rank 0 when there are many.

mod alphas_file;
mod atomic;
mod checkpoint_writer;
mod checkpoints;
mod directory;
mod environment;
mod error;
mod events;
mod experiment_file;
mod folder_kind;
mod free_space;
mod genotype_file;
mod json_log;
mod lock;
mod new_folders;
mod origin;
mod rotating_log;
mod seeds_file;
#[cfg(test)]
mod small_disk;
mod stated;
mod trained_cell;

pub use alphas_file::AlphasFile;
pub use atomic::{write_atomic, write_json_atomic};
pub use checkpoint_writer::{CheckpointFile, CheckpointWriter};
pub use directory::RunDirectory;
pub use environment::{COMMIT, Environment, compact_utc};
pub use error::RunError;
pub use events::EventWriter;
pub use experiment_file::{ComparedSearch, ExperimentFile};
pub use folder_kind::{EXPERIMENT_FILE, FolderKind, SEEDS_FILE};
pub use free_space::free_bytes;
pub use genotype_file::{GenotypeFile, PricedVariant, Provenance, ResultChoice};
pub use json_log::JsonLog;
pub use lock::{RunLock, lock as lock_folder, writer_of};
pub use new_folders::NewFolders;
pub use origin::RunOrigin;
pub use rotating_log::RotatingLog;
pub use seeds_file::SeedsFile;
pub use stated::json_problem;
pub use trained_cell::TrainedCell;
