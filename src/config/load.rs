//! From a file and `--set` overrides to a validated configuration.
//!
//! The serialised defaults are the schema: they name every key and show its type. A source (the
//! file, then each override) is first checked against them, which finds unknown keys and wrong types
//! where they stand; then its values replace those resolved so far, one by one, so that a value that
//! its type refuses is known by its key.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::document::join;
use super::error::OtherKinds;
use super::home::{NoHome, expand_home};
use super::{CompareConfig, ConfigError, ConfigKind, Origin, SearchConfig, Settings, TrainConfig};

/// Least similarity, of 0 to 1, at which a known key is offered for an unknown one.
const MIN_SIMILARITY: f64 = 0.4;

/// A longer key is no slip for a known one.
const LONGEST_KEY: usize = 100;

/// No configuration is as long: a device or a data set was named.
const MOST_BYTES: u64 = 1 << 20;

/// [`Settings::load`].
pub(super) fn load<C: Settings>(path: &Path, overrides: &[String]) -> Result<C, ConfigError> {
    let text = read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let mut loader = Loader::<C>::new()?;
    loader.read_file(path, &text)?;
    loader.apply_overrides(overrides)?;
    loader.finish(Some(path))
}

/// The text of a configuration.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    decode(bytes).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > MOST_BYTES {
        return Err("longer than 1 MiB, no configuration".to_owned());
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16; save it as UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        format!("line {} is not UTF-8; save it as UTF-8", line_after(before))
    })
}

/// The line, from 1, that begins or goes on after `before`.
fn line_after(before: &[u8]) -> usize {
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// [`Settings::from_overrides`].
pub(super) fn from_overrides<C: Settings>(overrides: &[String]) -> Result<C, ConfigError> {
    let mut loader = Loader::<C>::new()?;
    loader.apply_overrides(overrides)?;
    loader.finish(None)
}

/// What values are read from.
enum Source<'a> {
    File { path: &'a Path, text: &'a str },
    Override(&'a str),
}

impl Source<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        match self {
            Self::File { path, text } => {
                let before = &text.as_bytes()[..span.start.min(text.len())];
                Origin::File { path: path.to_path_buf(), line: Some(line_after(before)) }
            }
            Self::Override(assignment) => Origin::Override((*assignment).to_owned()),
        }
    }
}

struct Loader<C> {
    /// The serialised defaults.
    schema: Value,
    /// The serialised configuration so far.
    resolved: Value,
    config: C,
    /// Where each stated key was last stated.
    origins: HashMap<String, Origin>,
    /// The override since which the configuration violates a relation that it did not violate before.
    violator: Option<Origin>,
}

impl<C: Settings> Loader<C> {
    fn new() -> Result<Self, ConfigError> {
        let config = C::default();
        let schema = Value::try_from(&config)?;
        Ok(Self { resolved: schema.clone(), schema, config, origins: HashMap::new(), violator: None })
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let source = Source::File { path, text };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            origin: source.origin(error.span().unwrap_or_default()),
            message: error.message().replace('\n', ", "),
        })?;
        let root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
        let is_of_other_kind = || ConfigKind::of_text(text).is_some_and(|kind| kind.command() != C::COMMAND);
        self.merge("", &root, &source).map_err(|error| match error {
            ConfigError::UnknownKey { origin, key, other_kinds: Some(kinds), .. } if is_of_other_kind() => {
                ConfigError::OtherKind { origin, key, kinds }
            }
            error => error,
        })
    }

    fn apply_overrides(&mut self, assignments: &[String]) -> Result<(), ConfigError> {
        let mut was_valid = self.config.validate().is_ok();
        for assignment in assignments {
            self.apply_override(assignment)?;
            let is_valid = self.config.validate().is_ok();
            if is_valid {
                self.violator = None;
            } else if was_valid {
                self.violator = Some(Origin::Override(assignment.clone()));
            }
            was_valid = is_valid;
        }
        Ok(())
    }

    fn apply_override(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let source = Source::Override(assignment);
        let (key, text) = match assignment.split_once('=') {
            Some((key, text)) if !key.trim().is_empty() => (key.trim(), text.trim()),
            _ => {
                let origin = source.origin(0..0);
                return Err(ConfigError::NoAssignment { origin, example: C::EXAMPLE });
            }
        };
        let node =
            schema_node(&self.schema, key).ok_or_else(|| unknown_key::<C>(&self.schema, key, source.origin(0..0)))?;
        // A string stays one where it could be read as something else: `data.dir=2024`.
        let value = match DeValue::parse(text) {
            Ok(value) if !node.is_str() || value.get_ref().is_str() => value,
            _ => Spanned::new(0..text.len(), DeValue::String(text.into())),
        };
        self.merge(key, &value, &source)
    }

    fn finish(self, path: Option<&Path>) -> Result<C, ConfigError> {
        self.config.validate().map_err(|violation| {
            let stated = self.origins.get(&violation.key).cloned();
            let is_override = matches!(stated, Some(Origin::Override(_)));
            let file = || path.map(|path| Origin::File { path: path.to_owned(), line: None });
            // What an override made of a relation is not the fault of the file that states the other key.
            let origin = if is_override { stated } else { self.violator.or(stated) };
            match origin.or_else(file) {
                Some(origin) => ConfigError::Invalid { origin, violation },
                None => ConfigError::Violation(violation),
            }
        })?;
        Ok(self.config)
    }

    /// Checks `value`, then lets it replace what `key` holds.
    fn merge(&mut self, key: &str, value: &Spanned<DeValue>, source: &Source) -> Result<(), ConfigError> {
        let node = schema_node(&self.schema, key)
            .ok_or_else(|| unknown_key::<C>(&self.schema, key, source.origin(value.span())))?;
        let mut checker =
            Checker { schema: &self.schema, source, origins: &mut self.origins, unknown_key: unknown_key::<C> };
        checker.check(node, key, value)?;
        self.assign(key, value, source)
    }

    /// Replaces the values below `key`; a table leaves the keys that it does not state.
    fn assign(&mut self, key: &str, value: &Spanned<DeValue>, source: &Source) -> Result<(), ConfigError> {
        if let DeValue::Table(table) = value.get_ref() {
            for (name, child) in table {
                self.assign(&join(key, name.get_ref()), child, source)?;
            }
            return Ok(());
        }
        let origin = source.origin(value.span());
        let Some(slot) = resolved_node(&mut self.resolved, key) else {
            let key = key.to_owned();
            return Err(ConfigError::NoElement { origin, key });
        };
        let refused = |error: toml::de::Error| ConfigError::WrongValue {
            origin: origin.clone(),
            key: key.to_owned(),
            message: error.message().replace('\n', ", "),
        };
        let mut stated = Value::deserialize(ValueDeserializer::from(value.clone())).map_err(refused)?;
        if is_path::<C>(key) {
            expand_paths(&mut stated).map_err(|no_home| ConfigError::WrongValue {
                origin: origin.clone(),
                key: key.to_owned(),
                message: no_home.to_string(),
            })?;
        }
        *slot = stated;
        self.config = C::deserialize(self.resolved.clone()).map_err(refused)?;
        Ok(())
    }
}

/// Whether `key` holds a path or several.
fn is_path<C: Settings>(key: &str) -> bool {
    C::SECTIONS.iter().any(|section| {
        section.keys().any(|(name, _, kind)| kind.contains("PathBuf") && join(section.path, name) == key)
    })
}

/// Puts the home folder in the place of `~`.
fn expand_paths(value: &mut Value) -> Result<(), NoHome> {
    match value {
        Value::String(path) => *path = expand_home(path)?,
        Value::Array(paths) => paths.iter_mut().try_for_each(expand_paths)?,
        _ => {}
    }
    Ok(())
}

/// Compares what a source states with the names and types of the schema.
struct Checker<'a> {
    schema: &'a Value,
    source: &'a Source<'a>,
    /// Where each stated key was last stated; grows by the keys that are checked.
    origins: &'a mut HashMap<String, Origin>,
    unknown_key: fn(&Value, &str, Origin) -> ConfigError,
}

impl Checker<'_> {
    fn check(&mut self, node: &Value, key: &str, value: &Spanned<DeValue>) -> Result<(), ConfigError> {
        let origin = self.source.origin(value.span());
        if let DeValue::Integer(found) = value.get_ref()
            && i64::from_str_radix(found.as_str(), found.radix()).is_err()
        {
            let end = if found.as_str().starts_with('-') { i64::MIN } else { i64::MAX };
            let message = format!("{found} is beyond {end}, where the integers of TOML end");
            return Err(ConfigError::WrongValue { origin, key: key.to_owned(), message });
        }
        match (node, value.get_ref()) {
            (Value::Table(known), DeValue::Table(stated)) => {
                for (name, child) in stated {
                    let key = join(key, name.get_ref());
                    let node = known
                        .get(name.get_ref().as_ref())
                        .ok_or_else(|| (self.unknown_key)(self.schema, &key, self.source.origin(name.span())))?;
                    self.check(node, &key, child)?;
                }
            }
            (Value::Array(known), DeValue::Array(stated)) => {
                if let Some(node) = known.first() {
                    for (index, element) in stated.iter().enumerate() {
                        let key = join(key, &index.to_string());
                        self.check(node, &key, element)?;
                        self.check_complete(node, &key, element)?;
                    }
                }
            }
            (Value::Integer(_), DeValue::Integer(found)) if !found.as_str().starts_with('-') => {}
            (Value::Float(_), DeValue::Float(_) | DeValue::Integer(_))
            | (Value::String(_), DeValue::String(_))
            | (Value::Boolean(_), DeValue::Boolean(_)) => {}
            (_, found) => {
                return Err(ConfigError::WrongType {
                    origin,
                    key: key.to_owned(),
                    expected: describe_type(node),
                    found: describe(found),
                });
            }
        }
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }

    /// A table in a list has no defaults to fall back on: it states every key.
    fn check_complete(&self, node: &Value, key: &str, element: &Spanned<DeValue>) -> Result<(), ConfigError> {
        let (Value::Table(known), DeValue::Table(stated)) = (node, element.get_ref()) else {
            return Ok(());
        };
        match known.keys().find(|name| !stated.contains_key(name.as_str())) {
            None => Ok(()),
            Some(missing) => Err(ConfigError::MissingKey {
                origin: self.source.origin(element.span()),
                key: key.to_owned(),
                missing: missing.clone(),
            }),
        }
    }
}

fn describe_type(node: &Value) -> &'static str {
    match node {
        Value::Integer(_) => "an unsigned integer",
        Value::Float(_) => "a number",
        Value::String(_) => "a string",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
        Value::Datetime(_) => "a date",
    }
}

fn describe(value: &DeValue) -> String {
    match value {
        DeValue::Integer(integer) => format!("the integer {integer}"),
        DeValue::Float(float) => format!("the number {float}"),
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Datetime(_) => "a date".to_owned(),
    }
}

/// The part of the schema that describes `key`; every index of a list stands for its first element.
fn schema_node<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    path_of(key).try_fold(schema, |node, name| match name.parse::<usize>() {
        Ok(_) => node.get(0),
        Err(_) => node.get(name),
    })
}

/// The value that `key` holds.
fn resolved_node<'a>(resolved: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    path_of(key).try_fold(resolved, |node, name| match name.parse::<usize>() {
        Ok(index) => node.get_mut(index),
        Err(_) => node.get_mut(name),
    })
}

/// The names along `key`; none for the root.
fn path_of(key: &str) -> impl Iterator<Item = &str> {
    let names = (!key.is_empty()).then(|| key.split('.'));
    names.into_iter().flatten()
}

fn unknown_key<C: Settings>(schema: &Value, key: &str, origin: Origin) -> ConfigError {
    let section = key.split('.').next().unwrap_or_default();
    let (key, nearest, other_kinds) = (key.to_owned(), nearest_key(schema, key), other_kinds(schema, key));
    match other_kinds {
        Some(kinds) if nearest.is_none() || schema.get(section).is_none() => {
            ConfigError::OtherKind { origin, key, kinds }
        }
        other_kinds => ConfigError::UnknownKey { origin, key, nearest, other_kinds, show_command: C::SHOW_COMMAND },
    }
}

/// The other kinds of configuration that have `key`, or its section where `schema` does not.
fn other_kinds(schema: &Value, key: &str) -> Option<OtherKinds> {
    fn defaults<C: Settings>() -> Option<Value> {
        Value::try_from(C::default()).ok()
    }
    let [search, training, experiment] =
        [defaults::<SearchConfig>()?, defaults::<TrainConfig>()?, defaults::<CompareConfig>()?];
    let section = key.split('.').next().unwrap_or_default();
    let has = |other: &Value| {
        schema_node(other, key).is_some() || (schema.get(section).is_none() && other.get(section).is_some())
    };
    match (has(&search), has(&training)) {
        (true, true) => Some(OtherKinds::SearchOrTraining),
        (true, false) => Some(OtherKinds::Search),
        (false, true) => Some(OtherKinds::Training),
        (false, false) => has(&experiment).then_some(OtherKinds::Experiment),
    }
}

/// The known key most similar to an unknown one, by its whole path and by its last name.
fn nearest_key(schema: &Value, unknown: &str) -> Option<String> {
    if unknown.len() > LONGEST_KEY {
        return None;
    }
    let index = unknown.split('.').find(|name| name.parse::<usize>().is_ok());
    let mut known = Vec::new();
    collect_keys(schema, "", index.unwrap_or("0"), &mut known);

    let last_name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let similarity = |key: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, unknown);
        let last = strsim::normalized_damerau_levenshtein(&last_name(key), &last_name(unknown));
        (whole + last) / 2.0
    };
    known
        .into_iter()
        .map(|key| (similarity(&key), key))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, key)| key)
}

/// Every key of the schema, sections included; lists of tables with the one `index`.
fn collect_keys(node: &Value, key: &str, index: &str, keys: &mut Vec<String>) {
    if !key.is_empty() {
        keys.push(key.to_owned());
    }
    match node {
        Value::Table(table) => {
            for (name, child) in table {
                collect_keys(child, &join(key, name), index, keys);
            }
        }
        Value::Array(elements) => {
            if let Some(child @ Value::Table(_)) = elements.first() {
                collect_keys(child, &join(key, index), index, keys);
            }
        }
        _ => {}
    }
}
