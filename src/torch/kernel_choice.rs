//! Which implementation of this crate's own CPU operations runs.

use std::fmt;

use clap::ValueEnum;

unsafe extern "C" {
    fn pdarts_choose_kernels(own: bool);
    fn pdarts_own_kernels_chosen() -> bool;
}

/// What computes the operations of this crate (depthwise convolutions, mixed sums, BatchNorm over all ranks) on the CPU
/// in single and double precision. Other types and devices use libtorch's operations in any case.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernels {
    /// Kernels of this crate.
    Fused,
    /// The same composed of libtorch's operations: slower, to check the others.
    Reference,
}

impl fmt::Display for Kernels {
    /// The name on the command line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fused => "fused",
            Self::Reference => "reference",
        })
    }
}

/// From now on this process's forward passes use `kernels`; at first they are fused. A backward pass uses what its forward
/// pass did.
pub fn choose_kernels(kernels: Kernels) {
    // SAFETY: sets an atomic variable.
    unsafe { pdarts_choose_kernels(kernels == Kernels::Fused) };
}

/// What [`choose_kernels`] chose.
pub fn chosen_kernels() -> Kernels {
    // SAFETY: reads an atomic variable.
    if unsafe { pdarts_own_kernels_chosen() } { Kernels::Fused } else { Kernels::Reference }
}
