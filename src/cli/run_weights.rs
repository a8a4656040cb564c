//! Which file has the weights of a run, and what to do where there is none.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::error::UsageError;
use crate::model::EvaluationNetwork;
use crate::run::{FolderKind, RunDirectory};
use crate::trainer::checkpoint_format;
use crate::weights::StateDict;

/// The weights of the training in `root`, or their running averages.
pub fn weights_file(root: &Path, averages: bool) -> PathBuf {
    root.join(if averages { "weights-ema.safetensors" } else { "weights.safetensors" })
}

/// Refuses a folder without [`weights_file`], with what to name or to do instead.
pub fn check_weights(root: &Path, averages: bool) -> Result<(), UsageError> {
    let file = weights_file(root, averages);
    if file.exists() {
        return Ok(());
    }
    let shown = root.display();
    let text = match FolderKind::of(root) {
        FolderKind::Training if averages && weights_file(root, false).exists() => {
            format!("{}: it has no averages; leave out --ema", weights_file(root, false).display())
        }
        FolderKind::Training => {
            let fact = match RunDirectory::is_complete_in(root) {
                true => format!("{} is missing: restore it", file.display()),
                false => {
                    let call = FolderKind::Training.resume_command(root).unwrap_or_default();
                    format!("{shown} has not ended, so it has no weights yet: go on with {call}")
                }
            };
            let checkpoint = RunDirectory::last_checkpoint_in(root);
            fact + &checkpoint
                .map_or(String::new(), |file| format!(", or name its last checkpoint, {}", file.display()))
        }
        FolderKind::Search => format!(
            "{shown} is the run of a search, which leaves a cell and no weights: train it with pdarts train --genotype {shown}"
        ),
        FolderKind::Seeds => format!("{shown} holds a training for each seed: name one of them, as in {shown}/seed0"),
        FolderKind::Experiment => {
            format!("{shown} is the folder of an experiment: name one of its trainings, {shown}/STRATEGY/seedN/train")
        }
        FolderKind::Other => {
            format!("{} is missing: name the run of a training, or a file of weights", file.display())
        }
    };
    Err(UsageError::new(anyhow!(text)))
}

/// What formats of a search's checkpoints begin with, in every version.
const SEARCH_FORMATS: &str = "pdarts-search-";

/// The state dict in `file`.
///
/// # Errors
/// Those of [`StateDict::read`], and of a search's checkpoint, with what to name instead.
pub fn read_weights(file: &Path) -> Result<StateDict, UsageError> {
    let state = StateDict::read(file).map_err(UsageError::new)?;
    match checkpoint_format(&state.metadata) {
        Some(format) if format.starts_with(SEARCH_FORMATS) => {
            let run = file.ancestors().skip(1).take(2).find(|folder| FolderKind::of(folder) == FolderKind::Search);
            let run = run.map_or("RUN".to_owned(), |run| run.display().to_string());
            Err(UsageError::new(anyhow!(
                "{} is a checkpoint of a search, which leaves a cell and no weights: train that with pdarts train \
                 --genotype {run}, and name the run of the training",
                file.display()
            )))
        }
        _ => Ok(state),
    }
}

/// Says in what the auxiliary head in the `state` of the file `path` is not that of `network`, and what `follows`.
pub fn note_misfit_of_head(path: &Path, state: &StateDict, network: &EvaluationNetwork, follows: &str) {
    let path = path.display();
    match state.misfit_of_head(network) {
        Some(_) if !state.has_head() => tracing::info!("{path}: it has no auxiliary head; {follows}"),
        Some(mismatch) => tracing::info!("{path}: its auxiliary head does not fit, {mismatch}; {follows}"),
        None => {}
    }
}

/// What is to be said of `state` where values of it are infinite or not a number.
pub fn non_finite_values(state: &StateDict) -> Option<String> {
    const SHOWN: usize = 3;
    let broken = state.non_finite();
    let shown = broken.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect::<Vec<_>>().join(", ");
    let more = if broken.len() > SHOWN { ", ..." } else { "" };
    let count = match broken.len() {
        0 => return None,
        1 => "1 tensor holds".to_owned(),
        count => format!("{count} tensors hold"),
    };
    Some(format!("{count} values that are infinite or not a number ({shown}{more})"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::fs;

    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::config::{SearchConfig, Settings, TrainConfig};
    use crate::run::{EXPERIMENT_FILE, SEEDS_FILE};
    use crate::weights::to_safetensors;

    #[test]
    fn folders_without_weights_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display().to_string();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let refusal = |run: &str, averages| {
            let error = check_weights(&folder.path().join(run), averages).unwrap_err();
            error.to_string().replace(&format!("{place}/"), "")
        };
        write("search/config.toml", &SearchConfig::default().to_toml().unwrap());
        write("train/config.toml", &TrainConfig::default().to_toml().unwrap());
        write(&format!("seeds/{SEEDS_FILE}"), "{}");
        write(&format!("thesis/{EXPERIMENT_FILE}"), "{}");
        assert!(refusal("search", false).ends_with("train it with pdarts train --genotype search"));
        assert!(refusal("seeds", true).ends_with("as in seeds/seed0"));
        assert!(refusal("thesis", true).ends_with("thesis/STRATEGY/seedN/train"));
        assert!(refusal("none", false).starts_with("none/weights.safetensors is missing: name the run of a training"));

        let unfinished = "train has not ended, so it has no weights yet: go on with pdarts train --resume train";
        assert_eq!(refusal("train", true), unfinished);
        for name in ["stage1-epoch002-step00000008", "best", "stage1-epoch001-step00000004"] {
            write(&format!("train/checkpoints/{name}.safetensors"), "");
        }
        let last = ", or name its last checkpoint, train/checkpoints/stage1-epoch002-step00000008.safetensors";
        assert_eq!(refusal("train", false), format!("{unfinished}{last}"));
        write("train/summary.json", "{\"status\": \"complete\"}");
        assert_eq!(refusal("train", false), format!("train/weights.safetensors is missing: restore it{last}"));
        let header = HashMap::from([("pdarts".to_owned(), r#"{"format": "pdarts-search-2"}"#.to_owned())]);
        let weights = BTreeMap::from([("weights".to_owned(), Tensor::zeros([1], (Kind::Float, Device::Cpu)))]);
        let checkpoint = folder.path().join("search/checkpoints/stage1-epoch001-step00000004.safetensors");
        fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
        fs::write(&checkpoint, to_safetensors(&weights, header).unwrap()).unwrap();
        let message = read_weights(&checkpoint).unwrap_err().to_string().replace(&format!("{place}/"), "");
        assert!(
            message.starts_with("search/checkpoints/stage1-epoch001-step00000004.safetensors is a checkpoint of a")
        );
        assert!(message.contains("pdarts train --genotype search, and name the run of the training"), "{message}");
        write("train/weights.safetensors", "");
        assert!(check_weights(&folder.path().join("train"), false).is_ok());
        assert_eq!(refusal("train", true), "train/weights.safetensors: it has no averages; leave out --ema");
    }
}
