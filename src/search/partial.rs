//! Partial channel connections: some channels of a state are mixed, the others pass every edge as they are.
//!
//! Source: PC-DARTS (arXiv:1907.05737), section 3.1; its code settles which channels these are (always the first) and that
//! they are shuffled behind every edge. The shuffle is the same for all edges, so here it follows the sum over them.

use tch::Tensor;

use crate::model::channels_last;
use crate::torch::TorchError;

/// Which channels of a state are mixed: the first of so many equal parts.
#[derive(Copy, Clone, Debug)]
pub struct PartialChannels {
    parts: i64,
}

impl PartialChannels {
    /// One of `parts`; all with 1.
    pub fn one_of(parts: usize) -> Self {
        Self { parts: parts as i64 }
    }

    /// Whether there are channels that pass.
    pub fn has_passing(self) -> bool {
        self.parts > 1
    }

    /// How many of `channels` are mixed.
    pub fn num_mixed(self, channels: i64) -> i64 {
        channels / self.parts
    }

    /// The channels of `state` `[N, C, H, W]` that are mixed: `[N, C / parts, H, W]`.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn mixed(self, state: &Tensor) -> Result<Tensor, TorchError> {
        if !self.has_passing() {
            return Ok(state.shallow_clone());
        }
        channels_last(&state.f_narrow(1, 0, self.num_mixed(state.size()[1]))?)
    }

    /// What the other channels are behind an edge of this stride: `[N, C - C / parts, H / stride, W / stride]`.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn passing(self, state: &Tensor, stride: i64) -> Result<Tensor, TorchError> {
        let channels = state.size()[1];
        let mixed = self.num_mixed(channels);
        let passing = state.f_narrow(1, mixed, channels - mixed)?;
        if stride == 1 {
            return Ok(passing);
        }
        Ok(passing.f_max_pool2d([stride, stride], [stride, stride], [0, 0], [1, 1], false)?)
    }

    /// A node's state of its sums of `mixed` and of `passing` channels, shuffled: of each part in turn one channel.
    ///
    /// # Errors
    /// When the sums do not fit each other.
    pub fn join(self, mixed: &Tensor, passing: &Tensor) -> Result<Tensor, TorchError> {
        let all = Tensor::f_cat(&[mixed, passing], 1)?;
        let (images, channels, height, width) = all.size4()?;
        let by_part = [images, height, width, self.parts, channels / self.parts];
        let shuffled = all.f_permute([0, 2, 3, 1])?.f_reshape(by_part)?.f_transpose(3, 4)?;
        Ok(shuffled.f_reshape([images, height, width, channels])?.f_permute([0, 3, 1, 2])?)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn shuffle_takes_a_channel_of_each_part_in_turn() {
        let partial = PartialChannels::one_of(4);
        let state = Tensor::arange(8, (Kind::Float, Device::Cpu)).view([1, 8, 1, 1]).expand([2, 8, 4, 4], false);
        let joined = partial.join(&partial.mixed(&state).unwrap(), &partial.passing(&state, 1).unwrap()).unwrap();
        let channels =
            Vec::<f64>::try_from(joined.select(0, 1).select(1, 3).select(1, 2).to_kind(Kind::Double)).unwrap();
        assert_eq!(channels, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
        assert_eq!(partial.passing(&state, 2).unwrap().size(), [2, 6, 2, 2]);
    }
}
