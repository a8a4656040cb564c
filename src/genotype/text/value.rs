//! Literals of Python and JSON as a tree: numbers, texts, lists, tuples, dicts, and calls without calling them.
//!
//! Nothing is evaluated but sums of whole numbers, `range` and its relatives; what a name means is for the reader of the
//! tree to say.

use crate::genotype::error::GenotypeError;

/// Deeper than any cell; a text may nest without end.
const MAX_DEPTH: usize = 32;
/// No cell has so many states; a larger number is a slip, and `range` must not expand it.
pub(super) const MAX_STATE: i64 = 999;

/// A value and where its text begins.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Value {
    /// Byte in the text.
    pub at: usize,
    pub form: Form,
}

/// What a text says.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Form {
    Text(String),
    Number(f64),
    /// An identifier, with dots: `None`, `true`, `PDARTS`.
    Name(String),
    /// A list, a tuple or a set.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Call {
        function: String,
        arguments: Vec<Value>,
        named: Vec<(String, Value)>,
    },
}

impl Form {
    /// For messages: what a person would call it.
    pub fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("'{}'", text.chars().take(40).collect::<String>()),
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name.clone(),
            Self::List(_) => "a list".to_owned(),
            Self::Dict(_) => "a dict".to_owned(),
            Self::Call { function, .. } => format!("{function}(...)"),
        }
    }
}

/// Why a text is no value, before anybody has looked for the line: most are never told.
#[derive(Debug)]
pub(super) struct Misread {
    at: usize,
    problem: String,
}

impl Misread {
    /// The error with its place in `text`, which was read.
    pub fn in_text(self, text: &str) -> GenotypeError {
        error_at(text, self.at, self.problem)
    }
}

/// A text and how far it has been read.
pub(super) struct Reader<'a> {
    text: &'a str,
    position: usize,
    /// Where the token that was looked at last begins: the place that errors name.
    token: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Reads `text` from the byte `position`.
    pub fn at(text: &'a str, position: usize) -> Self {
        Self { text, position, token: position, depth: 0 }
    }

    /// The first byte that has not been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The value that comes next.
    ///
    /// # Errors
    /// The place, what was expected and what stands there.
    pub fn value(&mut self) -> Result<Value, Misread> {
        let mut value = self.operand()?;
        while let Some(sign @ ('+' | '-')) = self.peek() {
            let Form::Number(left) = value.form else { return Ok(value) };
            self.take(sign);
            let right = self.operand()?;
            let Form::Number(right) = right.form else { return Err(self.unexpected("a number")) };
            value.form = Form::Number(if sign == '+' { left + right } else { left - right });
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<Value, Misread> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("nested more than {MAX_DEPTH} deep")));
        }
        let next = self.peek();
        let at = self.token;
        let form = match next {
            Some('[') => Form::List(self.items('[', ']')?.0),
            Some('(') => match self.items('(', ')')? {
                // In parentheses, not a tuple.
                (mut items, false) if items.len() == 1 => items.remove(0).form,
                (items, _) => Form::List(items),
            },
            Some('{') => self.braces()?,
            Some(c) if c.is_ascii_digit() || c == '-' || c == '.' => self.number()?,
            Some(c) if closing_quote(c).is_some() => Form::Text(self.quoted()?),
            Some(c) if c.is_alphabetic() || c == '_' => self.name_or_call()?,
            _ => return Err(self.unexpected("a value")),
        };
        self.depth -= 1;
        Ok(Value { at, form })
    }

    /// Items between brackets, with an optional comma after the last; whether there was a comma.
    fn items(&mut self, open: char, close: char) -> Result<(Vec<Value>, bool), Misread> {
        self.require(open)?;
        let (mut items, mut has_comma) = (Vec::new(), false);
        while !self.take(close) {
            items.push(self.value()?);
            if self.take(',') {
                has_comma = true;
            } else if self.peek() != Some(close) {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
        Ok((items, has_comma))
    }

    /// A dict, or a set.
    fn braces(&mut self) -> Result<Form, Misread> {
        self.require('{')?;
        let (mut entries, mut items) = (Vec::new(), Vec::new());
        while !self.take('}') {
            let key = self.value()?;
            if self.take(':') {
                entries.push((key, self.value()?));
            } else {
                items.push(key);
            }
            if !self.take(',') && self.peek() != Some('}') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
        match (entries.is_empty(), items.is_empty()) {
            (false, false) => Err(self.error("a dict with entries that have no `:`".to_owned())),
            (true, false) => Ok(Form::List(items)),
            _ => Ok(Form::Dict(entries)),
        }
    }

    fn number(&mut self) -> Result<Form, Misread> {
        let digits = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        let number = digits.replace('_', "").parse::<f64>();
        number.map(Form::Number).map_err(|_| self.error(format!("{digits} is no number")))
    }

    fn name_or_call(&mut self) -> Result<Form, Misread> {
        let name = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        // u'text', as Python 2 prints it.
        if name.len() <= 2 && self.rest().starts_with(['\'', '"']) {
            return Ok(Form::Text(self.quoted()?));
        }
        if self.peek() != Some('(') {
            return Ok(Form::Name(name.to_owned()));
        }
        self.take('(');
        let (mut arguments, mut named) = (Vec::new(), Vec::new());
        while !self.take(')') {
            let value = self.value()?;
            match value.form {
                Form::Name(name) if self.take('=') => named.push((name, self.value()?)),
                _ => arguments.push(value),
            }
            if !self.take(',') && self.peek() != Some(')') {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
        Ok(Form::Call { function: name.to_owned(), arguments, named })
    }

    /// A text in quotes, also in those that word processors make of them, or in three.
    fn quoted(&mut self) -> Result<String, Misread> {
        let Some(open) = self.peek() else { return Err(self.unexpected("a text in quotes")) };
        let close = closing_quote(open).ok_or_else(|| self.unexpected("a text in quotes"))?;
        let triple = [close; 3].iter().collect::<String>();
        let is_triple = open == close && self.rest().starts_with(&triple);
        self.position += if is_triple { triple.len() } else { open.len_utf8() };
        let mut text = String::new();
        loop {
            if is_triple && self.rest().starts_with(&triple) {
                self.position += triple.len();
                return Ok(text);
            }
            match self.rest().chars().next() {
                Some(c) if c == close && !is_triple => {
                    self.position += c.len_utf8();
                    return Ok(text);
                }
                Some('\n') | None if !is_triple => {
                    return Err(self.error("a text without its closing quote".to_owned()));
                }
                None => return Err(self.error("a text without its closing quotes".to_owned())),
                Some('\\') => text.extend(self.escape()),
                Some(c) => {
                    self.position += c.len_utf8();
                    text.push(c);
                }
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<char> {
        self.position += 1;
        let mut rest = self.rest().chars();
        let escaped = rest.next()?;
        self.position += escaped.len_utf8();
        let digits = match escaped {
            'n' => return Some('\n'),
            't' => return Some('\t'),
            'r' => return Some('\r'),
            '\n' => return None,
            'x' => 2,
            'u' => 4,
            other => return Some(other),
        };
        let code: String = rest.take(digits).take_while(char::is_ascii_hexdigit).collect();
        self.position += code.len();
        u32::from_str_radix(&code, 16).ok().and_then(char::from_u32)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    /// The next character that is neither white space nor in a comment.
    pub fn peek(&mut self) -> Option<char> {
        loop {
            // A byte-order mark and Windows' line ends are white space; a backslash goes on in the next line.
            self.take_while(|c| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'));
            match self.rest().chars().next() {
                Some('#') => drop(self.take_while(|c| c != '\n')),
                Some('\\') if self.rest()[1..].trim_start_matches(' ').starts_with(['\n', '\r']) => self.position += 1,
                next => {
                    self.token = self.position;
                    return next;
                }
            }
        }
    }

    /// Reads `wanted` if it comes next.
    pub fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    fn require(&mut self, wanted: char) -> Result<(), Misread> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{wanted}`")))
    }

    pub fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let start = self.rest();
        let end = start.find(|c| !belongs(c)).unwrap_or(start.len());
        self.position += end;
        &start[..end]
    }

    fn unexpected(&mut self, expected: &str) -> Misread {
        let found = self.peek().map_or("the end".to_owned(), |c| format!("`{c}`"));
        self.error(format!("expected {expected}, found {found}"))
    }

    /// An error at the token that was looked at last.
    fn error(&self, problem: String) -> Misread {
        Misread { at: self.token, problem }
    }
}

/// An error at the byte `at` of `text`.
pub(super) fn error_at(text: &str, at: usize, problem: String) -> GenotypeError {
    let read = &text[..at];
    let line_start = read.rfind('\n').map_or(0, |newline| newline + 1);
    GenotypeError::Syntax { line: line_of(text, at), column: read[line_start..].chars().count() + 1, problem }
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    memchr::memchr_iter(b'\n', &text.as_bytes()[..at]).count() + 1
}

fn closing_quote(open: char) -> Option<char> {
    match open {
        '\'' | '"' => Some(open),
        '\u{2018}' | '\u{2019}' => Some('\u{2019}'),
        '\u{201c}' | '\u{201d}' => Some('\u{201d}'),
        _ => None,
    }
}
