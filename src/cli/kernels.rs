//! `--kernels`, of every command that computes.

use clap::Args;

use crate::torch::{Kernels, choose_kernels};

#[derive(Debug, Args)]
pub struct KernelsArgument {
    /// What computes this program's own operations: fused (its kernels) or reference (the same composed of
    /// libtorch's operations: slower, to check results)
    #[arg(long, value_name = "KERNELS", default_value_t = Kernels::Fused, hide_possible_values = true)]
    kernels: Kernels,
}

impl KernelsArgument {
    /// Makes it so for the whole process.
    pub fn apply(&self) {
        choose_kernels(self.kernels);
    }
}
