//! The GENOTYPE argument: a file, a run, a published cell, the text itself, or `-` for standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cli::error::UsageError;
use crate::genotype::{Genotype, library, text};
use crate::run::{
    ExperimentFile, FolderKind, GenotypeFile, Provenance, RunDirectory, SeedsFile, TrainedCell, json_problem,
};

/// For every command on one genotype.
#[derive(Debug, Args)]
pub struct GenotypeArgument {
    /// A run or its genotype.json, another file with a genotype (JSON, a Python dict or Genotype(...), also in a log or
    /// among others in a genotypes.py: FILE:NAME), the name of a published cell, the text itself, or - for standard
    /// input
    #[arg(value_name = "GENOTYPE")]
    source: String,
}

/// A genotype and what to call it.
#[derive(Clone)]
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

    /// As it was given.
    pub fn source(&self) -> &str {
        &self.source
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
    let (path, choice) = split_choice(source);
    if path != "-" && !Path::new(path).exists() {
        if source.contains(['(', '{']) {
            let genotype = text::read_cell(source, None)?.genotype;
            return Ok(NamedGenotype { name: "genotype".to_owned(), genotype, provenance: None });
        }
        if !looks_like_path(Path::new(path)) {
            let cell = library::find(source).context("neither a file nor a published cell")?;
            return Ok(NamedGenotype { name: cell.name, genotype: cell.genotype, provenance: None });
        }
    }
    let path = match Path::new(path) {
        folder if SeedsFile::is_in(folder) && choice.is_none() => {
            let TrainedCell { genotype, provenance, .. } = SeedsFile::read(folder)?.cell;
            return Ok(NamedGenotype { name: folder.display().to_string(), genotype, provenance });
        }
        folder if ExperimentFile::is_in(folder) => {
            return Err(anyhow!(
                "{folder} is an experiment, of many cells: name one of its runs, as in {folder}/STRATEGY/seed0/search",
                folder = folder.display()
            ));
        }
        folder if folder.is_dir() => cell_file(folder)?,
        file => file.to_owned(),
    };
    let (name, text) = read_text(&path)?;
    let (genotype, provenance) = parse(&text, choice).with_context(|| name.clone())?;
    let name = choice.map_or(name.clone(), |choice| format!("{name}:{choice}"));
    Ok(NamedGenotype { name, genotype, provenance })
}

/// The file with the cell of the run in `folder`.
fn cell_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let (file, kind, shown) = (folder.join("genotype.json"), FolderKind::of(folder), folder.display());
    match kind {
        FolderKind::Search if !file.exists() => {
            let call = kind.resume_command(folder).unwrap_or_default();
            if RunDirectory::is_complete_in(folder) {
                return Err(anyhow!("{} is missing: {call} makes it again", file.display()));
            }
            let alphas = RunDirectory::last_alphas_in(folder).map_or(String::new(), |last| {
                format!(", or derive one of what it has: pdarts genotype derive {}", last.display())
            });
            Err(anyhow!("{shown} has not ended, so it has no cell yet: go on with {call}{alphas}"))
        }
        FolderKind::Other if !file.exists() => {
            Err(anyhow!("{shown} is no run, {} is missing: name a run, or a file with a cell", file.display()))
        }
        _ => Ok(file),
    }
}

/// The file and the cell in it that `FILE:NAME` names. A file whose own name has a colon is that file.
fn split_choice(source: &str) -> (&str, Option<&str>) {
    match source.rsplit_once(':') {
        _ if Path::new(source).exists() => (source, None),
        Some((path, choice)) if path == "-" || Path::new(path).exists() => (path, Some(choice)),
        _ => (source, None),
    }
}

fn looks_like_path(path: &Path) -> bool {
    path.components().count() > 1 || path.extension().is_some()
}

/// The content of the file `path`, or of standard input for `-`, and what to call it.
pub fn read_text(path: &Path) -> anyhow::Result<(String, String)> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
        ("standard input".to_owned(), bytes)
    } else {
        (path.display().to_string(), fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
    };
    let text = text::decode(&bytes).with_context(|| name.clone())?;
    Ok((name, text))
}

/// What tells the `genotype.json` of a search and of a retraining from a bare genotype.
#[derive(Deserialize)]
struct Outline {
    variants: Option<IgnoredAny>,
    genotype: Option<IgnoredAny>,
    python: Option<IgnoredAny>,
    /// Of a file of architecture parameters.
    alphas: Option<IgnoredAny>,
}

fn parse(text: &str, choice: Option<&str>) -> anyhow::Result<(Genotype, Option<Provenance>)> {
    if text.trim().is_empty() {
        return Err(anyhow!("it is empty, where a cell is expected: restore it, or name another file"));
    }
    let damaged = |error| anyhow!("it {}: restore it, or name another file", json_problem(text, &error));
    match serde_json::from_str(text) {
        Ok(Outline { alphas: Some(_), .. }) => Err(anyhow!(
            "it holds alphas, of which cells are derived, and no cell: pdarts genotype derive FILE --json > genotype.json \
             makes a file of them"
        )),
        Ok(Outline { variants: Some(_), .. }) => {
            let file: GenotypeFile = serde_json::from_str(text).map_err(damaged)?;
            Ok((variant(&file, choice)?, file.provenance))
        }
        Ok(Outline { genotype: Some(_), python: Some(_), .. }) if choice.is_none() => {
            let TrainedCell { genotype, provenance, .. } = serde_json::from_str(text).map_err(damaged)?;
            Ok((genotype, provenance))
        }
        _ => Ok((text::read_cell(text, choice)?.genotype, None)),
    }
}

/// The result of a search, or the variant with the limit on skip connections that was asked for.
fn variant(file: &GenotypeFile, choice: Option<&str>) -> anyhow::Result<Genotype> {
    let Some(choice) = choice else {
        let result = file.result().ok_or_else(|| anyhow!("its result is none of its variants"))?;
        return Ok(result.variant.genotype.clone());
    };
    let limits: Vec<String> = file.variants.iter().map(|priced| priced.variant.max_skip_connects.to_string()).collect();
    let found = limits.iter().position(|limit| limit == choice.trim_start_matches("M="));
    let found = found.with_context(|| {
        format!("it has no variant `{choice}`; by their limits on skip connections it has {}", limits.join(", "))
    })?;
    Ok(file.variants[found].variant.genotype.clone())
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
    fn files_of_runs_that_hold_no_cell_are_told_apart() {
        let refused = |json: &str| parse(json, None).unwrap_err().to_string();
        assert!(refused(r#"{"stage": 3, "alphas": {}}"#).starts_with("it holds alphas, of which cells are derived"));
        assert!(refused(r#"{"variants": 3}"#).starts_with("it is damaged (invalid type"));
        assert!(refused("\n").starts_with("it is empty, where a cell is expected"));

        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display().to_string();
        let refused = || cell_file(folder.path()).unwrap_err().to_string().replace(&place, "RUN");
        assert_eq!(refused(), "RUN is no run, RUN/genotype.json is missing: name a run, or a file with a cell");
        fs::write(folder.path().join("config.toml"), "[search]\n").unwrap();
        let unfinished = "RUN has not ended, so it has no cell yet: go on with pdarts search --resume RUN";
        assert_eq!(refused(), unfinished);
        fs::create_dir(folder.path().join("alphas")).unwrap();
        fs::write(folder.path().join("alphas/stage1-epoch001.json"), "").unwrap();
        let alphas = ", or derive one of what it has: pdarts genotype derive RUN/alphas/stage1-epoch001.json";
        assert_eq!(refused(), format!("{unfinished}{alphas}"));
    }

    #[test]
    fn file_of_a_run_without_its_result_is_refused() {
        let json = r#"{"result": {"max_skip_connects": 2, "why": ""}, "variants": []}"#;
        assert_eq!(parse(json, None).unwrap_err().to_string(), "its result is none of its variants");
    }
}
