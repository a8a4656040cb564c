//! The texts that people paste, each the same cell.

use proptest::prelude::*;

use super::super::genotype::tests::any_genotype;
use super::*;

/// Written as the public codes print it.
const TEXT: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], \
    normal_concat=range(2, 3), reduce=[('max_pool_3x3', 0), ('dil_conv_5x5', 1)], reduce_concat=[2])";

fn expected() -> Genotype {
    use crate::genotype::Operation;
    Genotype::try_from(crate::genotype::genotype::Fields {
        normal: vec![(Operation::SepConv3x3, 0), (Operation::SkipConnect, 1)],
        normal_concat: vec![2],
        reduce: vec![(Operation::MaxPool3x3, 0), (Operation::DilConv5x5, 1)],
        reduce_concat: vec![2],
    })
    .unwrap()
}

fn reads(text: &str) {
    match read_cell(text, None) {
        Ok(cell) => assert_eq!(cell.genotype, expected(), "{text}"),
        Err(error) => panic!("{error}: {text}"),
    }
}

fn problem_of(text: &str) -> String {
    let problem = text.parse::<Genotype>().unwrap_err().to_string();
    assert_eq!(problem.lines().count(), 1, "{problem}");
    problem
}

proptest! {
    #[test]
    fn text_reads_back_what_it_wrote(genotype in any_genotype()) {
        prop_assert_eq!(genotype.to_string().parse::<Genotype>().unwrap(), genotype);
    }

    #[test]
    fn no_text_panics(text in "(#|Genotype)?[(]?(normal|reduce_concat|=|[(]|\\[|\\{|'|\"|\\\\|none|range|:|,|é|7|\n){0,16}") {
        let _ = text.parse::<Genotype>();
    }

    #[test]
    fn text_cut_short_is_an_error(end in 0..TEXT.len()) {
        prop_assert!(TEXT[..end].parse::<Genotype>().is_err());
    }
}

#[test]
fn reads_the_layouts_of_public_codes() {
    reads(TEXT);
    reads(
        "PDARTS = Genotype(\n  normal = [\n    ('sep_conv_3x3', 0), # first\n    (\"skip_connect\", 1),\n  ],\n  \
         normal_concat = list(range(2, 3)),\n  reduce = [('max_pool_3x3', 0), ('dil_conv_5x5', 1)],\n  \
         reduce_concat = (2,),\n)\n",
    );
    // Positional, qualified, with types, in a tuple instead of a list.
    reads("Genotype([('sep_conv_3x3', 0), ('skip_connect', 1)], [2], [('max_pool_3x3', 0), ('dil_conv_5x5', 1)], [2])");
    reads(&format!("C10: Genotype = gt.{TEXT};"));
    reads(&TEXT.replace('[', "(").replace(']', ",)"));
    // In the order of the text's own tuple.
    reads(
        "Genotype = namedtuple('Genotype', ['reduce', 'reduce_concat', 'normal', 'normal_concat'])\n\
         X = Genotype([('max_pool_3x3', 0), ('dil_conv_5x5', 1)], [2], [('sep_conv_3x3', 0), ('skip_connect', 1)], [2])",
    );
}

#[test]
fn reads_a_line_of_a_log() {
    for before in [
        "2019-04-15 10:21:33,000 genotype = ",
        "04/15 10:21:33 AM genotype = ",
        "[2019-04-15 10:21:33] INFO - Genotype: ",
        "04/15 10:21:33 AM | ",
        "2019-04-15 10:21:33,000 {'epoch': 3} best: ",
        ">>> ",
        "INFO:root:",
    ] {
        reads(&format!("{before}{TEXT}"));
        reads(&format!("03/11 09:00:00 AM epoch 1 lr 2.5e-02\n{before}{TEXT}\r\n03/11 train_acc 97.1 {{'a': 1}} (x\n"));
    }
}

#[test]
fn reads_edges_nested_by_node() {
    reads(&TEXT.replace("[(", "[[(").replace(")]", ")]]"));
    reads(
        "{'normal': {'2': [['sep_conv_3x3', 0], ['skip_connect', 1]]}, 'normal_concat': [2], \
           'reduce': [[['max_pool_3x3', 0], ['dil_conv_5x5', 1]]], 'reduce_concat': [2]}",
    );
}

#[test]
fn reads_dicts_json_and_json_in_strings() {
    let python = "{'normal': [('sep_conv_3x3', 0), ('skip_connect', 1)], 'normal_concat': range(2, 3), \
                  'reduce': [('max_pool_3x3', 0), ('dil_conv_5x5', 1)], 'reduce_concat': [2], 'epoch': None,}";
    let json = serde_json::to_string(&expected()).unwrap();
    for text in [python, &json, &json.replace("\"reduce", "\"reduction")] {
        reads(text);
        reads(&format!("genotype = {text}"));
        reads(&format!("04/15 10:21:33 AM found {text}"));
        reads(&format!("{{\"genotype\": {text}, \"accuracy\": 97.5}}"));
    }
    let mut wrapped = json;
    for _ in 0..2 {
        wrapped = serde_json::to_string(&wrapped).unwrap();
        reads(&wrapped);
    }
    reads(&serde_json::json!({ "best": TEXT, "config": { "seed": 1 } }).to_string());
    reads(
        "OrderedDict([('normal', [('sep_conv_3x3', 0), ('skip_connect', 1)]), ('normal_concat', [2]), \
           ('reduce', [('max_pool_3x3', 0), ('dil_conv_5x5', 1)]), ('reduce_concat', [2])])",
    );
    reads(&TEXT.replace("Genotype(", "dict("));
}

#[test]
fn reads_numbers_and_texts_in_other_spellings() {
    reads(&TEXT.replace(" 0)", " np.int64(0))").replace(" 1)", " tensor(1))"));
    reads(&TEXT.replace(" 0)", " 0.0)").replace("range(2, 3)", "np.array([2])"));
    reads(&TEXT.replace("range(2, 3)", "np.arange(2, 2 + 1)").replace("=[2]", "=array([2], dtype=int64)"));
    reads(&TEXT.replace("('", "(u'"));
    reads(&TEXT.replace("('", "(\u{2018}").replace("', ", "\u{2019}, "));
    reads(&TEXT.replace('\'', ""));
    reads(&TEXT.replace("('sep_conv_3x3', 0)", "(0, 'sep_conv_3x3')"));
    reads(&TEXT.replace("reduce=", "\\\n  reduce="));
}

#[test]
fn reads_the_exports_of_nni() {
    reads(
        r#"{"width": 36, "normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": [0], "normal/op_2_1": "skip_connect",
            "normal/input_2_1": 1, "reduce/op_2_0": "max_pool_3x3", "reduce/input_2_0": 0,
            "reduce/op_2_1": "dil_conv_5x5", "reduce/input_2_1": 1}"#,
    );
    reads(
        r#"{"normal_n2_p0": "sepconv3x3", "normal_n2_p1": ["skipconnect"],
            "normal_n2_switch": ["normal_n2_p0", "normal_n2_p1"], "reduce_n2_p0": "maxpool",
            "reduce_n2_p1": "dilconv5x5", "reduce_n2_switch": [0, 1]}"#,
    );
}

const MODULE: &str = "\
from collections import namedtuple
import torch  # the search needs it
Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')

PRIMITIVES = ['none', 'max_pool_3x3']
# OLD = Genotype(normal=[('none', 0)])

class Genotype(NamedTuple):
    normal: list

A = Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)], normal_concat=[2], \
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])
B = GENOTYPE
OTHER = Genotype(normal=[('conv_9x9', 0), ('skip_connect', 1)], normal_concat=[2], \
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])
ALIAS = B
";

fn module() -> String {
    MODULE.replace("GENOTYPE", TEXT)
}

#[test]
fn cells_of_a_module_are_chosen_by_name_and_listed() {
    let module = module();
    for choice in ["B", "ALIAS", "2"] {
        assert_eq!(read_cell(&module, Some(choice)).unwrap().genotype, expected(), "{choice}");
    }
    assert_ne!(read_cell(&module, Some("A")).unwrap().genotype, expected());
    let listed = "1 A (line 11), 2 B (line 12), 3 OTHER (line 13, cannot be read), 4 ALIAS (line 14)";
    assert_eq!(
        problem_of(&module),
        format!("it has several cells: {listed}; choose one by its name or number behind a colon, as in FILE:NAME")
    );
    let problem = read_cell(&module, Some("OLD")).unwrap_err().to_string();
    assert_eq!(problem, format!("it has no cell `OLD`; it has {listed}"));
    let problem = read_cell(&module, Some("OTHER")).unwrap_err().to_string();
    assert!(problem.contains("line 13") && problem.contains("unknown operation `conv_9x9`"), "{problem}");
}

#[test]
fn cells_of_a_log_are_chosen_by_number() {
    let log = format!("1 genotype = {}\n2 genotype = {TEXT}\n", TEXT.replace("sep_conv_3x3", "sep_conv_5x5"));
    assert!(problem_of(&log).contains("1 genotype (line 1), 2 genotype (line 2)"));
    for choice in ["2", "last"] {
        assert_eq!(read_cell(&log, Some(choice)).unwrap().genotype, expected());
    }
    // The same cell twice is one.
    reads(&format!("{TEXT}\n{TEXT}"));
}

#[test]
fn only_cell_may_stand_in_a_comment() {
    reads(&format!("# {TEXT}\n"));
}

#[test]
fn bytes_are_text_whoever_wrote_them() {
    let utf16 = |swap: bool, mark: bool| -> Vec<u8> {
        let units = mark.then_some(0xfeff).into_iter().chain(TEXT.encode_utf16());
        units.flat_map(|unit: u16| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let cases = [
        format!("\u{feff}{TEXT}").into_bytes(),
        format!("\u{feff}{}", serde_json::to_string(&expected()).unwrap()).into_bytes(),
        utf16(false, true),
        utf16(true, true),
        utf16(false, false),
        utf16(true, false),
        [b"# \xd6\xd0\xce\xc4\r\n", TEXT.replace(", ", ",\r\n").as_bytes()].concat(),
    ];
    for bytes in cases {
        reads(&decode(&bytes).unwrap());
    }
    for (bytes, found) in
        [(&b"\x80\x02}q"[..], "a pickle"), (b"PK\x03\x04", "a zip archive"), (b"a\0\0\0b", "binary data")]
    {
        let problem = decode(bytes).unwrap_err().to_string();
        assert!(problem.contains(found), "{problem}");
    }
}

#[test]
fn texts_without_a_cell_are_described_with_the_forms_that_are_read() {
    for (text, found) in [
        ("", "it is empty"),
        ("architecture.json", "it begins with `architecture.json`"),
        ("|nor_conv_3x3~0|+|none~0|skip_connect~1|", "NAS-Bench-201"),
        ("Genotype(recurrent=[('tanh', 0)], concat=range(1, 9))", "unknown field `recurrent`"),
        ("<!DOCTYPE html>", "web page"),
        ("{\"learning_rate\": 0.1}", "it begins with"),
    ] {
        let problem = problem_of(text);
        assert!(problem.contains(found), "{problem}");
    }
    assert!(problem_of("x = 3").contains("read are the Python text Genotype(normal="));
}

#[test]
fn unknown_operation_is_reported_with_its_place() {
    let text = TEXT.replace("dil_conv_5x5", "dill_conv_5x5");
    let column = text.find("'dill").unwrap() + 1;
    let expected = format!(
        "genotype text, line 1, column {column}: unknown operation `dill_conv_5x5`; did you mean `dil_conv_5x5`? known: none, "
    );
    let problem = problem_of(&text);
    assert!(problem.starts_with(&expected), "{problem}");
}

#[test]
fn field_that_is_missing_repeated_or_unknown_is_named() {
    let problem = problem_of(&TEXT.replace(", reduce_concat=[2]", ""));
    assert!(problem.ends_with("`reduce_concat` is missing"), "{problem}");
    let problem = problem_of(&TEXT.replace("reduce_concat=", "normal_concat="));
    assert!(problem.ends_with("`normal_concat` is given twice"), "{problem}");
    let problem = problem_of(&TEXT.replace("reduce_concat=", "reduced="));
    assert!(problem.contains("unknown field `reduced`"), "{problem}");
}

#[test]
fn wrong_text_is_reported_with_line_and_column() {
    assert_eq!(
        problem_of("Genotype(\n  normal=[('skip_connect' 0)])"),
        "genotype text, line 2, column 27: expected `,` or `)`, found `0`"
    );
    let problem = problem_of(&TEXT.replace("('skip_connect', 1)", "('skip_connect', 1, 2)"));
    assert!(problem.contains("an edge of 3 parts (expected an operation and the state"), "{problem}");
    let problem = problem_of(&TEXT.replace("range(2, 3)", "range(2, 99999999999)"));
    assert!(problem.contains("99999999999 is no state"), "{problem}");
    let deep = "[".repeat(5000);
    assert!(problem_of(&deep).contains("nested more than"));
}

#[test]
fn texts_made_to_take_long_are_refused() {
    // In each of 31 brackets a text is read again, and in it 31 brackets that are never closed.
    let inner = format!("x {}{}", "{".repeat(31), "1,".repeat(20_000));
    let nested = format!("{}\"{inner}\"{}", "{".repeat(31), "}".repeat(31));
    for (text, found) in [(nested, "too many brackets"), ("Genotype(\n".repeat(5_000), "more than 4,000 cells")] {
        let problem = problem_of(&text);
        assert!(problem.contains(found), "{problem}");
    }
}

#[test]
fn cells_behind_a_name_of_other_letters_are_found() {
    let text = format!("é.Genotype(\nFIRST = {TEXT}");
    assert_eq!(read_cell(&text, Some("FIRST")).unwrap().genotype, expected());
}

#[test]
fn digits_of_an_escape_end_where_others_begin() {
    let text = format!("{{'a\\u1\u{fffd}aaa': {TEXT}}}");
    reads(&text);
}
