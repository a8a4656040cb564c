//! What tells one data set from another: for ranks, which must have the same, and for a run that goes on.

use super::Source;

/// Of the parts of a data set together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataIdentity {
    /// [`Source::fingerprint`] of each part: another one is other data.
    pub digest: String,
    /// [`Source::sizes`] of the parts that tell theirs. A run may go on when an image was mended, so another one among the
    /// same names is only told.
    pub sizes: Option<String>,
}

impl DataIdentity {
    /// Of `parts` in this order.
    pub fn of(parts: &[&dyn Source]) -> Self {
        let sizes: String = parts.iter().filter_map(|part| part.sizes()).collect();
        Self {
            digest: parts.iter().map(|part| part.fingerprint()).collect(),
            sizes: (!sizes.is_empty()).then_some(sizes),
        }
    }
}
