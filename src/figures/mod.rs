//! Figures of a run as SVG text: cells, architecture probabilities, curves.
//!
//! Everything here is a pure function from plain data to an SVG document, so that figures need neither
//! libtorch nor a run directory to be drawn and tested. Layout is computed by hand: the graphs are small,
//! their shape is known, and a fixed order of states reads better than what a general layout would find.
//!
//! - [`cell_svg`]: the operations of one cell, as a graph.
//! - [`probabilities_svg`]: what the softmax of the alphas did during a stage, one panel per edge.
//! - [`curves_svg`]: accuracies, losses and schedules over the epochs of a run.
//! - [`comparison_svg`]: one curve of several runs on the same axes.
//!
//! An operation has the same colour in all of them (`theme`).

mod cell;
mod comparison;
mod curves;
mod plot;
mod probabilities;
mod svg;
mod theme;

pub use cell::{CellEdge, CellGraph, cell_svg};
pub use comparison::{Comparison, ComparisonPanel, Line, comparison_svg};
pub use curves::{Curves, Panel, Series, Stage, curves_svg};
pub use probabilities::{EdgeProbabilities, StageProbabilities, probabilities_svg};
pub use theme::{dark_colours, series_colour};
