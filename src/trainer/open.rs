//! Opens the data set that a configuration names.

use std::path::Path;
use std::sync::Arc;

use crate::config::DatasetName;
use crate::data::{DataError, DatasetKind, Source, Split, open};
use crate::world::Ranks;

/// The data set of this name.
pub fn dataset_kind(name: DatasetName) -> DatasetKind {
    match name {
        DatasetName::Photodigits => DatasetKind::Photodigits,
        DatasetName::Cifar10 => DatasetKind::Cifar10,
        DatasetName::Cifar100 => DatasetKind::Cifar100,
        DatasetName::Images => DatasetKind::Images,
    }
}

/// One part of a data set; the first rank tells what there is to be told of it.
///
/// # Errors
/// Those of [`open`].
pub(super) fn open_part(
    kind: DatasetKind,
    dir: &Path,
    split: Split,
    ranks: &Ranks,
) -> Result<Arc<dyn Source>, DataError> {
    let source = open(kind, dir, split)?;
    if ranks.is_root() {
        source.notes().iter().for_each(|note| tracing::warn!("{note}"));
    }
    Ok(source)
}
