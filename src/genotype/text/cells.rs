//! From a literal to a cell: which of its parts are the edges and which the output.

use super::nni;
use super::value::{Form, MAX_STATE, Value, error_at};
use crate::genotype::error::GenotypeError;
use crate::genotype::genotype::Fields;
use crate::genotype::operation::Operation;

/// The fields in the order of the public codes' tuple.
pub(super) const FIELDS: [&str; 4] = ["normal", "normal_concat", "reduce", "reduce_concat"];

/// Reads values of one text.
pub(super) struct Interpreter<'a> {
    /// For the places that errors name.
    pub text: &'a str,
    /// What the arguments without a name are, in their order.
    pub order: Vec<String>,
}

impl Interpreter<'_> {
    /// The cell that `value` is; `None` when it is something else.
    ///
    /// # Errors
    /// When it is meant as a cell and cannot be read.
    pub fn cell(&self, value: &Value) -> Option<Result<Fields, GenotypeError>> {
        match &value.form {
            Form::Call { function, arguments, named } => {
                let function = function.rsplit('.').next().unwrap_or_default();
                let is_dict = matches!(function, "dict" | "OrderedDict" | "defaultdict");
                if !is_dict && !function.ends_with("Genotype") && !named.iter().any(|(name, _)| name == "normal") {
                    return None;
                }
                let mut entries: Vec<(String, &Value)> = Vec::new();
                if is_dict {
                    entries.extend(arguments.iter().flat_map(pairs));
                } else {
                    entries.extend(self.order.iter().cloned().zip(arguments));
                }
                entries.extend(named.iter().map(|(name, value)| (name.clone(), value)));
                if is_dict && !looks_like_cell(&entries) {
                    return None;
                }
                Some(self.fields(value.at, &entries, !is_dict))
            }
            Form::Dict(_) => {
                let entries = pairs(value);
                if let Some(fields) = nni::cell(self, &entries) {
                    return Some(fields);
                }
                looks_like_cell(&entries).then(|| self.fields(value.at, &entries, false))
            }
            _ => None,
        }
    }

    /// `strict`: Python itself would refuse other fields.
    fn fields(&self, at: usize, entries: &[(String, &Value)], strict: bool) -> Result<Fields, GenotypeError> {
        let error = |at, problem| Err(error_at(self.text, at, problem));
        let mut found: [Option<&Value>; 4] = [None; 4];
        let mut unknown = None;
        for (name, value) in entries {
            match FIELDS.iter().position(|field| field == name) {
                Some(index) if found[index].replace(value).is_some() => {
                    return error(value.at, format!("`{name}` is given twice"));
                }
                Some(_) => {}
                None => unknown = unknown.or(Some((name, value.at))),
            }
        }
        let is_missing = found.iter().any(Option::is_none);
        if let Some((name, at)) = unknown.filter(|_| is_missing || strict) {
            return error(at, format!("unknown field `{name}` (expected {})", FIELDS.join(", ")));
        }
        if let Some(index) = found.iter().position(Option::is_none) {
            return error(at, format!("`{}` is missing", FIELDS[index]));
        }
        let [Some(normal), Some(normal_concat), Some(reduce), Some(reduce_concat)] = found else {
            return error(at, "a field is missing".to_owned());
        };
        Ok(Fields {
            normal: self.edges(normal)?,
            normal_concat: self.states(normal_concat)?,
            reduce: self.edges(reduce)?,
            reduce_concat: self.states(reduce_concat)?,
        })
    }

    /// Edges in one list, or in a list for each node.
    fn edges(&self, value: &Value) -> Result<Vec<(Operation, usize)>, GenotypeError> {
        let items = self.list(value, "a list of edges")?;
        let mut edges = Vec::new();
        for item in items {
            match self.list(item, "an edge such as ('sep_conv_3x3', 0)")?.as_slice() {
                [operation, source] if !is_list(operation) => edges.push(self.edge(operation, source)?),
                nested if nested.iter().all(|edge| is_list(edge)) && !nested.is_empty() => {
                    for edge in nested {
                        match self.list(edge, "an edge such as ('sep_conv_3x3', 0)")?.as_slice() {
                            [operation, source] => edges.push(self.edge(operation, source)?),
                            other => return Err(self.no_edge(edge, other.len())),
                        }
                    }
                }
                other => return Err(self.no_edge(item, other.len())),
            }
        }
        Ok(edges)
    }

    fn no_edge(&self, value: &Value, parts: usize) -> GenotypeError {
        let problem = format!(
            "an edge of {parts} parts (expected an operation and the state that it reads, as in ('sep_conv_3x3', 0))"
        );
        error_at(self.text, value.at, problem)
    }

    /// An operation and a state, also the other way round.
    fn edge(&self, first: &Value, second: &Value) -> Result<(Operation, usize), GenotypeError> {
        match (&first.form, &second.form) {
            (Form::Number(_), Form::Text(_) | Form::Name(_)) => Ok((self.operation(second)?, self.state(first)?)),
            _ => Ok((self.operation(first)?, self.state(second)?)),
        }
    }

    /// An operation's name, also where a shell has taken its quotes.
    pub fn operation(&self, value: &Value) -> Result<Operation, GenotypeError> {
        let (Form::Text(name) | Form::Name(name)) = &value.form else {
            let problem = format!("expected an operation in quotes, found {}", value.form.describe());
            return Err(error_at(self.text, value.at, problem));
        };
        name.trim().parse().map_err(|error: GenotypeError| error_at(self.text, value.at, error.to_string()))
    }

    /// `range(2, 6)`, `list(...)` of one, `np.arange(2, 6)`, `array([2, 3])` or a sequence of states.
    fn states(&self, value: &Value) -> Result<Vec<usize>, GenotypeError> {
        if let Form::Call { function, arguments, .. } = &value.form {
            match (function.rsplit('.').next().unwrap_or_default(), arguments.as_slice()) {
                ("range" | "arange" | "xrange", [end]) => return Ok((0..self.state(end)?).collect()),
                ("range" | "arange" | "xrange", [start, end]) => {
                    return Ok((self.state(start)?..self.state(end)?).collect());
                }
                ("list" | "tuple" | "sorted" | "set" | "frozenset" | "array" | "tensor", [states, ..]) => {
                    return self.states(states);
                }
                _ => {}
            }
        }
        self.list(value, "`range(2, 6)` or a list of states")?.into_iter().map(|state| self.state(state)).collect()
    }

    /// A whole number, also as numpy, JSON of other languages or a cautious writer print it.
    pub fn state(&self, value: &Value) -> Result<usize, GenotypeError> {
        let number = match &value.form {
            Form::Number(number) => Some(*number),
            Form::Text(text) => text.trim().parse().ok(),
            Form::Call { function, arguments, .. } => match (function.as_str(), arguments.as_slice()) {
                ("range" | "list", _) => None,
                (_, [state]) => return self.state(state),
                _ => None,
            },
            // A list of one, as some exports have it.
            Form::List(states) if states.len() == 1 => return self.state(&states[0]),
            _ => None,
        };
        let Some(number) = number else {
            let problem = format!("expected the number of a state, found {}", value.form.describe());
            return Err(error_at(self.text, value.at, problem));
        };
        if number.fract() == 0.0 && (0.0..=MAX_STATE as f64).contains(&number) {
            return Ok(number as usize);
        }
        Err(error_at(self.text, value.at, format!("{number} is no state (the largest is {MAX_STATE})")))
    }

    fn list<'v>(&self, value: &'v Value, expected: &str) -> Result<Vec<&'v Value>, GenotypeError> {
        match &value.form {
            Form::List(items) => Ok(items.iter().collect()),
            Form::Call { function, arguments, .. } if is_sequence(function) => match arguments.as_slice() {
                [] => Ok(Vec::new()),
                [inner, ..] => self.list(inner, expected),
            },
            // A dict of nodes: its values in their order.
            Form::Dict(entries) if !entries.is_empty() => Ok(entries.iter().map(|(_, value)| value).collect()),
            other => Err(error_at(self.text, value.at, format!("expected {expected}, found {}", other.describe()))),
        }
    }
}

fn is_sequence(function: &str) -> bool {
    matches!(function.rsplit('.').next(), Some("list" | "tuple" | "array"))
}

fn is_list(value: &Value) -> bool {
    match &value.form {
        Form::List(_) => true,
        Form::Call { function, .. } => is_sequence(function),
        _ => false,
    }
}

/// The entries of a dict, or of a list of pairs, that have texts as keys; `reduction` is our own word for `reduce`.
pub(super) fn pairs(value: &Value) -> Vec<(String, &Value)> {
    let entry = |key: &Value, value| match &key.form {
        Form::Text(name) | Form::Name(name) => Some((name.replace("reduction", "reduce"), value)),
        _ => None,
    };
    match &value.form {
        Form::Dict(entries) => entries.iter().filter_map(|(key, value)| entry(key, value)).collect(),
        Form::List(items) => items
            .iter()
            .filter_map(|item| match &item.form {
                Form::List(pair) if pair.len() == 2 => entry(&pair[0], &pair[1]),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether a dict with these keys is meant as a cell.
fn looks_like_cell(entries: &[(String, &Value)]) -> bool {
    FIELDS.iter().filter(|field| entries.iter().any(|(name, _)| name == *field)).count() >= 2
}
