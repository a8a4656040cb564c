//! A state dict, wherever in a file it lies and however its names are prefixed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;

use tch::Tensor;

use super::error::quoted;
use super::fit::AVERAGE;
use super::pickle::{self, Cursor, Id, Value, Values};
use super::storage::Storages;
use super::torch_zip::TorchZip;
use super::{WeightsError, WeightsProblem, safetensors_file, torch_legacy};

/// Where training programs put the state dict in the dictionary that they save.
const CONTAINERS: [&str; 11] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "model_weights",
    "student",
];

/// Where they put averages of the weights, beside these or alone.
const AVERAGES: [&str; 8] = [
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "model_ema_state_dict",
    "ema_model",
    "ema",
    "averaged_model",
    "swa_model",
];

/// What wrappers of a network put before all of its names: `DataParallel`, `torch.compile`, Lightning and other modules
/// that hold the network, averages of it.
const PREFIXES: [&str; 15] = [
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "_network.",
    "student.",
    "ema_model.",
    "ema.",
    "shadow.",
    "averaged_model.",
    "swa_model.",
    "_forward_module.",
    "_fsdp_wrapped_module.",
    "backbone.",
];

/// What an averaging wrapper counts beside the network: `torch.optim.swa_utils.AveragedModel` and others.
const COUNTERS: [&str; 6] = ["n_averaged", "num_averaged", "num_updates", "step", "initted", "decay"];

/// A tensor that is repeated along a dimension takes no room in a file. All together may be this much larger than it.
const LARGEST_EXPANSION: u64 = 16;

/// The format of a weight file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Safetensors.
    Safetensors,
    /// A zip archive of `torch.save`.
    TorchZip,
    /// The stream of `torch.save` before PyTorch 1.6.
    TorchLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::TorchZip => "torch.save (zip)",
            Format::TorchLegacy => "torch.save (before PyTorch 1.6)",
        })
    }
}

/// A network's tensors by name, on the host.
///
/// Tensors may share memory and have any strides, as they had when they were saved.
#[derive(Debug)]
pub struct StateDict {
    /// Of the file.
    pub format: Format,
    /// Keys from the file's dictionary to the state dict; empty when the file holds nothing else.
    pub found_in: Vec<String>,
    /// What stood before every name and was taken away: `module.`, say.
    pub prefix: String,
    /// Tensors of other modules in the same state dict.
    pub left_out: usize,
    /// By name.
    pub tensors: BTreeMap<String, Tensor>,
    /// What a safetensors file says about itself; in a file of `torch.save` the numbers and texts beside the state
    /// dict, such as `epoch`.
    pub metadata: HashMap<String, String>,
}

impl StateDict {
    /// Reads the state dict in the file `path`.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, in another format, without a state dict, or with Python objects that
    /// are no part of weights.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let wrap = |problem| WeightsError { path: path.to_owned(), problem };
        let bytes = fs::read(path).map_err(|error| wrap(WeightsProblem::Read(error)))?;
        Self::from_bytes(&bytes).map_err(wrap)
    }

    /// The state dict in a file's content.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsProblem> {
        let mut state = if bytes.starts_with(b"PK\x03\x04") {
            let mut file = TorchZip::open(bytes)?;
            let pickle = file.pickle()?;
            let values = pickle::load(&mut Cursor::new(&pickle))?;
            Self::from_values(Format::TorchZip, &values, Storages::new(file))?
        } else if torch_legacy::recognises(bytes) {
            let (values, storages) = torch_legacy::open(bytes)?;
            Self::from_values(Format::TorchLegacy, &values, Storages::new(storages))?
        } else if safetensors_file::recognises(bytes) {
            let (tensors, metadata) = safetensors_file::read(bytes)?;
            if tensors.is_empty() {
                return Err(WeightsProblem::NoStateDict { found: "it has no tensors".to_owned() });
            }
            Self {
                format: Format::Safetensors,
                found_in: Vec::new(),
                prefix: String::new(),
                left_out: 0,
                tensors,
                metadata,
            }
        } else {
            return Err(WeightsProblem::OtherFormat { looks_like: looks_like(bytes) });
        };
        state.check_expansion(bytes.len() as u64)?;
        state.strip_prefixes();
        state.part_networks();
        Ok(state)
    }

    fn from_values(format: Format, values: &Values<'_>, mut storages: Storages<'_>) -> Result<Self, WeightsProblem> {
        let Place { found_in, dictionary, beside } = find(values, values.root())?;
        let metadata = beside.into_iter().flat_map(|id| values.entries(id));
        let metadata = metadata.filter_map(|(key, id)| Some((key.to_owned(), values.scalar(id)?))).collect();
        let mut read = |dictionary: Id| {
            let mut state = Self {
                format,
                found_in: Vec::new(),
                prefix: String::new(),
                left_out: 0,
                tensors: BTreeMap::new(),
                metadata: HashMap::new(),
            };
            for (name, id) in values.entries(dictionary) {
                if let Value::Tensor(description) = values.get(id) {
                    state.tensors.insert(name.to_owned(), storages.tensor(name, description)?);
                }
            }
            Ok::<_, WeightsProblem>(state)
        };
        let mut state = read(dictionary)?;
        let averages = beside.and_then(|beside| AVERAGES.into_iter().find_map(|key| values.entry(beside, key)));
        if let Some(averages) = averages.filter(|averages| *averages != dictionary)
            && let Ok(Place { dictionary, .. }) = find(values, averages)
        {
            let mut averages = read(dictionary)?;
            averages.strip_prefixes();
            state.strip_prefixes();
            state
                .tensors
                .extend(averages.tensors.into_iter().map(|(name, tensor)| (format!("{AVERAGE}{name}"), tensor)));
        }
        Ok(Self { found_in, metadata, ..state })
    }

    /// Of a module that holds the network and its average, or the network and others: names the network's tensors as
    /// its own, and those of its average after `ema.`.
    fn part_networks(&mut self) {
        const LANDMARK: &str = "classifier.weight";
        let mut prefixes: Vec<String> = self
            .tensors
            .keys()
            .filter_map(|name| name.strip_suffix(LANDMARK))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .map(str::to_owned)
            .collect();
        let is_average = |prefix: &String| {
            ["ema", "avg", "averag", "swa", "teacher", "shadow"].iter().any(|word| prefix.contains(word))
        };
        prefixes.sort_by_key(|prefix| (is_average(prefix), prefix.len()));
        let Some(own) = prefixes.first().filter(|own| !own.is_empty()).cloned() else { return };
        let average = prefixes.iter().skip(1).find(|prefix| is_average(prefix));
        let all = self.tensors.len();
        let rename = |(name, tensor): (String, Tensor)| {
            let of_average =
                average.and_then(|prefix| name.strip_prefix(prefix)).map(|name| format!("{AVERAGE}{name}"));
            of_average.or_else(|| name.strip_prefix(&own).map(str::to_owned)).map(|name| (name, tensor))
        };
        self.tensors = std::mem::take(&mut self.tensors).into_iter().filter_map(rename).collect();
        self.prefix.push_str(&own);
        self.left_out = all - self.tensors.len();
    }

    /// Refuses shapes that would fill the memory of whoever copies the tensors.
    fn check_expansion(&self, file_bytes: u64) -> Result<(), WeightsProblem> {
        let size = |tensor: &Tensor| tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64;
        let total = self.tensors.values().fold(0u64, |total, tensor| total.saturating_add(size(tensor)));
        if total > file_bytes.saturating_mul(LARGEST_EXPANSION) {
            return Err(WeightsProblem::damaged(format!("its tensors claim {total} bytes, the file has {file_bytes}")));
        }
        Ok(())
    }

    /// Takes away what is before every name. A counter of a wrapper has no part in the network, and goes.
    fn strip_prefixes(&mut self) {
        let is_counter = |name: &str, tensor: &Tensor| {
            let own = PREFIXES.iter().fold(name, |name, prefix| name.strip_prefix(prefix).unwrap_or(name));
            tensor.numel() <= 1 && COUNTERS.contains(&own)
        };
        if self.tensors.iter().any(|(name, tensor)| !is_counter(name, tensor)) {
            self.tensors.retain(|name, tensor| !is_counter(name, tensor));
        }
        let common = |tensors: &BTreeMap<String, Tensor>| {
            PREFIXES.into_iter().find(|prefix| tensors.keys().all(|name| name.starts_with(prefix)))
        };
        while let Some(prefix) = common(&self.tensors).filter(|_| !self.tensors.is_empty()) {
            let tensors = std::mem::take(&mut self.tensors).into_iter();
            self.tensors = tensors.map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect();
            self.prefix.push_str(prefix);
        }
    }
}

impl fmt::Display for StateDict {
    /// As in `torch.save (zip), 1,234 tensors in "state_dict", names without "module."`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} tensors", self.format, self.tensors.len())?;
        if !self.found_in.is_empty() {
            write!(f, " in \"{}\"", self.found_in.join("."))?;
        }
        if !self.prefix.is_empty() {
            write!(f, ", names without \"{}\"", self.prefix)?;
        }
        if self.left_out > 0 {
            write!(f, ", without {} others that are not of the network", self.left_out)?;
        }
        Ok(())
    }
}

/// The dictionary of tensors in a saved object.
#[derive(Default)]
struct Place {
    /// The keys that lead to it.
    found_in: Vec<String>,
    dictionary: Id,
    /// The dictionary that it is a value of.
    beside: Option<Id>,
}

fn find(values: &Values<'_>, root: Id) -> Result<Place, WeightsProblem> {
    let holds_tensors = |id: Id| values.entries(id).any(|(_, id)| matches!(values.get(id), Value::Tensor(_)));
    let holds_dictionaries = |id: Id| values.entries(id).any(|(_, id)| matches!(values.get(id), Value::Dict(_)));
    let mut place = Place { dictionary: root, ..Place::default() };
    // No deeper: a dictionary may hold itself.
    while place.found_in.len() < CONTAINERS.len() {
        // Beside the state dict there can be tensors too: an accuracy, say.
        let container = CONTAINERS.into_iter().chain(AVERAGES).find_map(|key| {
            let id = values.entry(place.dictionary, key)?;
            (holds_tensors(id) || holds_dictionaries(id)).then_some((key, id))
        });
        match container {
            Some((key, id)) => {
                place.found_in.push(key.to_owned());
                place.beside = Some(place.dictionary);
                place.dictionary = id;
            }
            None if holds_tensors(place.dictionary) => return Ok(place),
            None => break,
        }
    }
    Err(WeightsProblem::NoStateDict { found: describe(values, place.dictionary) })
}

fn describe(values: &Values<'_>, id: Id) -> String {
    const SHOWN: usize = 8;
    let keys: Vec<String> = values.entries(id).map(|(key, _)| quoted(key)).take(SHOWN).collect();
    match values.get(id) {
        Value::Dict(_) if keys.is_empty() => "its dictionary is empty".to_owned(),
        Value::Dict(_) => {
            format!("its dictionary has no tensors, also not under `state_dict` (keys: {})", keys.join(", "))
        }
        other => format!("it holds {}", other.type_name()),
    }
}

/// What a file in an unknown format probably is.
fn looks_like(bytes: &[u8]) -> String {
    const PICKLE: &str =
        "a pickle that torch.save did not write (in Python: torch.save(pickle.load(open(FILE, 'rb')), OTHER))";
    let start = &bytes[..bytes.len().min(64)];
    let known: &[(&[u8], &str)] = &[
        (b"version https://git-lfs", "a pointer to a file that Git LFS has not fetched (run git lfs pull)"),
        (b"<", "a web page"),
        (b"\x1f\x8b", "a gzip archive (unpack it)"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x80", PICKLE),
        // Of Python's oldest protocols, in which these begin a dictionary.
        (b"(dp", PICKLE),
        (b"ccollections\n", PICKLE),
    ];
    let known = known.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| (*name).to_owned());
    match bytes {
        [] => "it is empty".to_owned(),
        _ => known.unwrap_or_else(|| "in an unknown format".to_owned()),
    }
}
