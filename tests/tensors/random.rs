//! Random numbers that are the same in every run.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// For tests that draw: libtorch's generator is the process's, and tests run beside each other.
pub fn draw_alone(seed: i64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    // libtorch decides at the first question about CUDA, which this is, what it can do.
    let _ = pdarts::torch::load_cuda();
    tch::manual_seed(seed);
    alone
}
