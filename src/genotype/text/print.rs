//! A cell as the Python text of the field's codes: `Genotype(normal=[('sep_conv_3x3', 0), ...], ...)`.

use std::fmt;

use crate::genotype::genotype::Genotype;
use crate::genotype::operation::Operation;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_states_print_as_a_range() {
        assert_eq!(Concat(&[2, 3, 4, 5]).to_string(), "range(2, 6)");
        assert_eq!(Concat(&[3, 4, 6]).to_string(), "[3, 4, 6]");
        assert_eq!(Concat(&[3, 2]).to_string(), "[3, 2]");
        assert_eq!(Concat(&[2]).to_string(), "[2]");
    }
}
