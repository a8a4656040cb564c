//! Files of weights: safetensors, both formats of `torch.save`, the pickles in them, and checkpoints of runs.

use std::collections::HashMap;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use pdarts::genotype::{Genotype, count, library};
use pdarts::trainer::{ResumePoint, SearchProgress, TrainProgress};
use pdarts::weights::{HostTensor, StateDict, safetensors_bytes};
use safetensors::Dtype;
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

/// Checkpoints to go on from.
#[test]
fn checkpoints() {
    let tensor = HostTensor { name: "a".to_owned(), dtype: Dtype::F32, shape: vec![2], bytes: vec![0; 8] };
    let header = r#"{"format":"pdarts-train-2","config_digest":"ab","metrics_position":10,"counters":{"step":1},
        "progress":{"epoch":1,"step":2,"seconds":1.5,"records":{"epochs":[]}},"tensors_hash":"x"}"#;
    let file = |header: &str| {
        let metadata = HashMap::from([("pdarts".to_owned(), header.to_owned())]);
        safetensors_bytes(std::slice::from_ref(&tensor), metadata).unwrap()
    };
    let hostile = vec![file(header), file(&header.replace("train", "search")), file("{}")];
    let path = Path::new("epoch-0001.safetensors");
    Target { name: "checkpoint", valid: Vec::new(), hostile, tokens: TOKENS, expansion: 100 }.run(
        amount(1000, 1_000_000),
        |input| {
            drop(ResumePoint::<SearchProgress>::new(path, input, "ab"));
            ResumePoint::<TrainProgress>::new(path, input, "ab").map(drop).map_err(|error| error.to_string())
        },
    );
}
