//! What a search or a training will need before it has run: memory, time, communication, cores for loading.
//!
//! Everything follows from counts of the real network, layer by layer, and from what the hardware can do at most; nothing
//! here computes with tensors.
//!
//! - `layer`: what a layer computes, moves and keeps, in each of its passes
//! - `counter`: the layers of a network, as the program computes them on a CPU or on a GPU
//! - `supernet`: the layers of a supernet (those of evaluation networks: [`crate::genotype::walk`])
//! - `hardware`, `link`: peaks, and what of them is reached; what a core loads; links, and sums over ranks
//! - `course`: networks, steps and epochs of a configuration
//! - `estimate`: all of it together

mod counter;
mod course;
mod error;
mod estimate;
mod hardware;
mod layer;
mod link;
mod supernet;

pub use counter::{Counter, Kernels};
pub use course::{Course, DataSize, Pace, Phase, Steps};
pub use error::PlanError;
pub use estimate::{Estimate, LoaderNeed, Memory, PhaseEstimate, StepEstimate, Totals, estimate};
pub use hardware::{CROPPED_IMAGES_PER_CORE, Calibration, DECODED_IMAGES_PER_CORE, Efficiency, Hardware, MachinePeaks};
pub use layer::{Class, Layer, Pass};
pub use link::{
    Bucket, Cluster, ETHERNET, INFINIBAND, LINK_SHARE, PCI_EXPRESS, cut_gradients, exposed_seconds, ring_seconds,
};
pub use supernet::{SupernetSize, walk_supernet};
