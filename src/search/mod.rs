//! The progressive search: the supernet, its architecture parameters and the stages it goes through.

mod alphas;
mod authors;
mod cell;
mod dropout;
mod layout;
mod mixing;
mod relaxation;
mod source;
mod stage;
mod supernet;

pub use alphas::ArchitectureParameters;
pub use authors::AuthorsTensor;
pub use dropout::skip_dropout;
pub use relaxation::{Relaxation, Softmax};
pub use stage::Stage;
pub use supernet::{ForwardMode, Supernet, SupernetShape};
