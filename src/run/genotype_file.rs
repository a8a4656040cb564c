//! `genotype.json`: the cells that a search has found, what each costs, and which of them is the result.

use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::environment::{COMMIT, rfc3339};
use crate::genotype::{CostLimits, Costs, Variant, variant_within};

/// The content of the file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GenotypeFile {
    /// Which variant to take.
    pub result: ResultChoice,
    /// By their limit on skip connections, the unrestricted first.
    pub variants: Vec<PricedVariant>,
    /// The run that found them; absent for cells derived outside a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// Names one of the variants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResultChoice {
    /// The variant's own `max_skip_connects`.
    pub max_skip_connects: usize,
    /// Why it was taken.
    pub why: String,
}

/// A variant with what its networks cost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PricedVariant {
    #[serde(flatten)]
    pub variant: Variant,
    /// The genotype as the Python text of the field's codes.
    pub python: String,
    #[serde(flatten)]
    pub costs: Costs,
}

/// Where a genotype comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Provenance {
    /// The run directory, as it was named.
    pub run: String,
    pub dataset: String,
    pub seed: u64,
    /// See `SearchConfig::digest`.
    pub config_digest: String,
    /// Of the program.
    pub version: String,
    pub commit: String,
    /// UTC, RFC 3339.
    pub finished_at: String,
}

impl GenotypeFile {
    /// Prices `variants` (those of [`restrict`](crate::genotype::restrict)) and names the one that holds under the
    /// limit `max_skip_connects` as the result.
    pub fn new(variants: &[Variant], max_skip_connects: usize, provenance: Option<Provenance>) -> Self {
        let priced = |variant: &Variant| PricedVariant {
            variant: variant.clone(),
            python: variant.genotype.to_string(),
            costs: Costs::of(&variant.genotype),
        };
        Self {
            result: choose(variants, max_skip_connects),
            variants: variants.iter().map(priced).collect(),
            provenance,
        }
    }

    /// Says of the result how it stands to `limits`, under which the variants were derived.
    #[must_use]
    pub fn within(mut self, limits: &CostLimits) -> Self {
        let Some(result) = self.result().filter(|_| !limits.are_open()) else { return self };
        let named = [(limits.max_parameters, "parameters"), (limits.max_multiply_adds, "multiply-adds")];
        let named = named.into_iter().filter_map(|(most, what)| Some(format!("{} {what}", most?)));
        let named = named.collect::<Vec<_>>().join(" and ");
        let (cells, channels) = (limits.shape.cells, limits.shape.channels);
        let network = format!("in the network of {cells} cells and {channels} channels");
        let note = match limits.allow_cell(&result.variant.genotype) {
            true => format!("; of the cells within {named} {network}, the most probable"),
            false => {
                format!("; no cell of the operations that were left is within {named} {network}: this is the smallest")
            }
        };
        self.result.why += &note;
        self
    }

    /// The variant that is the result; `None` only if the file does not hold it.
    pub fn result(&self) -> Option<&PricedVariant> {
        self.variants.iter().find(|priced| priced.variant.max_skip_connects == self.result.max_skip_connects)
    }
}

fn choose(variants: &[Variant], limit: usize) -> ResultChoice {
    let Some(variant) = variant_within(variants, limit) else {
        return ResultChoice { max_skip_connects: limit, why: "there is no cell to choose from".to_owned() };
    };
    let why = if variant.skip_connects <= limit {
        format!("the least restricted cell within the limit of {limit} on skip connections (P-DARTS, section 3.3)")
    } else {
        format!(
            "no cell is within the limit of {limit} on skip connections, for want of other operations on their edges: \
             this one has the fewest, {}",
            variant.skip_connects
        )
    };
    ResultChoice { max_skip_connects: variant.max_skip_connects, why }
}

impl Provenance {
    /// Of a search that ends now, by this program.
    pub fn now(run: &Path, dataset: &str, seed: u64, config_digest: &str) -> Self {
        Self {
            run: run.to_string_lossy().into_owned(),
            dataset: dataset.to_owned(),
            seed,
            config_digest: config_digest.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: COMMIT.to_owned(),
            finished_at: rfc3339(SystemTime::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::library;

    fn variant(max_skip_connects: usize, skip_connects: usize) -> Variant {
        let genotype = library::find("PDARTS_C10").unwrap().genotype;
        Variant { max_skip_connects, skip_connects, genotype }
    }

    #[test]
    fn result_is_the_variant_that_holds_under_the_limit() {
        let file = GenotypeFile::new(&[variant(8, 5), variant(4, 2), variant(1, 1)], 2, None);
        assert_eq!(file.result().unwrap().variant, variant(4, 2));
        assert_eq!(
            file.result.why,
            "the least restricted cell within the limit of 2 on skip connections (P-DARTS, section 3.3)"
        );
    }

    #[test]
    fn limit_that_no_variant_keeps_is_said() {
        let file = GenotypeFile::new(&[variant(8, 7), variant(6, 5)], 2, None);
        assert_eq!(file.result().unwrap().variant, variant(6, 5));
        assert!(file.result.why.starts_with("no cell is within the limit of 2"), "{}", file.result.why);
        assert!(file.result.why.ends_with("the fewest, 5"), "{}", file.result.why);
    }

    #[test]
    fn nothing_to_choose_from_has_no_result() {
        assert_eq!(GenotypeFile::new(&[], 2, None).result(), None);
    }

    #[test]
    fn file_reads_back_what_it_wrote() {
        let provenance = Provenance::now(Path::new("runs/first"), "photodigits", 3, "ab12");
        let file = GenotypeFile::new(&[variant(8, 5), variant(2, 2)], 2, Some(provenance));
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<GenotypeFile>(&json).unwrap(), file);
    }

    #[test]
    fn costs_and_operations_stand_beside_each_other() {
        let json = serde_json::to_value(GenotypeFile::new(&[variant(8, 5)], 8, None)).unwrap();
        let variant = &json["variants"][0];
        assert_eq!(variant["cifar10"]["parameters"], 3_433_798);
        assert_eq!(variant["imagenet"]["multiply_adds"], 542_819_328);
        assert_eq!(variant["genotype"]["normal"][0][0], "skip_connect");
        assert!(variant["python"].as_str().unwrap().starts_with("Genotype(normal=[('skip_connect', 0), "));
    }
}
