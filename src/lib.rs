//! P-DARTS: progressive differentiable architecture search, from search to ImageNet.
//!
//! Modules use what stands before them in this list, never what stands after. The algorithm is that of Chen, Xie, Wu
//! and Tian, *Progressive Differentiable Architecture Search* (arXiv:1904.12760).

pub mod files;
pub mod shares;
pub mod genotype;
pub mod config;
pub mod plan;
pub mod torch;
pub mod trace;
pub mod world;
pub mod data;
pub mod model;
pub mod weights;
pub mod optim;
pub mod search;
pub mod numerics;
pub mod run;
pub mod figures;
pub mod trainer;
pub mod report;
pub mod cli;
