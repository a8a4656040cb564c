//! The candidate operations of an edge, under their published names.
//!
//! The names are the interface to the outside: configurations, genotype files and the published
//! cells all spell an operation the same way, so parsing and printing live with the type.
//! Source: DARTS (arXiv:1806.09055), section 3.1; P-DARTS (arXiv:1904.12760) takes them over.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::GenotypeError;

/// An operation that an edge of a cell can apply.
///
/// Ordered as in the search space; the last two occur only in cells of other search spaces
/// (NASNet-A, PNAS, AmoebaNet-A).
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Operation {
    /// No connection: takes its share of the mixture and adds nothing.
    None,
    /// 3x3 max pooling.
    MaxPool3x3,
    /// 3x3 average pooling that does not count padding.
    AvgPool3x3,
    /// Identity at stride 1, factorized reduction at stride 2.
    SkipConnect,
    /// Separable 3x3 convolution, applied twice.
    SepConv3x3,
    /// Separable 5x5 convolution, applied twice.
    SepConv5x5,
    /// Dilated separable 3x3 convolution, applied once.
    DilConv3x3,
    /// Dilated separable 5x5 convolution, applied once.
    DilConv5x5,
    /// Separable 7x7 convolution, applied twice.
    SepConv7x7,
    /// A 1x7 convolution followed by a 7x1 convolution.
    Conv7x1_1x7,
}

impl Operation {
    /// The eight candidates of P-DARTS, in the published order.
    pub const SEARCH_SPACE: [Operation; 8] = [
        Operation::None,
        Operation::MaxPool3x3,
        Operation::AvgPool3x3,
        Operation::SkipConnect,
        Operation::SepConv3x3,
        Operation::SepConv5x5,
        Operation::DilConv3x3,
        Operation::DilConv5x5,
    ];

    /// Every operation: the search space and the two of other search spaces.
    pub const ALL: [Operation; 10] = [
        Operation::None,
        Operation::MaxPool3x3,
        Operation::AvgPool3x3,
        Operation::SkipConnect,
        Operation::SepConv3x3,
        Operation::SepConv5x5,
        Operation::DilConv3x3,
        Operation::DilConv5x5,
        Operation::SepConv7x7,
        Operation::Conv7x1_1x7,
    ];

    /// The published name, such as `sep_conv_3x3`.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::None => "none",
            Operation::MaxPool3x3 => "max_pool_3x3",
            Operation::AvgPool3x3 => "avg_pool_3x3",
            Operation::SkipConnect => "skip_connect",
            Operation::SepConv3x3 => "sep_conv_3x3",
            Operation::SepConv5x5 => "sep_conv_5x5",
            Operation::DilConv3x3 => "dil_conv_3x3",
            Operation::DilConv5x5 => "dil_conv_5x5",
            Operation::SepConv7x7 => "sep_conv_7x7",
            Operation::Conv7x1_1x7 => "conv_7x1_1x7",
        }
    }

    /// Whether it is made of depthwise separable convolutions.
    pub const fn is_separable(self) -> bool {
        match self {
            Operation::SepConv3x3
            | Operation::SepConv5x5
            | Operation::SepConv7x7
            | Operation::DilConv3x3
            | Operation::DilConv5x5 => true,
            Operation::None
            | Operation::MaxPool3x3
            | Operation::AvgPool3x3
            | Operation::SkipConnect
            | Operation::Conv7x1_1x7 => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Operation {
    type Err = GenotypeError;

    /// Reads a published name.
    ///
    /// # Errors
    /// [`GenotypeError::UnknownName`], which suggests the nearest name and lists all of them.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Operation::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
            .ok_or_else(|| GenotypeError::unknown_name("operation", name, Operation::ALL.map(Operation::name)))
    }
}

impl From<Operation> for &'static str {
    fn from(operation: Operation) -> Self {
        operation.name()
    }
}

impl TryFrom<String> for Operation {
    type Error = GenotypeError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_reads_its_own_name_back() {
        for operation in Operation::ALL {
            assert_eq!(operation.name().parse::<Operation>().unwrap(), operation);
            let json = serde_json::to_string(&operation).unwrap();
            assert_eq!(serde_json::from_str::<Operation>(&json).unwrap(), operation);
        }
    }

    #[test]
    fn declaration_order_is_the_published_order() {
        assert!(Operation::ALL.is_sorted());
        assert_eq!(Operation::ALL[..8], Operation::SEARCH_SPACE);
    }

    #[test]
    fn unknown_name_suggests_the_nearest_and_lists_all() {
        let message = "sep_conv3x3".parse::<Operation>().unwrap_err().to_string();
        assert!(
            message.starts_with("unknown operation `sep_conv3x3`; did you mean `sep_conv_3x3`? known: none, "),
            "{message}"
        );
        assert!(message.ends_with("conv_7x1_1x7"), "{message}");
    }

    #[test]
    fn a_name_like_no_other_gets_no_suggestion() {
        let message = "transformer".parse::<Operation>().unwrap_err().to_string();
        assert!(!message.contains("did you mean"), "{message}");
    }
}
