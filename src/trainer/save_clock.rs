//! When a checkpoint within an epoch is due.

use std::time::{Duration, Instant};

/// The time since the last checkpoint.
pub(super) struct SaveClock {
    /// None: only after epochs.
    every: Option<Duration>,
    saved: Instant,
}

impl SaveClock {
    /// Begins now; a checkpoint is due every `minutes`, never for 0.
    pub fn start(minutes: f64) -> Self {
        let every = Duration::try_from_secs_f64(minutes * 60.0).ok().filter(|every| !every.is_zero());
        Self { every, saved: Instant::now() }
    }

    /// Whether the last checkpoint is too long ago.
    pub fn is_due(&self) -> bool {
        self.every.is_some_and(|every| self.saved.elapsed() >= every)
    }

    /// A checkpoint was taken.
    pub fn reset(&mut self) {
        self.saved = Instant::now();
    }
}
