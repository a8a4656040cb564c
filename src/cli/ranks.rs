//! Steps at the start of a run that all ranks take together: a failure of one ends all, and is told once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::call::Call;
use super::error::{UsageError, exit_code, one_line};
use crate::config::Settings;
use crate::data::DataIdentity;
use crate::run::COMMIT;
use crate::torch::libtorch_version;
use crate::weights::{StateDict, to_safetensors};
use crate::world::{Label, Ranks, is_of_srun, launched_rank};

/// How long ranks that have not joined leave the first to tell what is wrong: it may start later than they do.
const TELLING: Duration = Duration::from_secs(5);

/// What is compared of the images.
const DATA_SET: &str = "data set";
const IMAGE_SIZES: &str = "set of image sizes";

/// The ranks that were launched with this process, all with the same command; without a launcher, a single rank.
///
/// # Errors
/// Those of [`Ranks::join`], and [`UsageError`] for ranks that would not do the same, with what differs.
pub fn join() -> anyhow::Result<Ranks> {
    let ranks = Ranks::join()?;
    if ranks.size == 1 {
        return Ok(ranks);
    }
    compare_with_first(&ranks, &Call::of_process(), "comparison of commands", |rank, other, first| {
        Ok(other.difference(first).map(|[theirs, ours]| {
            format!("rank {rank} was started {theirs}, rank 0 {ours}: start all ranks with the same command")
        }))
    })?;
    Ok(ranks)
}

/// A failure that another rank reports.
#[derive(Debug, thiserror::Error)]
#[error("another rank failed")]
pub struct ReportedElsewhere {
    /// The exit code of all ranks.
    pub code: u8,
}

/// A failure of this rank that all ranks know of and end with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Agreed {
    message: String,
    /// The exit code of all ranks.
    pub code: u8,
}

/// `outcome` where all ranks succeeded; else one error, of the first rank that failed. All ranks call this together.
///
/// # Errors
/// [`Agreed`] on the rank that is to report it, [`ReportedElsewhere`] on the others.
pub fn agree<T>(ranks: &Ranks, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
    if ranks.size == 1 {
        return outcome;
    }
    let failure = outcome.as_ref().err().map(|error| (one_line(error), exit_code(error)));
    let failures = ranks.gather(&failure, Label::new("exchange of errors"))?;
    let Some(first) = failures.iter().position(Option::is_some) else { return outcome };
    let code = failures.iter().flatten().map(|(_, code)| *code).max().unwrap_or(1);
    if first != ranks.rank {
        return Err(ReportedElsewhere { code }.into());
    }
    let own = failures[first].as_ref().map(|(message, _)| message.clone()).unwrap_or_default();
    let is_common = failures.iter().all(|failure| failure.as_ref().is_some_and(|(message, _)| *message == own));
    let message = if is_common { own } else { format!("{}: {own}", ranks.name()) };
    Err(Agreed { message, code }.into())
}

/// `error`, which every rank has come to in the same place: only rank 0 tells it, and nobody has to be aborted.
pub fn known_to_all(ranks: &Ranks, error: anyhow::Error) -> anyhow::Error {
    let code = exit_code(&error);
    match ranks.size {
        1 => error,
        _ if ranks.is_root() => Agreed { message: one_line(&error), code }.into(),
        _ => ReportedElsewhere { code }.into(),
    }
}

/// `outcome`, whose failure is that of all ranks alike: only the first tells it. For what happens before they join.
///
/// The others wait meanwhile, because a launcher ends all ranks when one ends; the first ends them so once it has told. One that
/// is still there had a failure of its own, as of a command line that the first has not, and tells it. MPICH's mpiexec ends none
/// before MPI has begun, and says nothing of them: below it each tells.
///
/// # Errors
/// [`Agreed`] or [`ReportedElsewhere`] on all ranks but the first.
pub fn told_once<T>(outcome: anyhow::Result<T>) -> anyhow::Result<T> {
    outcome.map_err(|error| {
        if is_first_of_launch() {
            return error;
        }
        thread::sleep(TELLING);
        let code = exit_code(&error);
        // srun lets the others go on when one ends.
        match launched_rank().filter(|_| !is_of_srun()) {
            // The first has not ended, so it did not fail.
            Some(rank) => Agreed { message: format!("rank {rank}: {}", one_line(&error)), code }.into(),
            None => ReportedElsewhere { code }.into(),
        }
    })
}

/// Whether this process is the first of its launch, as launchers tell before anything is joined.
pub fn is_first_of_launch() -> bool {
    launched_rank().is_none_or(|rank| rank == 0)
}

/// Compares this rank's configuration with that of rank 0. All ranks call this together.
///
/// # Errors
/// The first rank that differs, with the first key.
pub fn compare_configs<C: Settings>(ranks: &Ranks, config: &C) -> anyhow::Result<()> {
    compare_with_first(ranks, config, "comparison of configurations", |rank, other, first| {
        Ok(other.difference_between_ranks(first)?.first().map(|difference| {
            format!(
                "rank {rank} has another configuration than rank 0: {difference}; give all ranks the same --config and --set"
            )
        }))
    })
}

/// Refuses the first rank whose `own` is not as that of rank 0, with what `problem` says of both. All ranks call this together.
///
/// # Errors
/// [`UsageError`] with that, and what `problem` fails with.
pub fn compare_with_first<T: Serialize + DeserializeOwned>(
    ranks: &Ranks,
    own: &T,
    label: &'static str,
    problem: impl Fn(usize, &T, &T) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    let all: Vec<T> = ranks.gather(own, Label::new(label))?;
    let found = all.iter().enumerate().find_map(|(rank, other)| problem(rank, other, &all[0]).transpose());
    let same = match found.transpose() {
        Ok(None) => Ok(()),
        Ok(Some(problem)) => Err(UsageError::new(anyhow!(problem)).into()),
        Err(error) => Err(error),
    };
    agree(ranks, same)
}

/// Makes sure that all ranks have the same `what`, of which each has `own`, from `option`. All ranks call this together.
///
/// # Errors
/// [`UsageError`] with the first rank that has another.
pub fn compare<T>(ranks: &Ranks, own: &T, what: &'static str, option: &str) -> anyhow::Result<()>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    compare_with_first(ranks, own, what, |rank, other, first| {
        let problem = || format!("rank {rank} has another {what} than rank 0: give all ranks the same {option}");
        Ok((other != first).then(problem))
    })
}

/// Makes sure that all ranks have read the same weights, or all none, from `option`. All ranks call this together.
///
/// # Errors
/// Those of [`compare`], and of weights that cannot be copied.
pub fn compare_weights(ranks: &Ranks, weights: Option<&StateDict>, option: &str) -> anyhow::Result<()> {
    if ranks.size == 1 {
        return Ok(());
    }
    let digest = |state: &StateDict| {
        let bytes = to_safetensors(&state.tensors, HashMap::new())?;
        anyhow::Ok(format!("{:x}", Sha256::digest(bytes)))
    };
    let own = agree(ranks, weights.map(digest).transpose())?;
    compare(ranks, &own, "file of weights", option)
}

/// Compares this rank's program and data with those of rank 0. All ranks call this together.
///
/// # Errors
/// The first rank that differs, with what differs.
pub fn compare_programs(ranks: &Ranks, data: &DataIdentity) -> anyhow::Result<()> {
    if ranks.size == 1 {
        return Ok(());
    }
    let own = agree(ranks, identity(data))?;
    compare_with_first(ranks, &own, "comparison of programs", |rank, other, first| {
        let Some((field, ours)) = first.iter().find(|(field, ours)| other.get(*field) != Some(ours)) else {
            return Ok(None);
        };
        let theirs = other.get(field).map_or("unknown", String::as_str);
        let [ours, theirs] = [ours, theirs].map(shortened);
        let advice =
            if [DATA_SET, IMAGE_SIZES].contains(&field.as_str()) { "copy the same to" } else { "install the same on" };
        Ok(Some(format!("rank {rank} has another {field} than rank 0 ({theirs}, not {ours}): {advice} all nodes")))
    })
}

/// What must be the same on all ranks.
fn identity(data: &DataIdentity) -> anyhow::Result<BTreeMap<String, String>> {
    let program = fs::read("/proc/self/exe").context("cannot read this program's own file")?;
    let fields = [
        ("version of pdarts", format!("{} ({COMMIT})", env!("CARGO_PKG_VERSION"))),
        ("libtorch", libtorch_version().to_owned()),
        ("program file", format!("{:x}", Sha256::digest(program))),
        (DATA_SET, data.digest.clone()),
        (IMAGE_SIZES, data.sizes.clone().unwrap_or_default()),
    ];
    Ok(fields.map(|(field, value)| (field.to_owned(), value)).into())
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_rank_keeps_its_own_outcome() {
        let ranks = Ranks::alone();
        assert_eq!(agree(&ranks, Ok(3)).unwrap(), 3);
        let error = agree::<()>(&ranks, Err(UsageError::new(anyhow!("no such file")).into())).unwrap_err();
        assert_eq!((one_line(&error).as_str(), exit_code(&error)), ("no such file", 2));
    }

    #[test]
    fn a_program_is_itself() {
        let data = DataIdentity { digest: "digest".to_owned(), sizes: None };
        let own = identity(&data).unwrap();
        assert_eq!(own["data set"], "digest");
        assert_eq!(own, identity(&data).unwrap());
    }
}
