//! Runs as one HTML page that needs nothing but itself: `report.html`.
//!
//! Everything of a run is read from its files, so that a page can be made of any run at any time, also of one that goes
//! on, was killed, or lost some of its lines. Text is escaped where it enters the page, by `maud`; only our own figures
//! go in as they are.
//!
//! - `roots`, `run`, `read`: from folders to what the page shows
//! - `measures`, `quantity`: its figures
//! - `article`: the part of one run; `cell`, `course`, `place`, `settings`, `files`: its sections
//! - `experiment`: the page of a whole experiment
//! - `comparison`: what several runs have in common, and what not
//! - `style`, `page.css`, `link`: how it looks, light and dark, and where it leads

mod article;
mod cell;
mod comparison;
mod course;
mod experiment;
mod files;
mod link;
mod measures;
mod place;
mod quantity;
mod read;
mod roots;
mod run;
mod settings;
mod style;

use std::io;
use std::path::{Path, PathBuf};

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::quantity::duration;
use self::roots::Runs;
use crate::config::ConfigError;
use crate::report::{Comparison, Stray};
use crate::run::{FolderKind, json_problem};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A folder without a configuration.
    #[error(
        "{} is not the directory of a run: config.toml cannot be read ({cause}); name a folder that a search or a training \
         has left",
        root.display()
    )]
    NotARun {
        /// The folder.
        root: PathBuf,
        /// Why it cannot be read.
        cause: io::Error,
    },
    /// A folder of something else.
    #[error(transparent)]
    Stray(#[from] Stray),
    /// A file without which nothing can be shown.
    #[error("{} {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The configuration of a run.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The page of the runs in `roots`, to be saved in `folder`, from which its links lead to their files.
///
/// A folder of several seeds stands for its trainings; that of an experiment, named alone, has a page of its own. Among
/// several, what is no run is left out, with a warning.
///
/// # Errors
/// A folder that is no run and stands alone or is not there, or whose configuration cannot be read. Whatever else is damaged or missing the page says.
pub fn page(roots: &[PathBuf], folder: &Path) -> Result<String, PageError> {
    if let [root] = roots
        && FolderKind::of(root) == FolderKind::Experiment
    {
        return experiment_page(root, folder);
    }
    let Runs { runs, notes } = Runs::read(roots)?;
    let folder = absolute(folder);
    let count = format!("{} runs", runs.len());
    let title = match (&runs[..], roots) {
        ([run], _) => run.name.clone(),
        (_, [root]) => absolute(root).file_name().map_or(count.clone(), |name| name.to_string_lossy().into_owned()),
        _ => "Comparison".to_owned(),
    };
    let compared = if runs.len() > 1 { comparison::comparison(&runs)? } else { html!() };
    let articles = runs.iter().enumerate().map(|(index, run)| article::article(run, index, runs.len() > 1, &folder));
    let articles: Vec<Markup> = articles.collect::<Result<_, _>>()?;
    let body = html! {
        @if runs.len() != 1 {
            header {
                p.kind { (count) }
                h1 { (title) }
            }
        }
        @for note in &notes { p.note { (note) } }
        (compared)
        @for article in &articles { (article) }
    };
    Ok(document(&title, &body))
}

/// The page of the experiment in `root`.
fn experiment_page(root: &Path, folder: &Path) -> Result<String, PageError> {
    let path = root.join("results.json");
    let damaged = |problem: String| {
        let problem = format!("{problem}: pdarts compare --resume {} --results makes it", root.display());
        PageError::Damaged { path: path.clone(), problem }
    };
    let text = std::fs::read_to_string(&path).map_err(|error| damaged(format!("cannot be read ({error})")))?;
    let comparison: Comparison = serde_json::from_str(&text).map_err(|error| damaged(json_problem(&text, &error)))?;
    let title = absolute(root).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let body = html! {
        header {
            p.kind { "Experiment" }
            h1 { (title) }
        }
        (experiment::experiment(&comparison, &absolute(folder)))
    };
    Ok(document(&title, &body))
}

/// A whole page.
fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) " · pdarts" }
                style { (PreEscaped(style::style())) }
            }
            body {
                main {
                    (body)
                    footer { "pdarts " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    };
    page.into_string()
}

/// `path` from the root, with links followed where it is there.
fn absolute(path: &Path) -> PathBuf {
    let path = if path == Path::new("") { Path::new(".") } else { path };
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// A figure of our own as it is, in a box that scrolls where it is too wide.
fn figure(svg: &str) -> Markup {
    html! { div.figure { (PreEscaped(svg)) } }
}
