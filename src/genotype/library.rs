//! Published cells, to retrain, compare with and test against, under the names of the public codes.
//!
//! The data is `library.json`, embedded: where each cell comes from, what was reported for it, and
//! what [`count`](super::count) finds for it.

use serde::{Deserialize, Serialize};

use super::error::GenotypeError;
use super::genotype::Genotype;

const LIBRARY: &str = include_str!("library.json");

/// A cell from the literature.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedCell {
    /// The name to ask for it by, such as `PDARTS_C10`.
    pub name: String,
    /// What it is, in words.
    pub title: String,
    /// Paper and code it was taken from.
    pub source: String,
    /// What to know before comparing with its published numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The cells.
    pub genotype: Genotype,
    /// Results its authors reported.
    pub published: PublishedResults,
    /// Exact counts in the CIFAR (36 channels, 20 cells) and ImageNet (48 channels, 14 cells,
    /// 224 pixels) networks.
    pub counted: CountedCosts,
}

/// Results as reported: errors in percent, sizes and multiply-adds in millions.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishedResults {
    /// Test error on CIFAR-10, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cifar10_error_percent: Option<f64>,
    /// Test error on CIFAR-100, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cifar100_error_percent: Option<f64>,
    /// Parameters of the CIFAR-10 network, millions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cifar10_parameters_millions: Option<f64>,
    /// Top-1 error on ImageNet, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imagenet_top1_error_percent: Option<f64>,
    /// Top-5 error on ImageNet, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imagenet_top5_error_percent: Option<f64>,
    /// Parameters of the ImageNet network, millions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imagenet_parameters_millions: Option<f64>,
    /// Multiply-adds of the ImageNet network, millions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imagenet_multiply_adds_millions: Option<f64>,
}

/// Exact counts; parameters without the auxiliary head, multiply-adds of convolutions and linear
/// layers.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountedCosts {
    /// Parameters with 10 classes.
    pub cifar10_parameters: u64,
    /// Multiply-adds with 10 classes.
    pub cifar10_multiply_adds: u64,
    /// Parameters with 100 classes.
    pub cifar100_parameters: u64,
    /// Parameters of the auxiliary head with 10 classes.
    pub cifar10_auxiliary_parameters: u64,
    /// Parameters with 1000 classes.
    pub imagenet_parameters: u64,
    /// Multiply-adds with 1000 classes at 224 pixels.
    pub imagenet_multiply_adds: u64,
}

/// All published cells, P-DARTS first.
///
/// # Errors
/// [`GenotypeError::Json`] if the embedded file is damaged; the tests exclude it.
pub fn published_cells() -> Result<Vec<PublishedCell>, GenotypeError> {
    Ok(serde_json::from_str(LIBRARY)?)
}

/// The published cell of this name.
///
/// # Errors
/// [`GenotypeError::UnknownName`], which suggests the nearest name and lists all of them.
pub fn find(name: &str) -> Result<PublishedCell, GenotypeError> {
    let mut cells = published_cells()?;
    match cells.iter().position(|cell| cell.name == name) {
        Some(index) => Ok(cells.swap_remove(index)),
        None => {
            let known = cells.iter().map(|cell| cell.name.as_str());
            Err(GenotypeError::unknown_name("published cell", name, known))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::complexity::{Cost, NetworkShape, count};
    use super::*;

    #[test]
    fn counts_of_every_published_cell_are_exact() {
        let cells = published_cells().unwrap();
        assert_eq!(cells.len(), 10);
        for cell in cells {
            let cifar10 = count(&cell.genotype, &NetworkShape::cifar(10));
            let cifar100 = count(&cell.genotype, &NetworkShape::cifar(100));
            let imagenet = count(&cell.genotype, &NetworkShape::imagenet());
            let counted = CountedCosts {
                cifar10_parameters: cifar10.parameters,
                cifar10_multiply_adds: cifar10.multiply_adds,
                cifar100_parameters: cifar100.parameters,
                cifar10_auxiliary_parameters: cifar10.auxiliary_parameters,
                imagenet_parameters: imagenet.parameters,
                imagenet_multiply_adds: imagenet.multiply_adds,
            };
            assert_eq!(counted, cell.counted, "{}", cell.name);
        }
    }

    #[test]
    fn multiply_adds_with_batch_norm_and_relu_are_those_of_the_paper() {
        let genotype = find("PDARTS_C10").unwrap().genotype;
        let Cost { multiply_adds_all, .. } = count(&genotype, &NetworkShape::imagenet());
        assert_eq!((multiply_adds_all as f64 / 1e5).round() / 10.0, 557.1);
    }

    #[test]
    fn every_published_cell_reads_back_from_its_python_text() {
        for cell in published_cells().unwrap() {
            let text = cell.genotype.to_string();
            assert_eq!(text.parse::<Genotype>().unwrap(), cell.genotype, "{}", cell.name);
        }
    }

    #[test]
    fn unknown_cell_suggests_the_nearest_name() {
        let message = find("PDARTS_C11").unwrap_err().to_string();
        assert!(message.starts_with("unknown published cell `PDARTS_C11`; did you mean `PDARTS_C10`?"), "{message}");
    }
}
