//! A moment of a run as one safetensors file: tensors, and the progress as JSON in its metadata.
//!
//! What is saved is the affair of the state ([`Resumable`]) and of its progress ([`RunProgress`]).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Tensor, no_grad};

use super::TrainError;
use crate::model::NamedTensor;
use crate::weights::{HostTensor, WeightsProblem, safetensors_bytes};
use crate::world::{Label, Ranks};

const METADATA_KEY: &str = "pdarts";
/// Before the number of a buffer of which each rank has its own values, in the middle of an epoch.
const OF_RANKS: &str = "ranks.";

/// How far a run has come, apart from tensors.
pub trait RunProgress: Clone + Serialize + DeserializeOwned {
    /// Name and version of the format of its checkpoints.
    const FORMAT: &'static str;
}

/// Numbers that optimizers and averages count, by name.
pub type Counters = BTreeMap<String, u64>;

/// What a run trains, as its checkpoints and the other ranks see it.
pub trait Resumable {
    /// Every tensor that a continuation needs, under unique names.
    fn tensors(&self) -> Vec<NamedTensor>;

    /// The flat buffers that training keeps the same on all ranks, each with its name for messages.
    fn common_buffers(&self) -> Vec<(&'static str, &Tensor)>;

    /// The flat buffers that ranks do not have in common, running statistics; their values are among the tensors too.
    fn local_buffers(&self) -> Vec<&Tensor>;

    /// Every number that a continuation needs besides its progress, under unique names.
    fn counters(&self) -> Counters;

    /// Sets these numbers, when tensors have been restored.
    fn set_counters(&mut self, counters: &Counters);

    /// Further metadata, for those who read the file without the run.
    fn metadata(&self) -> HashMap<String, String> {
        HashMap::new()
    }
}

/// A moment of a run, on the host.
#[derive(Clone, Debug)]
pub struct Checkpoint<P> {
    /// What is not a tensor.
    pub header: CheckpointHeader<P>,
    tensors: Vec<HostTensor>,
    /// See [`Resumable::metadata`].
    metadata: HashMap<String, String>,
}

/// Everything in a checkpoint that is not a tensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointHeader<P> {
    format: String,
    /// Of the configuration the run was started with.
    pub config_digest: String,
    /// Length of the run's metrics at this moment, in bytes.
    pub metrics_position: u64,
    /// Where the run stands.
    pub progress: P,
    counters: Counters,
    /// SHA-256 of the tensors, in the order of their names; stated in files.
    tensors_hash: String,
}

/// A checkpoint to go on from, with the file it came from.
pub struct ResumePoint<P> {
    /// For messages.
    pub path: PathBuf,
    /// Its contents.
    pub checkpoint: Checkpoint<P>,
}

/// Copies of `tensors`, sorted by name.
fn copies(tensors: &[NamedTensor]) -> Result<Vec<HostTensor>, WeightsProblem> {
    let mut copies: Vec<HostTensor> =
        tensors.iter().map(|named| HostTensor::copy(&named.name, &named.tensor)).collect::<Result<_, _>>()?;
    copies.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(copies)
}

impl<P: RunProgress> Checkpoint<P> {
    /// Copies `state` and `progress`, with the running statistics of every rank where they differ. All ranks call this
    /// together.
    ///
    /// # Errors
    /// When a tensor cannot be copied from the device or the ranks cannot be reached.
    pub fn take(state: &impl Resumable, progress: &P, config_digest: &str, ranks: &Ranks) -> Result<Self, TrainError> {
        let mut tensors = copies(&state.tensors())?;
        for (index, buffer) in state.local_buffers().into_iter().enumerate() {
            let mut copy = HostTensor::copy(&format!("{OF_RANKS}{index}"), buffer)?;
            let of_ranks = ranks.gather_bytes(copy.bytes, Label::new("exchange of statistics"))?;
            if of_ranks.iter().any(|bytes| *bytes != of_ranks[0]) {
                copy.shape.insert(0, of_ranks.len());
                copy.bytes = of_ranks.concat();
                tensors.push(copy);
            }
        }
        tensors.sort_by(|one, other| one.name.cmp(&other.name));
        let header = CheckpointHeader {
            format: P::FORMAT.to_owned(),
            config_digest: config_digest.to_owned(),
            metrics_position: 0,
            progress: progress.clone(),
            counters: state.counters(),
            tensors_hash: String::new(),
        };
        Ok(Self { header, tensors, metadata: state.metadata() })
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// When the header cannot be serialised, for example because a figure is not a number.
    pub fn into_bytes(mut self) -> Result<Vec<u8>, std::io::Error> {
        self.header.tensors_hash = hash(&self.tensors);
        self.metadata.insert(METADATA_KEY.to_owned(), serde_json::to_string(&self.header)?);
        safetensors_bytes(&self.tensors, self.metadata).map_err(std::io::Error::other)
    }

    /// Puts this moment back into `state`, which was built for the same place of the run. Each rank gets its own running
    /// statistics; on another number of ranks, their average.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] when the tensors do not fit the network.
    pub fn restore(&self, state: &mut impl Resumable, path: &Path, ranks: &Ranks) -> Result<(), TrainError> {
        let bad = |problem: String| TrainError::Checkpoint { path: path.to_owned(), problem };
        let targets = state.tensors();
        let num_common = self.tensors.iter().filter(|tensor| !tensor.name.starts_with(OF_RANKS)).count();
        if targets.len() != num_common {
            return Err(bad(format!("it has {num_common} tensors, the network {}", targets.len())));
        }
        for NamedTensor { name, tensor: target } in &targets {
            let found = self.tensor(name).ok_or_else(|| bad(format!("it has no tensor {name}")))?;
            if !found.has_shape(&target.size()) {
                return Err(bad(format!("{name} has the shape {:?}, in the network {:?}", found.shape, target.size())));
            }
            let values = found.values().map_err(|problem| bad(problem.to_string()))?;
            no_grad(|| target.shallow_clone().f_copy_(&values))?;
        }
        for (index, target) in state.local_buffers().into_iter().enumerate() {
            let Some(found) = self.tensor(&format!("{OF_RANKS}{index}")) else { continue };
            let copies = found.values().map_err(|problem| bad(problem.to_string()))?;
            let values = match found.shape.first() {
                Some(&size) if size == ranks.size => copies.f_get(ranks.rank as i64)?,
                _ => copies.f_mean_dim([0i64].as_slice(), false, copies.kind())?,
            };
            if target.size() != values.size() {
                return Err(bad(format!(
                    "{} has the shape {:?}, of each rank {:?}",
                    found.name,
                    found.shape,
                    target.size()
                )));
            }
            no_grad(|| target.shallow_clone().f_copy_(&values))?;
        }
        state.set_counters(&self.header.counters);
        Ok(())
    }

    /// The tensors are sorted by name.
    fn tensor(&self, name: &str) -> Option<&HostTensor> {
        let index = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        self.tensors.get(index)
    }

    /// The checkpoint whose file has these `bytes`, whole and undamaged.
    ///
    /// # Errors
    /// What is wrong with it.
    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |error: safetensors::SafeTensorError| format!("damaged or cut off ({error})");
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let entry = |key: &str| metadata.metadata().as_ref().and_then(|entries| entries.get(key));
        let header = entry(METADATA_KEY).ok_or("not a checkpoint of a run")?;
        // The format first: another one may have other fields.
        let Format { format } =
            serde_json::from_str(header).map_err(|error| format!("its header is not readable ({error})"))?;
        if format != P::FORMAT {
            return Err(format!("its format is {format}, expected {}", P::FORMAT));
        }
        let header: CheckpointHeader<P> =
            serde_json::from_str(header).map_err(|error| format!("its header is not readable ({error})"))?;
        let mut tensors: Vec<HostTensor> = file.iter().map(|(name, view)| HostTensor::of_file(name, &view)).collect();
        tensors.sort_by(|one, other| one.name.cmp(&other.name));
        if hash(&tensors) != header.tensors_hash {
            return Err("damaged (its contents do not have the hash that was written with them)".to_owned());
        }
        let mut metadata = metadata.metadata().clone().unwrap_or_default();
        metadata.remove(METADATA_KEY);
        Ok(Self { header, tensors, metadata })
    }
}

/// The part of a header that all formats share.
#[derive(Deserialize)]
struct Format {
    format: String,
}

impl<P: RunProgress> ResumePoint<P> {
    /// The checkpoint of the file `path` with these `bytes`, of a run whose configuration has `config_digest`.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] or [`TrainError::OtherConfig`].
    pub fn new(path: &Path, bytes: &[u8], config_digest: &str) -> Result<Self, TrainError> {
        let bad = |problem: String| TrainError::Checkpoint { path: path.to_owned(), problem };
        let checkpoint = Checkpoint::from_bytes(bytes).map_err(bad)?;
        let found = &checkpoint.header.config_digest;
        if found != config_digest {
            let short = |digest: &str| digest.chars().take(12).collect();
            let (expected, found) = (short(config_digest), short(found));
            return Err(TrainError::OtherConfig { path: path.to_owned(), expected, found });
        }
        Ok(Self { path: path.to_owned(), checkpoint })
    }
}

/// Name and version of the format of a checkpoint whose file has this `metadata`; `None` of another file.
pub fn checkpoint_format(metadata: &HashMap<String, String>) -> Option<String> {
    let Format { format } = serde_json::from_str(metadata.get(METADATA_KEY)?).ok()?;
    Some(format)
}

/// SHA-256, in hexadecimal, of the values of tensors.
///
/// # Errors
/// When a tensor cannot be copied from the device.
pub fn hash_values(tensors: &[&Tensor]) -> Result<String, WeightsProblem> {
    Ok(hash(&tensors.iter().map(|tensor| HostTensor::copy("", tensor)).collect::<Result<Vec<_>, _>>()?))
}

fn hash(tensors: &[HostTensor]) -> String {
    let mut hasher = Sha256::new();
    tensors.iter().for_each(|tensor| hasher.update(&tensor.bytes));
    format!("{:x}", hasher.finalize())
}
