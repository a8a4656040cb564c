//! Computing cells again in backward instead of keeping their activations: the same numbers, bit for bit, in less memory.

mod function;
mod memory;
mod networks;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// For tests that draw: libtorch's generator is the process's.
fn draw_alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}
