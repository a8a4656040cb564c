//! Genotypes as Python text: `Genotype(normal=[('sep_conv_3x3', 0), ...], ...)`.
//!
//! This is how the field's public codes print and store cells, so it is what people paste. The
//! reader also takes what stands around such text in those codes: a name before it
//! (`PDARTS = Genotype(...)`), comments, trailing commas, and a concatenation written as
//! `range(2, 6)`, `list(range(2, 6))`, a list or a tuple.

use std::fmt;
use std::str::Chars;

use super::error::GenotypeError;
use super::genotype::{Fields, Genotype};
use super::operation::Operation;

/// No cell has so many states; a larger number is a slip, and `range` must not expand it.
const MAX_STATE: usize = 999;

impl fmt::Display for Genotype {
    /// The Python text, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Genotype(normal={}, normal_concat={}, reduce={}, reduce_concat={})",
            Edges(&self.normal),
            Concat(&self.normal_concat),
            Edges(&self.reduce),
            Concat(&self.reduce_concat)
        )
    }
}

struct Edges<'a>(&'a [(Operation, usize)]);

impl fmt::Display for Edges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |(operation, source): &(Operation, usize)| format!("('{operation}', {source})");
        let pairs: Vec<String> = self.0.iter().map(pair).collect();
        write!(f, "[{}]", pairs.join(", "))
    }
}

struct Concat<'a>(&'a [usize]);

impl fmt::Display for Concat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [first, .., last] if self.0.iter().copied().eq(*first..=*last) => {
                write!(f, "range({first}, {})", last + 1)
            }
            states => write!(f, "{states:?}"),
        }
    }
}

/// Reads Python text, without checking the cells.
///
/// # Errors
/// [`GenotypeError::Syntax`] with the place, what was expected and what stands there.
pub(super) fn parse(text: &str) -> Result<Fields, GenotypeError> {
    let mut reader = Reader { text, rest: text.chars(), token: 0 };
    let mut name = reader.identifier("`Genotype(`")?;
    if name != "Genotype" && reader.take('=') {
        name = reader.identifier("`Genotype(`")?;
    }
    if name != "Genotype" {
        return Err(reader.error(format!("expected `Genotype(`, found `{name}`")));
    }
    let fields = reader.arguments()?;
    match reader.peek() {
        None => Ok(fields),
        Some(_) => Err(reader.unexpected("nothing after `Genotype(...)`")),
    }
}

/// The text and how far it has been read.
struct Reader<'a> {
    text: &'a str,
    /// What has not been read.
    rest: Chars<'a>,
    /// Where the token that was looked at last begins: the place that errors name.
    token: usize,
}

impl<'a> Reader<'a> {
    /// `(normal=..., normal_concat=..., reduce=..., reduce_concat=...)`, in any order.
    fn arguments(&mut self) -> Result<Fields, GenotypeError> {
        let (mut normal, mut normal_concat, mut reduce, mut reduce_concat) = (None, None, None, None);
        self.require('(')?;
        while !self.take(')') {
            let name = self.identifier("`normal=`, `normal_concat=`, `reduce=` or `reduce_concat=`")?;
            self.require('=')?;
            let repeated = match name {
                "normal" => normal.replace(self.sequence(Self::edge)?).is_some(),
                "normal_concat" => normal_concat.replace(self.concat()?).is_some(),
                "reduce" => reduce.replace(self.sequence(Self::edge)?).is_some(),
                "reduce_concat" => reduce_concat.replace(self.concat()?).is_some(),
                _ => {
                    return Err(self.error(format!(
                        "unknown field `{name}` (expected normal, normal_concat, reduce, reduce_concat)"
                    )));
                }
            };
            if repeated {
                return Err(self.error(format!("`{name}` is given twice")));
            }
            if !self.take(',') && self.peek() != Some(')') {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
        let missing = |name| self.error(format!("`{name}` is missing"));
        Ok(Fields {
            normal: normal.ok_or_else(|| missing("normal"))?,
            normal_concat: normal_concat.ok_or_else(|| missing("normal_concat"))?,
            reduce: reduce.ok_or_else(|| missing("reduce"))?,
            reduce_concat: reduce_concat.ok_or_else(|| missing("reduce_concat"))?,
        })
    }

    /// `('sep_conv_3x3', 0)`.
    fn edge(&mut self) -> Result<(Operation, usize), GenotypeError> {
        self.require('(')?;
        let operation = self.operation()?;
        self.require(',')?;
        let source = self.state()?;
        self.take(',');
        self.require(')')?;
        Ok((operation, source))
    }

    /// `range(2, 6)`, `list(...)` of one, or a sequence of states.
    fn concat(&mut self) -> Result<Vec<usize>, GenotypeError> {
        if !self.peek().is_some_and(char::is_alphabetic) {
            return self.sequence(Self::state);
        }
        let function = self.identifier("`range`")?;
        self.require('(')?;
        let states = match function {
            "range" => {
                let start = self.state()?;
                self.require(',')?;
                (start..self.state()?).collect()
            }
            "list" => self.concat()?,
            _ => return Err(self.error(format!("expected `range` or a list, found `{function}`"))),
        };
        self.require(')')?;
        Ok(states)
    }

    /// Items in brackets or parentheses, with an optional comma after the last.
    fn sequence<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, GenotypeError>) -> Result<Vec<T>, GenotypeError> {
        let close = if self.take('(') {
            ')'
        } else {
            self.require('[')?;
            ']'
        };
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(item(self)?);
            if !self.take(',') && self.peek() != Some(close) {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
        Ok(items)
    }

    fn operation(&mut self) -> Result<Operation, GenotypeError> {
        let quote = match self.peek() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return Err(self.unexpected("an operation in quotes")),
        };
        self.take(quote);
        let name = self.take_while(|c| c != quote && c != '\n');
        let operation = name.parse().map_err(|error: GenotypeError| self.error(error.to_string()))?;
        self.require(quote)?;
        Ok(operation)
    }

    fn state(&mut self) -> Result<usize, GenotypeError> {
        self.peek();
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.unexpected("the number of a state"));
        }
        match digits.parse() {
            Ok(state) if state <= MAX_STATE => Ok(state),
            _ => Err(self.error(format!("{digits} is no state (the largest is {MAX_STATE})"))),
        }
    }

    fn identifier(&mut self, expected: &str) -> Result<&'a str, GenotypeError> {
        self.peek();
        let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
        if name.is_empty() {
            return Err(self.unexpected(expected));
        }
        Ok(name)
    }

    /// The next character that is neither white space nor in a comment.
    fn peek(&mut self) -> Option<char> {
        loop {
            self.take_while(char::is_whitespace);
            match self.rest.clone().next() {
                Some('#') => self.take_while(|c| c != '\n'),
                next => {
                    self.token = self.text.len() - self.rest.as_str().len();
                    return next;
                }
            };
        }
    }

    /// Reads `wanted` if it comes next.
    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest.next();
        }
        found
    }

    fn require(&mut self, wanted: char) -> Result<(), GenotypeError> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{wanted}`")))
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let start = self.rest.as_str();
        let end = start.find(|c| !belongs(c)).unwrap_or(start.len());
        self.rest = start[end..].chars();
        &start[..end]
    }

    fn unexpected(&mut self, expected: &str) -> GenotypeError {
        let found = self.peek().map_or("the end".to_owned(), |c| format!("`{c}`"));
        self.error(format!("expected {expected}, found {found}"))
    }

    /// An error at the token that was looked at last.
    fn error(&self, problem: String) -> GenotypeError {
        let read = &self.text[..self.token];
        let line_start = read.rfind('\n').map_or(0, |newline| newline + 1);
        GenotypeError::Syntax {
            line: read.matches('\n').count() + 1,
            column: read[line_start..].chars().count() + 1,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::genotype::tests::any_genotype;
    use super::*;

    const TEXT: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], \
        normal_concat=range(2, 3), reduce=[('max_pool_3x3', 0), ('dil_conv_5x5', 1)], \
        reduce_concat=[2])";

    fn problem_of(text: &str) -> String {
        text.parse::<Genotype>().unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn text_reads_back_what_it_wrote(genotype in any_genotype()) {
            prop_assert_eq!(genotype.to_string().parse::<Genotype>().unwrap(), genotype);
        }

        #[test]
        fn no_text_panics(text in "(Genotype)?[(]?(normal|reduce_concat|=|[(]|\\[|'|none|range|,|é|7){0,12}") {
            let _ = text.parse::<Genotype>();
        }

        #[test]
        fn text_cut_short_is_an_error(end in 0..TEXT.len()) {
            prop_assert!(TEXT[..end].parse::<Genotype>().is_err());
        }
    }

    #[test]
    fn consecutive_states_print_as_a_range() {
        assert_eq!(Concat(&[2, 3, 4, 5]).to_string(), "range(2, 6)");
        assert_eq!(Concat(&[3, 4, 6]).to_string(), "[3, 4, 6]");
        assert_eq!(Concat(&[3, 2]).to_string(), "[3, 2]");
        assert_eq!(Concat(&[2]).to_string(), "[2]");
    }

    #[test]
    fn reads_the_layouts_of_public_codes() {
        let laid_out = "PDARTS = Genotype(\n  normal = [\n    ('sep_conv_3x3', 0), # first\n    \
            (\"skip_connect\", 1),\n  ],\n  normal_concat = list(range(2, 3)),\n  \
            reduce = [('max_pool_3x3', 0), ('dil_conv_5x5', 1)],\n  reduce_concat = (2,),\n)\n";
        assert_eq!(laid_out.parse::<Genotype>().unwrap(), TEXT.parse().unwrap());
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
            "genotype text, line 2, column 27: expected `,`, found `0`"
        );
        assert_eq!(problem_of(""), "genotype text, line 1, column 1: expected `Genotype(`, found the end");
        assert!(problem_of(&format!("{TEXT} {TEXT}")).contains("expected nothing after"));
        assert!(problem_of("architecture.json").contains("found `architecture`"));
    }

    #[test]
    fn huge_range_is_refused_before_it_is_expanded() {
        let problem = problem_of(&TEXT.replace("range(2, 3)", "range(2, 99999999999)"));
        assert!(problem.contains("99999999999 is no state"), "{problem}");
    }
}
