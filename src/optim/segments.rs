//! Norms of the single tensors of a flat buffer, and factors for them, in a few kernels for all tensors together.
//!
//! A tensor begins at a multiple of the alignment, so the buffer is a whole number of blocks, each of one tensor. Norms
//! are taken of blocks, then over the blocks of each tensor in double precision; both orders of summation depend on the
//! sizes alone (an `index_add` on a GPU would not), so that all ranks step alike. Nothing waits for the device.

use tch::{Kind, TchError, Tensor};

use super::FlatParameters;

/// The tensors of a flat buffer, as blocks.
#[derive(Debug)]
pub(super) struct Segments {
    /// Values of a block.
    block: i64,
    /// Blocks of each tensor, `[tensors]`.
    lengths: Tensor,
    /// The tensor of each block, `[blocks]`.
    tensor_of_block: Tensor,
}

impl Segments {
    pub fn of(parameters: &FlatParameters) -> Result<Self, TchError> {
        let block = parameters.alignment();
        let lengths: Vec<i64> =
            parameters.ranges().map(|range| (range.end - range.start + block - 1) / block).collect();
        let numbers = lengths.iter().enumerate();
        let tensor_of_block: Vec<i64> =
            numbers.flat_map(|(number, &blocks)| std::iter::repeat_n(number as i64, blocks as usize)).collect();
        let on_device = |numbers: &[i64]| Tensor::f_from_slice(numbers)?.f_to_device(parameters.values().device());
        Ok(Self { block, lengths: on_device(&lengths)?, tensor_of_block: on_device(&tensor_of_block)? })
    }

    /// The L2 norm of each tensor in `buffer`, `[tensors]` in double precision.
    pub fn norms(&self, buffer: &Tensor) -> Result<Tensor, TchError> {
        let blocks = self.blocks(buffer)?;
        let squares = blocks.f_norm_scalaropt_dim(2, [1i64].as_slice(), false)?.f_to_kind(Kind::Double)?.f_square()?;
        let (none, unchecked) = (None::<&Tensor>, true); // Checking the lengths would wait for the device.
        let sums = Tensor::f_segment_reduce(&squares, "sum", Some(&self.lengths), none, none, 0, unchecked, 0.0);
        sums?.f_sqrt()
    }

    /// Multiplies each tensor in `buffer` by its factor of `factors`, `[tensors]`, in place.
    pub fn scale(&self, buffer: &Tensor, factors: &Tensor) -> Result<(), TchError> {
        let of_blocks = factors.f_to_kind(buffer.kind())?.f_index_select(0, &self.tensor_of_block)?;
        let _ = self.blocks(buffer)?.f_mul_(&of_blocks.f_unsqueeze(1)?)?;
        Ok(())
    }

    /// `[blocks, values]`.
    fn blocks(&self, buffer: &Tensor) -> Result<Tensor, TchError> {
        buffer.f_view([self.tensor_of_block.size1()?, self.block])
    }
}

/// `ratios` where a tensor `adapts` and neither norm is zero, else 1; all `[tensors]`.
pub(super) fn trust_where(ratios: &Tensor, adapts: &Tensor, norms: [&Tensor; 2]) -> Result<Tensor, TchError> {
    let [values, step] = norms.map(|norm| norm.f_gt(0.0));
    ratios.f_where_self(&adapts.f_logical_and(&values?)?.f_logical_and(&step?)?, &ratios.f_ones_like()?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, no_grad};

    use super::*;
    use crate::model::NamedTensor;

    fn parameters(kind: Kind) -> FlatParameters {
        tch::manual_seed(4);
        let shapes: [&[i64]; 5] = [&[3, 5], &[1], &[64, 33, 3, 3], &[16], &[17]];
        let named = shapes.iter().enumerate().map(|(index, shape)| NamedTensor {
            name: format!("{index}"),
            tensor: (Tensor::randn(*shape, (kind, Device::Cpu)) * 10f64.powi(index as i32 - 2)).set_requires_grad(true),
        });
        FlatParameters::flatten(&named.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn norms_are_those_of_the_single_tensors() {
        for (kind, tolerance) in [(Kind::Float, 1e-6), (Kind::Double, 1e-14)] {
            let parameters = parameters(kind);
            let norms = no_grad(|| Segments::of(&parameters).unwrap().norms(parameters.values())).unwrap();
            for (index, tensor) in parameters.tensors().into_iter().enumerate() {
                let expected = tensor.to_kind(Kind::Double).norm().double_value(&[]);
                let found = norms.double_value(&[index as i64]);
                assert!((found - expected).abs() <= tolerance * expected, "tensor {index}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn scaling_multiplies_each_tensor_by_its_factor() {
        let parameters = parameters(Kind::Double);
        let buffer = parameters.values().detach().copy();
        let factors = Tensor::from_slice(&[1.0, -2.0, 0.5, 3.0, 0.0]);
        Segments::of(&parameters).unwrap().scale(&buffer, &factors).unwrap();
        for (index, (scaled, tensor)) in parameters.split(&buffer).iter().zip(parameters.tensors()).enumerate() {
            let expected = tensor.detach() * factors.double_value(&[index as i64]);
            assert_eq!(*scaled, expected, "tensor {index}");
        }
    }
}
