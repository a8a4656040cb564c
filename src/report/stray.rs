//! Folders among the runs of a call that are none: `runs/*` names whatever lies there.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::FolderKind;

/// A folder, or a file, that is no run.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", self.fact(), self.advice())]
pub struct Stray {
    root: PathBuf,
    kind: StrayKind,
}

#[derive(Debug)]
enum StrayKind {
    Experiment,
    /// Runs lie below it; one of them.
    FolderOfRuns(PathBuf),
    Other,
}

impl Stray {
    fn of(root: &Path) -> Option<Self> {
        let kind = match FolderKind::of(root) {
            FolderKind::Experiment => StrayKind::Experiment,
            FolderKind::Other => {
                let below = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
                below
                    .filter(|folder| FolderKind::of(folder).is_run())
                    .min()
                    .map_or(StrayKind::Other, StrayKind::FolderOfRuns)
            }
            FolderKind::Search | FolderKind::Training | FolderKind::Seeds => return None,
        };
        Some(Self { root: root.to_owned(), kind })
    }

    fn fact(&self) -> impl fmt::Display {
        let root = self.root.display();
        match self.kind {
            StrayKind::Experiment => format!("{root} is the folder of an experiment"),
            StrayKind::FolderOfRuns(_) => format!("{root} holds runs and is none itself"),
            StrayKind::Other => format!("{root} is no run"),
        }
    }

    fn advice(&self) -> impl fmt::Display {
        match &self.kind {
            StrayKind::Experiment => {
                format!("pdarts compare --resume {} --results makes its table and its page", self.root.display())
            }
            StrayKind::FolderOfRuns(run) => format!("name them, as in {}", run.display()),
            StrayKind::Other => "name the folder of a search or of a training".to_owned(),
        }
    }
}

/// Those of `roots` that are runs, or are taken for such by `is_run`. Others are left out of several, with a warning, and
/// so are files; what is not there at all is left for its reader to refuse, and so are folders of which none is a run.
///
/// # Errors
/// The first of `roots` where none is a run and it is known what to name instead.
pub(super) fn without_strays(roots: &[PathBuf], is_run: impl Fn(&Path) -> bool) -> Result<Vec<&PathBuf>, Stray> {
    let stray = |root: &PathBuf| if root.exists() && !is_run(root) { Stray::of(root) } else { None };
    let (mut runs, mut strays) = (Vec::new(), Vec::new());
    for root in roots {
        match stray(root) {
            None => runs.push(root),
            Some(stray) => strays.push(stray),
        }
    }
    if runs.is_empty() {
        return match strays.into_iter().find(|stray| !matches!(stray.kind, StrayKind::Other)) {
            Some(stray) => Err(stray),
            None => Ok(roots.iter().collect()),
        };
    }
    for stray in strays {
        tracing::warn!("{}: left out; {}", stray.fact(), stray.advice());
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SearchConfig, Settings};
    use crate::run::{EXPERIMENT_FILE, SEEDS_FILE};

    #[test]
    fn what_is_no_run_is_left_out_of_several_and_refused_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["experiment", "seeds", "pipeline/search", "other"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let search = SearchConfig::default().to_toml().unwrap();
        fs::write(path("experiment").join(EXPERIMENT_FILE), "{}").unwrap();
        fs::write(path("seeds").join(SEEDS_FILE), "{}").unwrap();
        fs::write(path("pipeline/search/config.toml"), &search).unwrap();
        fs::write(path("page.html"), "").unwrap();
        let all = ["experiment", "seeds", "pipeline", "other", "page.html", "none"].map(path);
        assert_eq!(without_strays(&all, |_| false).unwrap(), [&path("seeds"), &path("none")]);
        assert_eq!(without_strays(&all, |root| root.ends_with("other")).unwrap().len(), 3);

        let refusal = |name: &str| match without_strays(&[path(name)], |_| false) {
            Ok(runs) => Ok(runs.len()),
            Err(stray) => Err(stray.to_string()),
        };
        let root = path("experiment").display().to_string();
        let advice = format!("pdarts compare --resume {root} --results makes its table and its page");
        assert_eq!(refusal("experiment"), Err(format!("{root} is the folder of an experiment: {advice}")));
        let message = refusal("pipeline").unwrap_err();
        assert!(message.ends_with(&format!("name them, as in {}", path("pipeline/search").display())), "{message}");
        // Their readers say what is missing.
        assert!(["other", "none"].iter().all(|name| refusal(name).is_ok()));
    }
}
