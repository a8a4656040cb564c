//! How often the kernels found a tensor in a memory layout that they cannot read, and copied it.

use std::sync::atomic::{AtomicBool, Ordering};

unsafe extern "C" {
    fn pdarts_num_layout_copies() -> i64;
}

/// Inputs and gradients that the CPU kernels have copied into channels-last memory since the program started.
pub fn num_layout_copies() -> u64 {
    // SAFETY: reads a counter.
    u64::try_from(unsafe { pdarts_num_layout_copies() }).unwrap_or(0)
}

/// Says once that there are such copies, which cost a pass over memory each.
pub(super) fn note_copies() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if num_layout_copies() > 0 && !TOLD.swap(true, Ordering::Relaxed) {
        tracing::debug!("a kernel was given a tensor that is not in channels-last memory and copied it; told once");
    }
}
