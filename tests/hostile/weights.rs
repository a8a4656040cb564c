//! Files of weights: safetensors, both formats of `torch.save`, the pickles in them, and checkpoints of runs.

use std::collections::HashMap;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use pdarts::genotype::{Genotype, Operation, Switches, count, library};
use pdarts::model::NamedTensor;
use pdarts::trainer::{
    Checkpoint, Counters, Resumable, ResumePoint, RunProgress, SearchProgress, TrainProgress, TrainRecords,
};
use pdarts::weights::{HostTensor, StateDict, safetensors_bytes};
use pdarts::world::Ranks;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::amount;
use crate::corpus::{deep, files_in, fixture};
use crate::target::Target;

const TOKENS: &[&str] = &[
    "ccollections\nOrderedDict\n",
    "ctorch._utils\n_rebuild_tensor_v2\n",
    "cos\nsystem\n",
    "cbuiltins\neval\n",
    "c_codecs\nencode\n",
    "ctorch\nFloatStorage\n",
    "cnumpy\ndtype\n",
    "X\u{6}\u{0}\u{0}\u{0}latin1",
    "(",
    ".",
    "R",
    "Q",
    "}",
    "]",
    ")",
    "t",
    "l",
    "d",
    "u",
    "s",
    "e",
    "a",
    "b",
    "0",
    "1",
    "2",
    "q\u{0}",
    "h\u{0}",
    "r\u{0}\u{0}\u{0}\u{0}",
    "j\u{0}\u{0}\u{0}\u{0}",
    "K\u{1}",
    "N",
    "state_dict",
    "data.pkl",
    "PK\u{1}\u{2}",
    "PK\u{5}\u{6}",
    "\"dtype\":\"F32\"",
    "\"shape\":[",
    "\"data_offsets\":[",
    "{",
    "[",
    "\"__metadata__\":{",
    "F64",
    "BF16",
    "I64",
    "BOOL",
    "F8_E4M3",
];

fn cell() -> Genotype {
    library::find("PDARTS_C10").unwrap().genotype
}

/// All that is read of a file before a network is built of it.
fn read(bytes: &[u8]) -> Result<(), String> {
    let mut state = StateDict::from_bytes(bytes).map_err(|error| error.to_string())?;
    drop(state.to_string());
    drop(state.non_finite());
    for (name, tensor) in &state.tensors {
        HostTensor::copy(name, tensor).map_err(|error| error.to_string())?;
    }
    if let Ok(network) = state.description(Some(&cell())) {
        assert!(count(&network.genotype, &network.shape).parameters > 0);
    }
    state.take_averages();
    state.keep_weights();
    Ok(())
}

/// The fixtures that begin with `start`; those that are read, and the others.
fn fixtures(is_such: impl Fn(&[u8]) -> bool) -> [Vec<Vec<u8>>; 2] {
    let files = files_in("tests/fixtures/weights").into_iter().map(|path| std::fs::read(path).unwrap());
    let (valid, hostile) = files.filter(|file| is_such(file)).partition(|file| StateDict::from_bytes(file).is_ok());
    [valid, hostile]
}

fn fuzz(name: &'static str, [valid, hostile]: [Vec<Vec<u8>>; 2], executions: usize) {
    Target { name, valid, hostile, tokens: TOKENS, expansion: 200 }.run(executions, read);
}

#[test]
fn safetensors_files() {
    let shapes =
        [("a", vec![0, 1 << 62]), ("stem.0.weight", vec![1 << 62, 0]), ("classifier.weight", vec![1 << 62, 0])];
    let empty =
        shapes.map(|(name, shape)| HostTensor { name: name.to_owned(), dtype: Dtype::F32, shape, bytes: Vec::new() });
    let empty = safetensors_bytes(&empty, HashMap::new()).unwrap();
    let [mut valid, hostile] = fixtures(|file| file.get(8) == Some(&b'{'));
    valid.retain(|file| file.len() < 1 << 16);
    let nested = [&(50_000_u64).to_le_bytes()[..], b"{", &deep("[")].concat();
    fuzz("safetensors", [valid, [hostile, vec![empty, nested]].concat()], amount(1000, 800_000));
}

#[test]
fn zip_archives() {
    let mut corpus = fixtures(|file| file.starts_with(b"PK"));
    corpus[1].push(overlapping());
    fuzz("torch-zip", corpus, amount(1000, 700_000));
}

#[test]
fn legacy_streams() {
    fuzz("torch-legacy", fixtures(|file| file.starts_with(&[0x80, 2, 0x8a])), amount(1000, 1_000_000));
}

/// `pickle` as `torch.save` packs it, with a few storages of 64 bytes.
fn zipped(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    archive.start_file("archive/data.pkl", options).unwrap();
    archive.write_all(pickle).unwrap();
    for key in 0..10 {
        archive.start_file(format!("archive/data/{key}"), options).unwrap();
        archive.write_all(&[1; 64]).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The pickle in an archive of the fixtures.
fn pickle_of(name: &str) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(fixture(&format!("weights/{name}")))).unwrap();
    let entry =
        (0..archive.len()).find(|&entry| archive.by_index(entry).unwrap().name().unwrap().ends_with("data.pkl"));
    let mut pickle = Vec::new();
    archive.by_index(entry.unwrap()).unwrap().read_to_end(&mut pickle).unwrap();
    pickle
}

/// Pickles that stand in an archive with the right checksum.
#[test]
fn pickles() {
    let long = [
        b"\x80\x02c_codecs\nencode\nq\x00X\x00\x00\x04\x00".to_vec(),
        vec![b'a'; 1 << 18],
        b"q\x01X\x06\x00\x00\x00latin1q\x02".to_vec(),
    ];
    let encoded = [long.concat(), b"h\x00h\x01h\x02\x86R".repeat(10_000), b".".to_vec()].concat();
    let bombs = [
        // Lists of twice the list before.
        [b"\x80\x02]q\x00".to_vec(), b"]q\x01(h\x00h\x00eq\x00".repeat(10_000), b".".to_vec()].concat(),
        // Tuples, lists, dictionaries and marks in each other.
        [b"\x80\x02N".to_vec(), deep("\u{7f}"), b".".to_vec()].concat(),
        [b"\x80\x02N".to_vec(), vec![0x85; 60_000], b".".to_vec()].concat(),
        [b"\x80\x02".to_vec(), deep("]"), b"a".repeat(40_000), b".".to_vec()].concat(),
        [b"\x80\x02".to_vec(), deep("("), b"l".repeat(40_000), b".".to_vec()].concat(),
        // A text encoded over and over.
        encoded,
        [b"\x80\x02".to_vec(), deep("N"), b".".to_vec()].concat(),
        [b"\x80\x02N".to_vec(), deep("2"), b".".to_vec()].concat(),
    ];
    let valid = ["zip.pt", "zip-protocol4.pt", "zip-protocol5.pt"].map(pickle_of).into();
    Target { name: "pickle", valid, hostile: bombs.into(), tokens: TOKENS, expansion: 500 }.run(
        amount(1000, 1_500_000),
        |input| {
            let outcome = read(&zipped(input));
            match outcome {
                // Those of the valid ones are others.
                Err(line) if line.contains("storage") || line.contains("data/") => Ok(()),
                outcome => outcome,
            }
        },
    );
}

/// Many names in an archive for the same bytes: read for each, they would fill the memory.
fn overlapping() -> Vec<u8> {
    const STORAGE: usize = 1 << 18;
    let pickle = {
        let mut pickle = b"\x80\x02}(".to_vec();
        for key in 0..1000 {
            let name = format!("{key:04}");
            pickle.extend(format!("X\u{4}\u{0}\u{0}\u{0}{name}ctorch._utils\n_rebuild_tensor_v2\n((X\u{7}\u{0}\u{0}\u{0}storagectorch\nByteStorage\nX\u{4}\u{0}\u{0}\u{0}{name}X\u{3}\u{0}\u{0}\u{0}cpuJ").into_bytes());
            pickle.extend((STORAGE as u32).to_le_bytes());
            pickle.extend(b"tQK\x00K\x01\x85K\x01\x85tR");
        }
        pickle.extend(b"u.");
        pickle
    };
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    let mut places = HashMap::new();
    let storage = vec![7; STORAGE];
    for (name, bytes) in [("archive/data.pkl".to_owned(), &pickle), ("archive/data/0000".to_owned(), &storage)] {
        places.insert(name.clone(), file.len());
        file.extend(local_header(&name, bytes));
        file.extend(bytes);
    }
    let names = (0..1000).map(|key| format!("archive/data/{key:04}")).chain(["archive/data.pkl".to_owned()]);
    let mut count = 0_u16;
    for name in names {
        let bytes = if name.ends_with(".pkl") { &pickle } else { &storage };
        let place = places.get(&name).copied().unwrap_or(places["archive/data/0000"]) as u32;
        let local = local_header(&name, bytes);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&local[4..30]);
        directory.extend([0; 10]);
        directory.extend([0; 4]);
        directory.extend(place.to_le_bytes());
        directory.extend(name.as_bytes());
        count += 1;
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\x00\x00\x00\x00");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

fn local_header(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut checksum = flate2::Crc::new();
    checksum.update(bytes);
    let size = (bytes.len() as u32).to_le_bytes();
    let mut header = b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    header.extend([checksum.sum().to_le_bytes(), size, size].concat());
    header.extend((name.len() as u16).to_le_bytes());
    header.extend([0, 0]);
    header.extend(name.as_bytes());
    header
}

/// A state of two tensors to go on with.
struct State {
    tensors: [Tensor; 2],
    counters: Counters,
}

impl State {
    fn new() -> Self {
        let tensor = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        Self { tensors: [tensor(&[2, 3]), tensor(&[4])], counters: Counters::from([("step".to_owned(), 7)]) }
    }
}

impl Resumable for State {
    fn tensors(&self) -> Vec<NamedTensor> {
        let named =
            |(name, tensor): (&str, &Tensor)| NamedTensor { name: name.to_owned(), tensor: tensor.shallow_clone() };
        ["alphas", "weights"].into_iter().zip(&self.tensors).map(named).collect()
    }

    fn common_buffers(&self) -> Vec<(&'static str, &Tensor)> {
        Vec::new()
    }

    fn local_buffers(&self) -> Vec<&Tensor> {
        vec![&self.tensors[1]]
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }

    fn set_counters(&mut self, counters: &Counters) {
        self.counters.clone_from(counters);
    }
}

const DIGEST: &str = "ab";

fn checkpoint<P: RunProgress>(progress: &P) -> Vec<u8> {
    Checkpoint::take(&State::new(), progress, DIGEST, &Ranks::alone()).unwrap().into_bytes().unwrap()
}

/// Two of three files with the right hash of their contents, which would keep damage from what is behind it.
fn with_hash(input: &[u8]) -> Vec<u8> {
    const KEY: &[u8] = br#"tensors_hash\":\""#;
    let mut bytes = input.to_vec();
    let Some(file) = SafeTensors::deserialize(input).ok().filter(|_| !input.len().is_multiple_of(3)) else {
        return bytes;
    };
    let mut tensors: Vec<_> = file.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    let mut hasher = Sha256::new();
    tensors.iter().for_each(|(_, tensor)| hasher.update(tensor.data()));
    let hash = format!("{:x}", hasher.finalize());
    if let Some(start) = bytes.windows(KEY.len()).position(|window| window == KEY)
        && let Some(place) = bytes.get_mut(start + KEY.len()..start + KEY.len() + hash.len())
    {
        place.copy_from_slice(hash.as_bytes());
    }
    bytes
}

/// Goes on from a file as far as a run does.
fn go_on<P: RunProgress>(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let point = ResumePoint::<P>::new(path, bytes, DIGEST).map_err(|error| error.to_string())?;
    point.checkpoint.restore(&mut State::new(), path, &Ranks::alone()).map_err(|error| error.to_string())
}

/// Checkpoints to go on from.
#[test]
fn checkpoints() {
    let switches = Switches::full(&Operation::SEARCH_SPACE).unwrap();
    let search = checkpoint(&SearchProgress::start(switches));
    let train = checkpoint(&TrainProgress::new(TrainRecords { epochs: Vec::new() }));
    let hostile = vec![search[..search.len() / 2].to_vec(), safetensors_bytes(&[], HashMap::new()).unwrap()];
    let path = Path::new("epoch-0001.safetensors");
    Target { name: "checkpoint", valid: vec![search, train], hostile, tokens: TOKENS, expansion: 100 }.run(
        amount(1000, 1_000_000),
        |input| {
            let bytes = with_hash(input);
            let search = go_on::<SearchProgress>(path, &bytes);
            // The reasons of both are of use.
            go_on::<TrainProgress>(path, &bytes).or_else(|line| search.map_err(|other| format!("{line}; {other}")))
        },
    );
}
