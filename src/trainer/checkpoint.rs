//! The state of a search as one safetensors file: flat buffers, and the progress as JSON in its metadata.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor, no_grad};

use super::progress::SearchProgress;
use super::{SearchState, TrainError};
use crate::world::{Label, Ranks};

const FORMAT: &str = "pdarts-search-1";
const METADATA_KEY: &str = "pdarts";

/// A moment of a search, on the host.
#[derive(Debug)]
pub struct Checkpoint {
    /// What is not a tensor.
    pub header: CheckpointHeader,
    buffers: Vec<Buffer>,
}

/// Everything in a checkpoint that is not a tensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointHeader {
    format: String,
    /// Of the configuration the run was started with.
    pub config_digest: String,
    /// Length of the run's metrics at this moment, in bytes.
    pub metrics_position: u64,
    /// Where the search stands.
    pub progress: SearchProgress,
    adam_steps: u64,
    /// SHA-256 of the buffers, in their order.
    buffers_hash: String,
}

/// A flat buffer on the host.
#[derive(Debug)]
struct Buffer {
    dtype: Dtype,
    shape: [usize; 1],
    bytes: Vec<u8>,
}

impl View for &Buffer {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Buffer {
    fn copy(tensor: &Tensor) -> Result<Self, tch::TchError> {
        let (dtype, tensor) = match tensor.kind() {
            Kind::Double => (Dtype::F64, tensor.to_device(Device::Cpu)),
            _ => (Dtype::F32, tensor.to_device(Device::Cpu).to_kind(Kind::Float)),
        };
        let length = tensor.numel();
        let mut bytes = vec![0; length * tensor.kind().elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, length)?;
        Ok(Self { dtype, shape: [length], bytes })
    }
}

/// Names of the flat buffers in a file, in the order of [`buffers_of`].
const BUFFER_NAMES: [&str; 6] =
    ["weights", "momentum", "statistics", "alphas", "alphas_first_moment", "alphas_second_moment"];

/// Which of them the ranks do not have in common.
const STATISTICS: usize = 2;

fn buffers_of(state: &SearchState) -> [&Tensor; 6] {
    let (first_moment, second_moment, _) = state.adam.state();
    [
        state.weights.values(),
        state.sgd.momentum(),
        state.statistics.values(),
        state.flat_alphas.values(),
        first_moment,
        second_moment,
    ]
}

impl Checkpoint {
    /// Copies `state` and `progress`, with the running statistics of every rank where they differ. All ranks call this
    /// together.
    ///
    /// # Errors
    /// When a buffer cannot be copied from the device or the ranks cannot be reached.
    pub fn take(
        state: &SearchState,
        progress: &SearchProgress,
        config_digest: &str,
        ranks: &Ranks,
    ) -> Result<Self, TrainError> {
        let mut buffers = buffers_of(state).into_iter().map(Buffer::copy).collect::<Result<Vec<_>, _>>()?;
        let statistics = &mut buffers[STATISTICS];
        let mut of_ranks = ranks.gather_bytes(statistics.bytes.clone(), Label::new("exchange of statistics"))?;
        if of_ranks.iter().any(|bytes| *bytes != of_ranks[0]) {
            statistics.shape[0] *= of_ranks.len();
            statistics.bytes = of_ranks.concat();
        } else {
            statistics.bytes = of_ranks.swap_remove(0);
        }
        let header = CheckpointHeader {
            format: FORMAT.to_owned(),
            config_digest: config_digest.to_owned(),
            metrics_position: 0,
            progress: progress.clone(),
            adam_steps: state.adam.state().2,
            buffers_hash: hash(&buffers),
        };
        Ok(Self { header, buffers })
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// When the header cannot be serialised, for example because a figure is not a number.
    pub fn to_bytes(&self) -> Result<Vec<u8>, std::io::Error> {
        let header = serde_json::to_string(&self.header)?;
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), header)]);
        let views = BUFFER_NAMES.into_iter().zip(&self.buffers);
        safetensors::serialize(views, Some(metadata)).map_err(std::io::Error::other)
    }

    /// Puts this moment back into `state`, which was built for the same stage. Each rank gets its own running
    /// statistics; on another number of ranks, their average.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] when the buffers do not fit the network.
    pub fn restore(&self, state: &mut SearchState, path: &Path, ranks: &Ranks) -> Result<(), TrainError> {
        let targets = BUFFER_NAMES.into_iter().zip(buffers_of(state)).enumerate();
        for ((index, (name, target)), buffer) in targets.zip(&self.buffers) {
            let (found, expected) = (buffer.shape[0], target.numel());
            let num_copies = if index == STATISTICS && expected > 0 { (found / expected).max(1) } else { 1 };
            if found != num_copies * expected {
                let problem = format!("{name} has {found} values, the network {expected}");
                return Err(TrainError::Checkpoint { path: path.to_owned(), problem });
            }
            let kind = if buffer.dtype == Dtype::F64 { Kind::Double } else { Kind::Float };
            let shape = [num_copies as i64, expected as i64];
            let copies = Tensor::f_from_data_size(&buffer.bytes, &shape, kind)?;
            let values = match num_copies {
                1 => copies.f_get(0)?,
                _ if num_copies == ranks.size => copies.f_get(ranks.rank as i64)?,
                _ => copies.f_mean_dim([0i64].as_slice(), false, kind)?,
            };
            no_grad(|| target.shallow_clone().f_copy_(&values))?;
        }
        state.adam.set_num_steps(self.header.adam_steps);
        Ok(())
    }

    /// Reads the checkpoint in `path`, whole and undamaged.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] otherwise.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let bad = |problem: String| TrainError::Checkpoint { path: path.to_owned(), problem };
        let bytes = std::fs::read(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
        Self::from_bytes(&bytes).map_err(bad)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |error: safetensors::SafeTensorError| format!("damaged or cut off ({error})");
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let header = metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
        let header = header.ok_or("not a checkpoint of a search")?;
        let header: CheckpointHeader =
            serde_json::from_str(header).map_err(|error| format!("its header is not readable ({error})"))?;
        if header.format != FORMAT {
            return Err(format!("its format is {}, this program reads {FORMAT}", header.format));
        }
        let mut buffers = Vec::new();
        for name in BUFFER_NAMES {
            let view = file.tensor(name).map_err(damaged)?;
            let shape = [view.shape().iter().product()];
            buffers.push(Buffer { dtype: view.dtype(), shape, bytes: view.data().to_vec() });
        }
        if hash(&buffers) != header.buffers_hash {
            return Err("damaged (its contents do not have the hash that was written with them)".to_owned());
        }
        Ok(Self { header, buffers })
    }
}

/// SHA-256, in hexadecimal, of the values of flat buffers.
///
/// # Errors
/// When a buffer cannot be copied from the device.
pub fn hash_values(buffers: &[&Tensor]) -> Result<String, tch::TchError> {
    Ok(hash(&buffers.iter().map(|tensor| Buffer::copy(tensor)).collect::<Result<Vec<_>, _>>()?))
}

fn hash(buffers: &[Buffer]) -> String {
    let mut hasher = Sha256::new();
    buffers.iter().for_each(|buffer| hasher.update(&buffer.bytes));
    format!("{:x}", hasher.finalize())
}
