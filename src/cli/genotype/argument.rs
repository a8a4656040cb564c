//! The GENOTYPE argument: a file, a run, a published cell, the text itself, or `-` for standard input.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cli::error::UsageError;
use crate::genotype::{Genotype, library};
use crate::run::{GenotypeFile, Provenance, TrainedCell};

/// For every command on one genotype.
#[derive(Debug, Args)]
pub struct GenotypeArgument {
    /// A run or its genotype.json, another file with a genotype as JSON or as the Python text Genotype(...), the name
    /// of a published cell, the text itself, or - for standard input
    #[arg(value_name = "GENOTYPE")]
    source: String,
}

/// A genotype and what to call it.
pub struct NamedGenotype {
    pub name: String,
    pub genotype: Genotype,
    /// The search that found it, where the file says so.
    pub provenance: Option<Provenance>,
}

impl GenotypeArgument {
    /// Finds the genotype.
    ///
    /// # Errors
    /// [`UsageError`], which names the file if there is one.
    pub fn read(&self) -> Result<NamedGenotype, UsageError> {
        read_genotype(&self.source)
    }
}

/// The genotype that `source` names: see [`GenotypeArgument`].
///
/// # Errors
/// [`UsageError`], which names the file if there is one.
pub fn read_genotype(source: &str) -> Result<NamedGenotype, UsageError> {
    read(source).map_err(UsageError::new)
}

fn read(source: &str) -> anyhow::Result<NamedGenotype> {
    if source.contains('(') || source.contains('{') {
        return Ok(NamedGenotype { name: "genotype".to_owned(), genotype: source.parse()?, provenance: None });
    }
    let path = Path::new(source);
    if source != "-" && !path.exists() && !looks_like_path(path) {
        let cell = library::find(source).context("neither a file nor a published cell")?;
        return Ok(NamedGenotype { name: cell.name, genotype: cell.genotype, provenance: None });
    }
    let path = if path.is_dir() { path.join("genotype.json") } else { path.to_owned() };
    let (name, text) = read_text(&path)?;
    let (genotype, provenance) = parse(&text).with_context(|| name.clone())?;
    Ok(NamedGenotype { name, genotype, provenance })
}

fn looks_like_path(path: &Path) -> bool {
    path.components().count() > 1 || path.extension().is_some()
}

/// The content of the file `path`, or of standard input for `-`, and what to call it.
pub fn read_text(path: &Path) -> anyhow::Result<(String, String)> {
    if path == Path::new("-") {
        let text = io::read_to_string(io::stdin()).context("cannot read standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path.display().to_string(), text))
}

/// What tells the `genotype.json` of a search and of a retraining from a bare genotype.
#[derive(Deserialize)]
struct Outline {
    variants: Option<IgnoredAny>,
    genotype: Option<IgnoredAny>,
}

fn parse(text: &str) -> anyhow::Result<(Genotype, Option<Provenance>)> {
    match serde_json::from_str(text) {
        Ok(Outline { variants: Some(_), .. }) => {
            let file: GenotypeFile = serde_json::from_str(text)?;
            let result = file.result().ok_or_else(|| anyhow!("its result is none of its variants"))?;
            Ok((result.variant.genotype.clone(), file.provenance))
        }
        Ok(Outline { genotype: Some(_), .. }) => {
            let TrainedCell { genotype, provenance, .. } = serde_json::from_str(text)?;
            Ok((genotype, provenance))
        }
        _ => Ok((text.parse()?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        assert!(!looks_like_path(Path::new("PDARTS_C10")));
        for path in ["cell.json", "runs/first", "./cell", "/cell"] {
            assert!(looks_like_path(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn file_of_a_run_without_its_result_is_refused() {
        let json = r#"{"result": {"max_skip_connects": 2, "why": ""}, "variants": []}"#;
        assert_eq!(parse(json).unwrap_err().to_string(), "its result is none of its variants");
    }
}
