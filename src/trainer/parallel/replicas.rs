//! That all ranks hold the same: weights, alphas, and what follows from them.

use std::sync::Arc;

use tch::Tensor;

use crate::config::BatchNormMode;
use crate::torch;
use crate::trainer::TrainError;
use crate::trainer::checkpoint::{Resumable, hash_values};
use crate::world::{Label, Pending, Ranks, ReduceOp, World};

/// BatchNorm takes its statistics in training over the images of all ranks while this lives.
#[derive(Debug)]
pub struct BatchNormOverRanks(());

impl BatchNormOverRanks {
    /// Begins it, if `mode` asks for it; nothing on a single rank.
    ///
    /// The sums travel in the order in which forward and backward need them, between the gradients' buckets, which is one
    /// order on all ranks.
    #[must_use]
    pub fn begin(world: &World, mode: BatchNormMode) -> Option<Self> {
        if world.size == 1 || mode == BatchNormMode::Rank {
            return None;
        }
        let communicator = Arc::clone(world.communicator());
        let reduce = move |sums: &Tensor| -> Result<(), String> {
            let pending = communicator.all_reduce(sums, ReduceOp::Sum, Label::new("sums of BatchNorm"));
            pending.and_then(Pending::wait).map_err(|error| error.to_string())
        };
        torch::synchronise_batch_norm(Some(Arc::new(reduce)));
        Some(Self(()))
    }
}

impl Drop for BatchNormOverRanks {
    fn drop(&mut self) {
        torch::synchronise_batch_norm(None);
    }
}

/// Replaces what ranks have each for themselves, running statistics, by its average over them. All ranks call this
/// together.
///
/// # Errors
/// When the ranks cannot be reached.
pub fn average_local_buffers(state: &impl Resumable, world: &World) -> Result<(), TrainError> {
    if world.size == 1 {
        return Ok(());
    }
    for buffer in state.local_buffers() {
        let label = Label::new("average of BatchNorm statistics");
        world.communicator().all_reduce(buffer, ReduceOp::Average, label)?.wait()?;
    }
    Ok(())
}

/// Compares what `state` has in common with those of the other ranks after `step` steps.
///
/// # Errors
/// [`TrainError::RanksDiffer`] on every rank, naming those that differ from the majority.
pub fn check_common_buffers(state: &impl Resumable, ranks: &Ranks, step: u64) -> Result<(), TrainError> {
    if ranks.size == 1 {
        return Ok(());
    }
    let buffers = state.common_buffers();
    let own = buffers.iter().map(|(_, buffer)| hash_values(&[buffer])).collect::<Result<Vec<_>, _>>()?;
    let all = ranks.gather(&own, Label::new("comparison of the ranks"))?;
    for (index, (what, _)) in buffers.into_iter().enumerate() {
        let hashes: Vec<String> = all.iter().filter_map(|hashes| hashes.get(index).cloned()).collect();
        require_equal(what, &hashes, step)?;
    }
    Ok(())
}

/// Compares something that every rank has derived, in its text form.
///
/// # Errors
/// [`TrainError::RanksDiffer`] on every rank, naming those that differ from the majority.
pub fn check_derived(what: &'static str, text: &str, ranks: &Ranks, step: u64) -> Result<(), TrainError> {
    require_equal(what, &ranks.gather(&text.to_owned(), Label::new("comparison of the ranks"))?, step)
}

fn require_equal(what: &'static str, values: &[String], step: u64) -> Result<(), TrainError> {
    let votes = |value: &String| values.iter().filter(|other| *other == value).count();
    // The lowest rank of the largest group.
    let most = values.iter().map(votes).max().unwrap_or(0);
    let Some(reference) = values.iter().position(|value| votes(value) == most) else { return Ok(()) };
    let ranks: Vec<usize> = (0..values.len()).filter(|&rank| values[rank] != values[reference]).collect();
    if ranks.is_empty() { Ok(()) } else { Err(TrainError::RanksDiffer { what, reference, ranks, step }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(values: &[&str]) -> Result<(), String> {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        require_equal("the weights", &values, 7).map_err(|error| error.to_string())
    }

    #[test]
    fn ranks_outside_of_the_majority_are_named() {
        assert_eq!(compared(&["a", "a", "a"]), Ok(()));
        assert_eq!(compared(&["a"]), Ok(()));
        for (values, expected) in [
            (&["b", "a", "a", "c"][..], "the weights of ranks 0, 3 differ from those of rank 1 after step 7"),
            (&["a", "b"], "the weights of rank 1 differ from those of rank 0 after step 7"),
        ] {
            let message = compared(values).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
