//! Cells: what a search chooses among, what it has chosen, and what that costs.
//!
//! Everything here is pure data and arithmetic, without libtorch, so that it is tested in
//! milliseconds and used by the search, the command line and the figures alike.
//!
//! # Terms
//!
//! A **cell** is a small graph that a network repeats. Its **states** are feature maps, numbered in
//! the order they are computed: states 0 and 1 are its inputs (the outputs of the cell before the
//! previous one and of the previous one), the others its **nodes**: node `i` is state `i + 2` and
//! sums what its incoming **edges** give. An edge reads one earlier state and applies an
//! [`Operation`]. The cell's output concatenates its nodes.
//!
//! During the search there is an edge from every earlier state to each of the 4 nodes:
//! 2 + 3 + 4 + 5 = 14 edges, numbered by node and then by source.
//!
//! ```text
//! node 0 (state 2): edge 0 from state 0, edge 1 from state 1
//! node 1 (state 3): edge 2 from state 0, edge 3 from state 1, edge 4 from state 2
//! node 2 (state 4): edges 5 to 8 from states 0 to 3
//! node 3 (state 5): edges 9 to 13 from states 0 to 4
//! ```
//!
//! Each edge mixes several operations, weighted by the softmax of its **alphas**. Which operations
//! are still live on an edge is the edge's **switches**: eight at first; each stage of the search
//! drops the weakest ([`Switches::drop_weakest`]), so that edges come to differ. After the last
//! stage each edge keeps one operation and each node two edges: that is the [`Genotype`]
//! ([`derive()`]), of which [`restrict`] makes variants with fewer `skip_connect`s.
//!
//! A search in small, on alphas that prefer `sep_conv_3x3` everywhere and late sources over early
//! ones:
//!
//! ```
//! use pdarts::genotype::{Alphas, CellKind, Genotype, Operation, Switches, derive, edges};
//!
//! let operations = [Operation::None, Operation::SkipConnect, Operation::SepConv3x3];
//! let switches = Switches::full(&operations)?;
//! let cell: Vec<Vec<f64>> = edges()
//!     .map(|edge| vec![0.0, 0.5, 1.0 + 0.1 * edge.source as f64])
//!     .collect();
//! let alphas = Alphas { normal: cell.clone(), reduction: cell, betas: None };
//!
//! let after_stage = switches.drop_weakest(&alphas, 2, false)?;
//! assert_eq!(after_stage.normal.live(0), [Operation::SkipConnect, Operation::SepConv3x3]);
//!
//! let genotype = derive(&switches, &alphas)?;
//! assert_eq!(genotype.edges(CellKind::Normal)[2..4], [(Operation::SepConv3x3, 1), (Operation::SepConv3x3, 2)]);
//! assert_eq!(genotype.to_string().parse::<Genotype>()?, genotype);
//! # Ok::<(), pdarts::genotype::GenotypeError>(())
//! ```

mod alphas;
mod cell;
mod complexity;
mod derivation;
mod error;
#[expect(clippy::module_inception, reason = "the type that gives the module its name")]
mod genotype;
mod layers;
pub mod library;
mod limits;
mod operation;
mod space;
mod switches;
pub mod text;
mod walk;

pub use alphas::{Alphas, Betas, CellAlphas, mean_entropy, operation_shares, softmax};
pub use cell::{CellKind, Edge, NUM_EDGES, NUM_INPUTS, NUM_NODES, edge_index, edges};
pub use complexity::{Cost, Costs, NetworkKind, NetworkShape, count};
pub use derivation::{Variant, derive, restrict, variant_within};
pub use error::GenotypeError;
pub use genotype::{EDGES_PER_NODE, Genotype};
pub use layers::{Convolution, FeatureMap, Layers, Separable};
pub use limits::{CostLimits, Price, PriceList, TooSmall, check_limits, variants_within};
pub use operation::Operation;
pub use space::CellSpace;
pub use switches::{CellSwitches, Switches};
pub use walk::{walk, walk_auxiliary_head};
