//! The layers of a network as the program computes them.

use std::collections::HashSet;

use super::layer::{Class, Layer, Pass};
use crate::genotype::{Convolution, FeatureMap, Layers, Operation, Separable};

/// What computes, which decides what is kept and how many kernels start.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kernels {
    /// The program's own, on CPUs.
    Cpu,
    /// The program's own, on GPUs, in steps that are recorded and replayed.
    Gpu,
    /// libtorch's operations one after the other, on GPUs.
    Composed,
}

impl Kernels {
    /// `on_gpu` of the program's own on a GPU, else 1: on a CPU each operation is one call.
    fn launches(self, on_gpu: u64) -> u64 {
        if self == Kernels::Gpu { on_gpu } else { 1 }
    }

    /// `sums` of gradients, where kernels are counted one by one.
    fn accumulations(self, sums: u64) -> u64 {
        if self == Kernels::Gpu { sums } else { 0 }
    }
}

/// An operation that leaves a state of a supernet, on all its edges.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Values of its output.
    pub elements: u64,
    /// Edges.
    pub edges: u64,
    /// Whether a BatchNorm follows.
    pub normalised: bool,
    /// Whether it begins with a separable convolution.
    pub is_separable: bool,
    /// Whether its output is the state itself, which is kept anyway.
    pub is_state: bool,
}

/// The layers of a network in their order.
#[derive(Clone, Debug)]
pub struct Counter {
    /// So far.
    pub layers: Vec<Layer>,
    /// Trained values.
    pub parameters: u64,
    /// Tensors that hold them.
    pub tensors: u64,
    /// Layers before the first cell, and where each cell ends.
    first_cell: usize,
    cells: Vec<CellEnd>,
    kernels: Kernels,
    /// Whether BatchNorm has a scale and a shift.
    affine: bool,
    /// Whether branches are dropped.
    drop_path: bool,
    /// The group of separable convolutions that follow, and of which the kernels have been counted in this cell: each group's
    /// first and second halves.
    group: usize,
    counted: HashSet<(usize, bool)>,
}

#[derive(Copy, Clone, Debug)]
struct CellEnd {
    /// Layers before it.
    end: usize,
    output_values: u64,
}

/// Kernels of libtorch's BatchNorm on a GPU: statistics, running averages, the result; backward its sums and the result.
const BATCH_NORM_LAUNCHES: [u64; 2] = [4, 2];
/// Kernels of the program's operations on a GPU, forward and, to the input, backward: statistics, what follows from them, the
/// result; sums, what follows from them, the gradients.
const SUM_LAUNCHES: [u64; 2] = [3, 3];
/// Of the separable convolutions of a group: the product; backward it, what is gathered for the input and the weights, and the sums
/// of shares. With BatchNorm its statistics and what follows from them, backward the pass through it.
const SEPARABLE_LAUNCHES: [u64; 2] = [1, 3];
const SEPARABLE_NORM_LAUNCHES: [u64; 2] = [2, 1];
/// Gradients that one kernel of libtorch's for CUDA 13 adds to those of parameters.
const ADDED_GRADIENTS: u64 = 448;
/// Bytes of an index that libtorch's maximum keeps for each value, and of our own.
const INDEX_BYTES: [u64; 2] = [8, 1];

impl Counter {
    /// For an evaluation network, or for a supernet, whose BatchNorms have no scale and shift.
    pub fn new(kernels: Kernels, affine: bool, drop_path: bool) -> Self {
        Self {
            layers: Vec::new(),
            parameters: 0,
            tensors: 0,
            first_cell: 0,
            cells: Vec::new(),
            kernels,
            affine,
            drop_path,
            group: 0,
            counted: HashSet::new(),
        }
    }

    /// What is kept for backward of one image, in bytes; `value_bytes`: of an activation.
    pub fn kept_bytes(&self, value_bytes: u64) -> u64 {
        self.layers.iter().map(|layer| value_bytes * layer.kept_values + layer.kept_bytes).sum()
    }

    /// The same where the inputs of cells alone are kept, and one cell at a time is computed again.
    pub fn kept_bytes_with_checkpoints(&self, value_bytes: u64) -> u64 {
        let of = |layers: &[Layer]| -> u64 {
            layers.iter().map(|layer| value_bytes * layer.kept_values + layer.kept_bytes).sum()
        };
        let (mut start, mut inside, mut outputs) = (self.first_cell, 0, 0);
        for cell in &self.cells {
            inside = of(&self.layers[start..cell.end]).max(inside);
            outputs += value_bytes * cell.output_values;
            start = cell.end;
        }
        of(&self.layers[..self.first_cell]) + outputs + inside + of(&self.layers[start..])
    }

    /// Most that one pass reads and writes, in values of one image: what is in memory beside that which is kept.
    pub fn largest_values(&self) -> u64 {
        self.layers.iter().map(|layer| layer.input_gradient.values).max().unwrap_or(0)
    }

    /// Multiply-adds of one image, forward.
    pub fn multiply_adds(&self) -> u64 {
        self.layers.iter().map(|layer| layer.forward.multiply_adds).sum()
    }

    /// All passes of a kind.
    pub fn total(&self, pass: impl Fn(&Layer) -> Pass) -> Pass {
        self.layers.iter().map(pass).fold(Pass::default(), |sum, pass| sum + pass)
    }

    /// What ends a backward pass through all layers so far: the gradients of weights, or of alphas, are added up.
    pub fn accumulation(&mut self) {
        let launches = |tensors: u64| self.kernels.accumulations(tensors.div_ceil(ADDED_GRADIENTS));
        self.layers.push(Layer {
            weight_gradient: Pass::moving(0, launches(self.tensors)),
            alpha_gradient: Pass::moving(0, launches(1)),
            ..Layer::new(Class::Elementwise)
        });
    }

    fn trains(&mut self, tensors: u64, values: u64) {
        self.tensors += tensors;
        self.parameters += values;
    }

    /// BatchNorm with or without its parameters, whatever the network's others have.
    pub fn norm(&mut self, x: FeatureMap, affine: bool) -> FeatureMap {
        let n = x.elements();
        if affine {
            self.trains(2, 2 * x.channels);
        }
        let [forward, backward] = if self.kernels == Kernels::Gpu { SUM_LAUNCHES } else { BATCH_NORM_LAUNCHES };
        self.layers.push(Layer {
            // Statistics, then the values again and the result; backward the same of values and gradients.
            forward: Pass::moving(3 * n, forward),
            input_gradient: Pass::moving(5 * n, backward),
            kept_values: n,
            ..Layer::new(Class::Elementwise)
        });
        x
    }

    /// Dropout on the state, for each edge by itself.
    pub fn dropouts(&mut self, x: FeatureMap, edges: u64) {
        let (n, all) = (x.elements(), edges * x.elements());
        let is_drawn_again = self.kernels == Kernels::Gpu;
        // Our own kernel reads, or adds up, for all edges at once.
        let (forward, input_gradient) = if is_drawn_again {
            (Pass::moving(n + all, 1), Pass::moving(all + n, 1))
        } else {
            (Pass::moving(2 * all, 2 * edges), Pass::moving(2 * all, edges))
        };
        self.layers.push(Layer {
            forward,
            input_gradient,
            kept_values: if self.kernels == Kernels::Composed { 0 } else { all },
            kept_bytes: if is_drawn_again { 0 } else { all },
            ..Layer::new(Class::Elementwise)
        });
    }

    /// Adds all `branches`, each with its architecture weight, to `nodes` sums of the shape `x`.
    pub fn mix(&mut self, x: FeatureMap, nodes: u64, branches: &[Branch]) {
        let n = x.elements();
        let edges: u64 = branches.iter().map(|branch| branch.edges).sum();
        let total: u64 = branches.iter().map(|branch| branch.elements).sum();
        let kept: u64 = branches.iter().filter(|branch| !branch.is_state).map(|branch| branch.elements).sum();
        if self.kernels != Kernels::Composed {
            let [forward, backward] = SUM_LAUNCHES.map(|launches| self.kernels.launches(launches));
            // The gradients of all that read the state are added; those of separable convolutions are one.
            let separable = branches.iter().filter(|branch| branch.is_separable).count();
            let readers = branches.len() - separable.saturating_sub(1);
            let additions = self.kernels.accumulations((readers as u64).saturating_sub(1));
            self.layers.push(Layer {
                // Statistics, then every output and every sum once more.
                forward: Pass { multiply_adds: edges * n, ..Pass::moving(2 * total + 2 * nodes * n, forward) },
                input_gradient: Pass {
                    multiply_adds: 2 * edges * n,
                    ..Pass::moving(3 * total + 2 * nodes * n, backward + additions)
                },
                kept_values: kept,
                ..Layer::new(Class::Mix)
            });
            return;
        }
        for branch in branches {
            if branch.normalised {
                self.norm(x.with_channels(branch.elements / (x.height * x.width)), false);
            }
            // Product and sum of each edge; backward the product, and the gradient back in its place among the channels.
            let (block, edges) = (branch.elements, branch.edges);
            self.layers.push(Layer {
                forward: Pass { multiply_adds: edges * n, ..Pass::moving(edges * 5 * n, 2 * edges) },
                input_gradient: Pass::moving(edges * (4 * n + 4 * block), 4 * edges),
                alpha_gradient: Pass::moving(edges * 4 * n, 2 * edges),
                kept_values: if branch.normalised { block } else { 0 },
                ..Layer::new(Class::Mix)
            });
        }
    }
}

impl Layers for Counter {
    fn convolution(&mut self, x: FeatureMap, convolution: Convolution) -> FeatureMap {
        let weights = convolution.weights(x.channels);
        let out = x.strided(convolution.stride).with_channels(convolution.out_channels);
        self.trains(1, weights);
        let pass = Pass {
            multiply_adds: weights * out.height * out.width,
            values: x.elements() + out.elements(),
            launches: 1,
        };
        let is_depthwise = convolution.groups > 1 && convolution.groups == x.channels;
        let class = if is_depthwise { Class::Separable } else { Class::Dense };
        self.layers.push(Layer { forward: pass, input_gradient: pass, weight_gradient: pass, ..Layer::new(class) });
        out
    }

    fn batch_norm(&mut self, x: FeatureMap) -> FeatureMap {
        self.norm(x, self.affine)
    }

    fn branch_norm(&mut self, x: FeatureMap) -> FeatureMap {
        if self.kernels == Kernels::Composed {
            return self.batch_norm(x);
        }
        let n = x.elements();
        self.trains(2, 2 * x.channels);
        self.layers.push(Layer {
            // Its statistics; backward its values for the sums and for the gradient. The rest is the sum's.
            forward: Pass::moving(n, 0),
            input_gradient: Pass::moving(2 * n, 0),
            kept_values: n,
            ..Layer::new(Class::Elementwise)
        });
        x
    }

    fn relu(&mut self, x: FeatureMap) -> FeatureMap {
        let n = x.elements();
        self.layers.push(Layer {
            forward: Pass::moving(2 * n, 1),
            input_gradient: Pass::moving(3 * n, 1),
            kept_values: n,
            ..Layer::new(Class::Elementwise)
        });
        x
    }

    /// Evaluation networks pass on the ReLU; its gradients are added.
    fn relu_again(&mut self, x: FeatureMap) -> FeatureMap {
        if self.cells.is_empty() {
            // It is the first layer of a cell.
            self.first_cell = self.layers.len();
        }
        if !self.affine {
            return self.relu(x);
        }
        self.layers.push(Layer { input_gradient: Pass::moving(3 * x.elements(), 1), ..Layer::new(Class::Elementwise) });
        x
    }

    fn group(&mut self, group: usize) {
        self.group = group;
    }

    fn separable(&mut self, x: FeatureMap, separable: Separable) -> FeatureMap {
        let Separable { edges, kernel, stride, normalised } = separable;
        let middle = if normalised { x.channels } else { edges * x.channels };
        let out = x.strided((stride, stride)).with_channels(middle);
        let pointwise = Convolution { groups: edges, ..Convolution::pointwise(middle) };
        if self.kernels == Kernels::Composed {
            let x = if normalised { self.batch_norm(x) } else { x };
            let x = self.relu(x);
            if middle > x.channels {
                // A copy of the state for each edge, whose gradients are added.
                let copies = middle / x.channels * x.elements();
                self.layers.push(Layer {
                    forward: Pass::moving(x.elements() + copies, 1),
                    input_gradient: Pass::moving(x.elements() + copies, 1),
                    kept_values: copies,
                    ..Layer::new(Class::Elementwise)
                });
            }
            let x = self.convolution(x.with_channels(middle), Convolution::depthwise(middle, kernel, stride));
            // What is between the two convolutions, for the second.
            self.layers.push(Layer { kept_values: x.elements(), ..Layer::new(Class::Elementwise) });
            return self.convolution(x, pointwise);
        }
        let weights = Convolution::depthwise(middle, kernel, stride).weights(middle) + pointwise.weights(middle);
        self.trains(2, weights);
        if normalised && self.affine {
            self.trains(2, 2 * x.channels);
        }
        let multiply_adds = weights * out.height * out.width;
        let (read, written) = (x.elements(), out.elements());
        // BatchNorm takes its statistics, and backward its sums, in passes of their own.
        let (statistics, sums) = if normalised { (read, 3 * read) } else { (0, 0) };
        let of_norm = if normalised { SEPARABLE_NORM_LAUNCHES } else { [0, 0] };
        // On a GPU the kernels of a group's first are those of all.
        let is_first = self.kernels != Kernels::Gpu || self.counted.insert((self.group, normalised));
        let of_group = |launches| if is_first { launches } else { 0 };
        let [forward, backward] =
            [0, 1].map(|pass| self.kernels.launches(of_group(SEPARABLE_LAUNCHES[pass] + of_norm[pass])));
        self.layers.push(Layer {
            forward: Pass { multiply_adds, values: read + written + statistics, launches: forward },
            // Backward computes the forward pass again.
            input_gradient: Pass {
                multiply_adds: 2 * multiply_adds,
                values: 2 * read + written + sums,
                launches: backward,
            },
            weight_gradient: Pass { multiply_adds, ..Pass::default() },
            // The input of the first half is the state.
            kept_values: if normalised { read } else { 0 },
            ..Layer::new(Class::Separable)
        });
        out
    }

    fn pool(&mut self, x: FeatureMap, operation: Operation, stride: u64) -> FeatureMap {
        let out = x.strided((stride, stride));
        let values = x.elements() + out.elements();
        let of_index = INDEX_BYTES[usize::from(self.kernels != Kernels::Composed)];
        let is_maximum = operation == Operation::MaxPool3x3;
        self.layers.push(Layer {
            forward: Pass::moving(values, 1),
            input_gradient: Pass::moving(values, 1),
            kept_bytes: if is_maximum { of_index * out.elements() } else { 0 },
            ..Layer::new(Class::Elementwise)
        });
        out
    }

    fn add(&mut self, x: FeatureMap, droppable: u64) -> FeatureMap {
        let n = x.elements();
        let dropped = if self.drop_path { droppable } else { 0 };
        if self.kernels != Kernels::Composed {
            // A mask is made by two kernels. Backward reads the sum's gradient for the sums and for both gradients.
            let [forward, backward] = SUM_LAUNCHES.map(|launches| self.kernels.launches(launches));
            self.layers.push(Layer {
                forward: Pass::moving(3 * n, forward + 2 * dropped),
                input_gradient: Pass::moving(4 * n, backward + self.kernels.accumulations(1)),
                ..Layer::new(Class::Elementwise)
            });
            return x;
        }
        self.layers.push(Layer {
            forward: Pass::moving(3 * n, 1 + 2 * dropped),
            // The gradients of a state's readers are added; a mask is multiplied with.
            input_gradient: Pass::moving(3 * n + 2 * dropped * n, 1 + dropped),
            kept_values: dropped * n,
            ..Layer::new(Class::Elementwise)
        });
        x
    }

    fn state(&mut self, x: FeatureMap) -> FeatureMap {
        self.layers.push(Layer { kept_values: x.elements(), ..Layer::new(Class::Elementwise) });
        x
    }

    fn concatenation(&mut self, x: FeatureMap, channels: u64) -> FeatureMap {
        let out = x.with_channels(channels);
        let values = 2 * out.elements();
        self.layers.push(Layer {
            forward: Pass::moving(values, 1),
            input_gradient: Pass::moving(values, channels / x.channels),
            ..Layer::new(Class::Elementwise)
        });
        self.cells.push(CellEnd { end: self.layers.len(), output_values: out.elements() });
        self.counted.clear();
        out
    }

    fn linear(&mut self, inputs: u64, outputs: u64) {
        self.trains(2, inputs * outputs + outputs);
        let pass = Pass { multiply_adds: inputs * outputs, values: inputs + outputs, launches: 1 };
        self.layers.push(Layer {
            forward: pass,
            input_gradient: pass,
            weight_gradient: pass,
            ..Layer::new(Class::Dense)
        });
    }
}

#[cfg(test)]
mod tests;
