//! Texts in which cells stand, and the files of searches that say of cells: `genotype.json`, `alphas/*.json`.

use std::fs;

use pdarts::genotype::{Alphas, Genotype, Operation, Switches, derive, library, restrict, text};
use pdarts::run::{AlphasFile, GenotypeFile, TrainedCell};
use serde_json::Value;

use crate::amount;
use crate::corpus::{deep, folder};
use crate::target::Target;

const TOKENS: &[&str] = &[
    "Genotype(",
    "normal=",
    "normal_concat=",
    "reduce=[",
    "reduce_concat=",
    "range(",
    "np.arange(",
    "sep_conv_3x3",
    "('none', 1)",
    "namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')",
    "'''",
    "\"",
    "\\",
    "\\u12",
    "#",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ":",
    "+",
    "-",
    "\n",
    "'",
    "\u{201c}",
    "é",
    "\u{feff}",
    "\\\"",
    "class ",
];

fn cell() -> Genotype {
    library::find("PDARTS_C10").unwrap().genotype
}

fn texts() -> Vec<Vec<u8>> {
    let python = cell().to_string();
    let json = serde_json::to_string(&cell()).unwrap();
    let module = format!(
        "from collections import namedtuple\nGenotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')\n\
         # {python}\nPDARTS_C10 = {python}\nPDARTS = PDARTS_C10\n"
    );
    let log = format!("2019-01-01 10:00 epoch 1 genotype = {python}\n").repeat(3);
    let wrapped = serde_json::to_string(&Value::String(json.clone())).unwrap();
    let nni: String = ["normal", "reduce"]
        .iter()
        .flat_map(|cell| (2..6).flat_map(move |node| (0..2).map(move |edge| (cell, node, edge))))
        .map(|(cell, node, edge)| {
            format!("\"{cell}/op_{node}_{edge}\": \"sep_conv_3x3\", \"{cell}/input_{node}_{edge}\": {edge},")
        })
        .collect();
    let nni = format!("{{{}}}", nni.trim_end_matches(','));
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(python.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let texts = [python, json, module, log, wrapped, nni].into_iter().map(String::into_bytes);
    texts.chain([utf16]).collect()
}

/// Texts that would take a time that grows faster than they.
fn slow() -> Vec<Vec<u8>> {
    let texts = [
        "{",
        "[",
        "(",
        "{#",
        "G",
        "Genotype(",
        "Genotype",
        "{'''",
        "a(",
        "{'a':",
        "\\ ",
        "Genotype(\n",
        "{1,",
        "-",
        "+1",
        "{'{",
        "{\"{'",
        "Genotype(normal=[",
        "_",
        "'",
        "{}\n",
        "{},",
        "{}",
    ];
    texts.map(deep).into_iter().chain([b"{' ".repeat(20_000), [deep("{{}"), deep("{\"(\" ")].concat()]).collect()
}

#[test]
fn texts_of_cells() {
    Target { name: "genotype-text", valid: texts(), hostile: slow(), tokens: TOKENS, expansion: 1000 }.run(
        amount(2000, 1_500_000),
        |input| {
            let text = text::decode(input).map_err(|error| error.to_string())?;
            drop(text::read_cell(&text, Some("last")));
            text::read_cell(&text, None).map(drop).map_err(|error| error.to_string())
        },
    );
}

#[test]
fn files_of_cells() {
    let variants = [pdarts::genotype::Variant { max_skip_connects: 2, skip_connects: 2, genotype: cell() }];
    let found = serde_json::to_vec(&GenotypeFile::new(&variants, 2, None)).unwrap();
    let trained = serde_json::to_vec(&TrainedCell::new("PDARTS".to_owned(), cell(), None)).unwrap();
    let hostile = ["[", "{\"a\":", "{\"variants\":["].map(deep).into();
    Target { name: "genotype-json", valid: vec![found, trained], hostile, tokens: TOKENS, expansion: 100 }.run(
        amount(2000, 1_000_000),
        |input| {
            let trained = serde_json::from_slice::<TrainedCell>(input).map(|cell| drop(cell.genotype.to_string()));
            let found = serde_json::from_slice::<GenotypeFile>(input).map(|file| drop(file.result().cloned()));
            trained.or(found).map_err(|error| error.to_string())
        },
    );
}

#[test]
fn files_of_alphas() {
    let folder = folder();
    let path = folder.path().join("alphas.json");
    let live = Switches::full(&Operation::SEARCH_SPACE).unwrap();
    let rows = |scale: f64| -> Vec<Vec<f64>> {
        (0..14).map(|edge| (0..8).map(|place| f64::from((edge * 5 + place * 3) % 11) * scale).collect()).collect()
    };
    let file = AlphasFile {
        stage: 1,
        epoch: 3,
        live,
        alphas: Alphas { normal: rows(0.01), reduction: rows(-0.02), betas: None },
    };
    let valid = vec![serde_json::to_vec(&file).unwrap()];
    Target { name: "alphas", valid, hostile: vec![deep("[")], tokens: TOKENS, expansion: 100 }.run(
        amount(1000, 500_000),
        |input| {
            fs::write(&path, input).unwrap();
            let AlphasFile { live, alphas, .. } = AlphasFile::read(&path).map_err(|error| error.to_string())?;
            let derived = derive(&live, &alphas).and_then(|_| restrict(&live, &alphas));
            derived.map(drop).map_err(|error| error.to_string())
        },
    );
}
