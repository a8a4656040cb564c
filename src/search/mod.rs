//! The search: the supernet, the strategies that weigh its operations, and the stages it goes through.

mod authors;
mod cell;
mod cell_parameters;
mod chosen;
mod dropout;
mod layout;
mod mixing;
mod partial;
mod penalty;
mod sampling;
mod source;
mod stage;
mod strategy;
mod supernet;

pub use authors::AuthorsTensor;
pub use cell_parameters::{ArchitectureOptions, CellParameters};
pub use dropout::skip_dropout;
pub use mixing::{CellMixing, Mixing};
pub use partial::PartialChannels;
pub use penalty::CostPenalty;
pub use sampling::{Sampling, temperature};
pub use stage::Stage;
pub use strategy::{Gdas, PcDarts, Snas, Softmax, Strategy, concrete_sample, hard_sample, new_strategy, perturbation};
pub use supernet::{ForwardMode, Supernet, SupernetShape};
