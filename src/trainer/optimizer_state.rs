//! What checkpoints keep of optimizers: their buffers and counters, under names with a prefix for each optimizer.

use super::checkpoint::Counters;
use crate::model::NamedTensor;
use crate::optim::Optimizer;

/// The buffers of `optimizer`.
pub(super) fn buffers(prefix: &str, optimizer: &dyn Optimizer) -> impl Iterator<Item = NamedTensor> {
    let state = optimizer.state().into_iter();
    state.map(move |(name, tensor)| NamedTensor { name: format!("{prefix}{name}"), tensor: tensor.shallow_clone() })
}

/// The counters of `optimizer`.
pub(super) fn counters(prefix: &str, optimizer: &dyn Optimizer) -> Counters {
    optimizer.counters().into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect()
}

/// Sets those of `counters` that have the prefix.
pub(super) fn set_counters(prefix: &str, optimizer: &mut dyn Optimizer, counters: &Counters) {
    for (name, &value) in counters {
        if let Some(name) = name.strip_prefix(prefix) {
            optimizer.set_counter(name, value);
        }
    }
}
