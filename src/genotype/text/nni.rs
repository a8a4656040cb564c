//! The architectures that NNI exports for DARTS, as flat dicts.
//!
//! Version 2 and 3: `{"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": 0, ...}`, where 2 is the node's state and 0
//! its first edge. Version 1: `{"normal_n2_p0": "sepconv3x3", "normal_n2_switch": ["normal_n2_p0", ...], ...}`, where
//! p0 reads state 0. Cells output all of their nodes.

use std::collections::HashMap;

use super::cells::Interpreter;
use super::value::{Form, Value, error_at};
use crate::genotype::cell::NUM_INPUTS;
use crate::genotype::error::GenotypeError;
use crate::genotype::genotype::{EDGES_PER_NODE, Fields};
use crate::genotype::operation::Operation;

type Edges = Vec<(Operation, usize)>;

/// Version 1's names.
const OPERATIONS: [(&str, Operation); 8] = [
    ("maxpool", Operation::MaxPool3x3),
    ("avgpool", Operation::AvgPool3x3),
    ("skipconnect", Operation::SkipConnect),
    ("sepconv3x3", Operation::SepConv3x3),
    ("sepconv5x5", Operation::SepConv5x5),
    ("dilconv3x3", Operation::DilConv3x3),
    ("dilconv5x5", Operation::DilConv5x5),
    ("none", Operation::None),
];

/// The cell in a dict of either version; `None` when it is another dict.
pub(super) fn cell(interpreter: &Interpreter, entries: &[(String, &Value)]) -> Option<Result<Fields, GenotypeError>> {
    let has = |key: &str| entries.iter().any(|(name, _)| name == key);
    let edges: fn(&Interpreter, &Lookup, &str) -> Result<Edges, GenotypeError> = match () {
        () if has("normal/op_2_0") => newer,
        () if has("normal_n2_switch") => older,
        () => return None,
    };
    // The first of several stays.
    let find: Lookup = entries.iter().rev().map(|(name, value)| (name.as_str(), *value)).collect();
    let both = || Ok((edges(interpreter, &find, "normal")?, edges(interpreter, &find, "reduce")?));
    Some(both().map(|(normal, reduce)| Fields {
        normal_concat: nodes(&normal),
        reduce_concat: nodes(&reduce),
        normal,
        reduce,
    }))
}

type Lookup<'v> = HashMap<&'v str, &'v Value>;

fn nodes(edges: &Edges) -> Vec<usize> {
    (NUM_INPUTS..NUM_INPUTS + edges.len() / EDGES_PER_NODE).collect()
}

fn newer(interpreter: &Interpreter, find: &Lookup, cell: &str) -> Result<Edges, GenotypeError> {
    let mut edges = Vec::new();
    for state in NUM_INPUTS.. {
        for edge in 0..EDGES_PER_NODE {
            let Some(operation) = find.get(format!("{cell}/op_{state}_{edge}").as_str()) else { return Ok(edges) };
            let key = format!("{cell}/input_{state}_{edge}");
            let source = find
                .get(key.as_str())
                .ok_or_else(|| error_at(interpreter.text, operation.at, format!("`{key}` is missing")))?;
            edges.push((interpreter.operation(operation)?, interpreter.state(source)?));
        }
    }
    Ok(edges)
}

fn older(interpreter: &Interpreter, find: &Lookup, cell: &str) -> Result<Edges, GenotypeError> {
    let mut edges = Vec::new();
    for state in NUM_INPUTS.. {
        let Some(switch) = find.get(format!("{cell}_n{state}_switch").as_str()) else { break };
        let Form::List(inputs) = &switch.form else {
            let problem = format!("expected a list of inputs, found {}", switch.form.describe());
            return Err(error_at(interpreter.text, switch.at, problem));
        };
        for input in inputs {
            let source = match &input.form {
                Form::Text(name) => name.rsplit("_p").next().and_then(|source| source.parse().ok()),
                _ => interpreter.state(input).ok(),
            };
            let source: usize = source.ok_or_else(|| {
                let problem =
                    format!("expected an input such as \"{cell}_n{state}_p0\", found {}", input.form.describe());
                error_at(interpreter.text, input.at, problem)
            })?;
            let key = format!("{cell}_n{state}_p{source}");
            let value = find
                .get(key.as_str())
                .ok_or_else(|| error_at(interpreter.text, input.at, format!("`{key}` is missing")))?;
            edges.push((operation(interpreter, value)?, source));
        }
    }
    Ok(edges)
}

fn operation(interpreter: &Interpreter, value: &Value) -> Result<Operation, GenotypeError> {
    let name = match &value.form {
        Form::Text(name) => Some(name.as_str()),
        Form::List(items) => match items.as_slice() {
            [Value { form: Form::Text(name), .. }] => Some(name.as_str()),
            _ => None,
        },
        _ => None,
    };
    let known = name.and_then(|name| OPERATIONS.iter().find(|(known, _)| *known == name));
    known.map_or_else(|| interpreter.operation(value), |(_, operation)| Ok(*operation))
}
