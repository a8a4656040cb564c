//! What one layer costs.

use std::ops::Add;

/// Layers of one kind reach one share of what the hardware can do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// Dense convolutions and linear layers.
    Dense,
    /// Separable convolutions, by the program's own kernel or, composed, their depthwise part.
    Separable,
    /// Sums of the operations that leave a state of a supernet.
    Mix,
    /// What does little with each value: BatchNorm, ReLU, poolings, sums.
    Elementwise,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 4] = [Class::Dense, Class::Separable, Class::Mix, Class::Elementwise];
}

/// One pass over a layer.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Pass {
    /// For one image.
    pub multiply_adds: u64,
    /// Activations read and written, for one image.
    pub values: u64,
    /// Kernels started, for any number of images.
    pub launches: u64,
}

impl Pass {
    /// A pass that moves values, by so many kernels.
    pub const fn moving(values: u64, launches: u64) -> Self {
        Self { multiply_adds: 0, values, launches }
    }
}

impl Add for Pass {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            multiply_adds: self.multiply_adds + other.multiply_adds,
            values: self.values + other.values,
            launches: self.launches + other.launches,
        }
    }
}

/// A layer in training.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// What it is.
    pub class: Class,
    /// Forward.
    pub forward: Pass,
    /// Backward, to its input, and what it computes again for that.
    pub input_gradient: Pass,
    /// Backward, to its weights.
    pub weight_gradient: Pass,
    /// Backward, to the alphas.
    pub alpha_gradient: Pass,
    /// Activations that backward needs, which no other layer counts, of one image.
    pub kept_values: u64,
    /// Bytes of other types that backward needs, of one image.
    pub kept_bytes: u64,
}

impl Layer {
    /// One that costs nothing yet.
    pub const fn new(class: Class) -> Self {
        const NONE: Pass = Pass::moving(0, 0);
        Self {
            class,
            forward: NONE,
            input_gradient: NONE,
            weight_gradient: NONE,
            alpha_gradient: NONE,
            kept_values: 0,
            kept_bytes: 0,
        }
    }
}
