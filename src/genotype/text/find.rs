//! Where cells stand in a text: alone, in a log, or among the definitions of a `genotypes.py`.

use std::collections::HashMap;

use super::cells::{FIELDS, Interpreter};
use super::value::{Form, Misread, Reader, Value, line_of};
use super::{FORMS, checked};
use crate::genotype::error::GenotypeError;
use crate::genotype::genotype::Genotype;

/// A text in a text in a text: JSON that was made a JSON string, and once more.
const MAX_WRAPPINGS: usize = 3;
/// How often all of a text may be read. What looks like a cell and is none is read again from its next bracket on.
const MOST_READINGS: usize = 40;
/// Short texts may be read more often.
const FREE_BYTES: usize = 1 << 16;
/// More than the epochs of any log.
const MOST_CELLS: usize = 4_000;
/// A longer name is none.
const LONGEST_NAME: usize = 200;

/// A cell of a text.
#[derive(Debug)]
pub struct FoundCell {
    /// What the text calls it: the variable or the key that it is assigned to.
    pub name: Option<String>,
    /// Line where it stands, from 1.
    pub line: usize,
    /// The cell, or why it cannot be read.
    pub genotype: Result<Genotype, GenotypeError>,
}

/// All cells in `text`, in their order; at least one.
///
/// # Errors
/// [`GenotypeError::NoCell`] when there is none, with what was found; [`GenotypeError::Syntax`] of a literal that is
/// none; [`GenotypeError::TooMuch`] of a text made to take long.
pub fn find_cells(text: &str) -> Result<Vec<FoundCell>, GenotypeError> {
    let mut bytes_left = text.len().saturating_mul(MOST_READINGS).saturating_add(FREE_BYTES);
    find_in(text, MAX_WRAPPINGS, &mut bytes_left)
}

fn find_in(text: &str, wrappings: usize, bytes_left: &mut usize) -> Result<Vec<FoundCell>, GenotypeError> {
    *bytes_left = bytes_left.saturating_sub(text.len());
    let interpreter = Interpreter { text, order: field_order(text) };
    let mut search = Search { interpreter, cells: Vec::new(), failure: None, wrappings, bytes_left };
    match whole(text) {
        Ok(Some((name, value))) => search.take(name.as_deref(), &value),
        // A text that begins as a literal is meant as one.
        Err(error) if text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']) => {
            search.failure = Some(error);
        }
        _ => {}
    }
    if search.cells.is_empty() {
        search.scan(false);
    }
    if search.cells.is_empty() && search.failure.is_none() {
        search.scan(true);
    }
    if *search.bytes_left == 0 {
        return Err(GenotypeError::TooMuch { found: "too many brackets without a cell" });
    }
    if search.cells.len() >= MOST_CELLS {
        return Err(GenotypeError::TooMuch { found: "more than 4,000 cells" });
    }
    match (search.cells.is_empty(), search.failure) {
        (false, _) => Ok(search.cells),
        (true, Some(error)) => Err(error),
        (true, None) => Err(GenotypeError::NoCell { found: describe(text), forms: FORMS }),
    }
}

/// A text that is one literal, or one assignment of it.
fn whole(text: &str) -> Result<Option<(Option<String>, Value)>, GenotypeError> {
    let mut reader = Reader::at(text, 0);
    if reader.peek().is_none() {
        return Ok(None);
    }
    let misread = |misread: Misread| misread.in_text(text);
    let mut value = reader.value().map_err(misread)?;
    let mut name = None;
    if let Form::Name(variable) = &value.form
        && reader.take('=')
    {
        name = Some(variable.clone());
        value = reader.value().map_err(misread)?;
    }
    reader.take(';');
    Ok(reader.peek().is_none().then_some((name, value)))
}

struct Search<'a> {
    interpreter: Interpreter<'a>,
    cells: Vec<FoundCell>,
    /// Why the whole text is no literal, though it begins as one.
    failure: Option<GenotypeError>,
    wrappings: usize,
    /// That may still be read, of this text and those in it.
    bytes_left: &'a mut usize,
}

impl Search<'_> {
    /// Takes the cells that `value` is or holds.
    fn take(&mut self, name: Option<&str>, value: &Value) {
        if let Some(fields) = self.interpreter.cell(value) {
            self.push(name, value.at, fields.and_then(checked));
            return;
        }
        match &value.form {
            Form::Text(text) if self.wrappings > 0 => self.unwrap(name, text, value.at),
            Form::List(items) => items.iter().for_each(|item| self.take(name, item)),
            Form::Dict(entries) => {
                for (key, value) in entries {
                    let name = match &key.form {
                        Form::Text(key) | Form::Name(key) => Some(key.as_str()),
                        _ => name,
                    };
                    self.take(name, value);
                }
            }
            Form::Call { arguments, named, .. } => {
                arguments.iter().for_each(|argument| self.take(name, argument));
                named.iter().for_each(|(key, argument)| self.take(Some(key), argument));
            }
            _ => {}
        }
    }

    /// Takes the cells of a text within the text.
    fn unwrap(&mut self, name: Option<&str>, text: &str, at: usize) {
        if !text.contains(['(', '{']) {
            return;
        }
        if *self.bytes_left == 0 {
            return;
        }
        match find_in(text, self.wrappings - 1, self.bytes_left) {
            Ok(cells) => {
                for FoundCell { name: inner, genotype, .. } in cells {
                    self.push(inner.as_deref().or(name), at, genotype);
                }
            }
            Err(GenotypeError::NoCell { .. }) => {}
            Err(error) => self.push(name, at, Err(error)),
        }
    }

    fn push(&mut self, name: Option<&str>, at: usize, genotype: Result<Genotype, GenotypeError>) {
        if self.cells.len() < MOST_CELLS {
            let name = name.filter(|name| name.len() <= LONGEST_NAME).map(str::to_owned);
            self.cells.push(FoundCell { name, line: line_of(self.interpreter.text, at), genotype });
        }
    }

    /// Looks for cells anywhere; those in comments only with `in_comments`.
    fn scan(&mut self, in_comments: bool) {
        let text = self.interpreter.text;
        let mut comments = Comments::of(text);
        let mut position = 0;
        while let Some(start) = next_start(text, position) {
            if *self.bytes_left == 0 || self.cells.len() == MOST_CELLS {
                break;
            }
            position = start + text[start..].chars().next().map_or(1, char::len_utf8);
            if comments.hold(start) != in_comments || is_definition(text, start) {
                continue;
            }
            let is_call = !text[start..].starts_with('{');
            let mut reader = Reader::at(text, start);
            let read = reader.value();
            *self.bytes_left = self.bytes_left.saturating_sub(reader.position() - start);
            match read {
                Ok(value) => {
                    let before = self.cells.len();
                    self.take(assigned_to(text, start), &value);
                    if before < self.cells.len() || is_call {
                        position = reader.position().max(position);
                    }
                }
                Err(misread) if is_call && !in_comments => {
                    self.push(assigned_to(text, start), start, Err(misread.in_text(text)));
                }
                Err(_) => {}
            }
        }
        self.resolve_aliases();
    }

    /// `PDARTS = PDARTS_C10` gives a cell a second name.
    fn resolve_aliases(&mut self) {
        let text = self.interpreter.text;
        let mut known = HashMap::new();
        for (index, name) in self.cells.iter().enumerate().filter_map(|(index, cell)| Some((index, cell.name.clone()?)))
        {
            known.entry(name).or_insert(index);
        }
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let at = start;
            start += line.len();
            let Some((alias, name)) = line.split('#').next().unwrap_or_default().split_once('=') else { continue };
            let (alias, name) = (alias.trim(), name.trim());
            let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
            let named = known.get(name).map(|&index| &self.cells[index]);
            if let Some(Ok(genotype)) = named.map(|cell| &cell.genotype)
                && is_name(alias)
            {
                let genotype = Ok(genotype.clone());
                known.entry(alias.to_owned()).or_insert(self.cells.len());
                self.push(Some(alias), at, genotype);
                if self.cells.len() == MOST_CELLS {
                    return;
                }
            }
        }
    }
}

/// The next place at or after `from` where a cell could begin: `Genotype(` with what qualifies it, or a brace.
fn next_start(text: &str, from: usize) -> Option<usize> {
    let belongs = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let mut search = from;
    loop {
        let rest = text.get(search..)?;
        let offset = rest.find(['{', 'G'])?;
        let at = search + offset;
        if text[at..].starts_with('{') {
            return Some(at);
        }
        let after = text[at..].strip_prefix("Genotype").map(str::trim_start);
        if after.is_some_and(|after| after.starts_with('(')) {
            let word = text[..at]
                .rfind(|c| !belongs(c))
                .map_or(0, |end| end + text[end..].chars().next().map_or(1, char::len_utf8));
            if word >= from {
                return Some(word);
            }
        }
        search = at + 1;
    }
}

/// Where comments are in a text, asked from its start to its end.
struct Comments<'a> {
    rest: &'a str,
    /// Where `rest` begins.
    position: usize,
    quote: Option<char>,
    is_comment: bool,
}

impl<'a> Comments<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text, position: 0, quote: None, is_comment: false }
    }

    /// Whether a `#` begins a comment before the byte `at` in its line; `at` never goes back.
    fn hold(&mut self, at: usize) -> bool {
        let (passed, rest) = self.rest.split_at(at - self.position);
        (self.rest, self.position) = (rest, at);
        for c in passed.chars() {
            match (c, self.quote) {
                ('\n', _) => (self.quote, self.is_comment) = (None, false),
                _ if self.is_comment => {}
                ('#', None) => self.is_comment = true,
                ('\'' | '"', None) => self.quote = Some(c),
                (c, Some(open)) if c == open => self.quote = None,
                _ => {}
            }
        }
        self.is_comment
    }
}

/// Whether a class is defined here, rather than a cell made.
fn is_definition(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end();
    before.ends_with("class") || before.ends_with("def")
}

/// The variable or key before the `=` or `:` before `at`.
fn assigned_to(text: &str, at: usize) -> Option<&str> {
    let before = text[..at].trim_end_matches([' ', '\t']);
    let before = before.strip_suffix(['=', ':'])?.trim_end();
    // PDARTS: Genotype = Genotype(...)
    let before = before.strip_suffix("Genotype").and_then(|typed| typed.trim_end().strip_suffix(':')).unwrap_or(before);
    let before = before.trim_end().trim_end_matches(['\'', '"']);
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
        .map_or(0, |end| end + before[end..].chars().next().map_or(1, char::len_utf8));
    let name = &before[start..];
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

/// The fields in the order of the text's own `namedtuple`, if it defines one.
fn field_order(text: &str) -> Vec<String> {
    let definition = text.find("namedtuple(").and_then(|at| Reader::at(text, at).value().ok());
    let names: Option<Vec<String>> = definition.and_then(|definition| match definition.form {
        Form::Call { arguments, .. } => match &arguments.get(1)?.form {
            Form::Text(names) => Some(names.replace(',', " ").split_whitespace().map(str::to_owned).collect()),
            Form::List(names) => names
                .iter()
                .map(|name| match &name.form {
                    Form::Text(name) => Some(name.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        },
        _ => None,
    });
    let is_of_cells = |names: &Vec<String>| FIELDS.iter().all(|field| names.iter().any(|name| name == field));
    names.filter(is_of_cells).unwrap_or_else(|| FIELDS.map(str::to_owned).into())
}

/// What a text without a cell is.
fn describe(text: &str) -> String {
    const SHOWN: usize = 60;
    let start: String = text.trim_start_matches('\u{feff}').trim().chars().take(SHOWN).collect();
    if start.is_empty() {
        return "it is empty".to_owned();
    }
    let known = [
        ("|nor_conv", "it holds a cell of NAS-Bench-201, another search space"),
        ("|none~", "it holds a cell of NAS-Bench-201, another search space"),
        ("recurrent=", "it holds a recurrent cell"),
        ("<!DOCTYPE", "it is a web page"),
        ("<html", "it is a web page"),
    ];
    let known = known.iter().find(|(mark, _)| text.contains(mark)).map(|(_, found)| (*found).to_owned());
    known.unwrap_or_else(|| format!("it begins with `{}`", start.escape_debug()))
}
