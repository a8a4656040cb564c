//! What this rank is doing, in a few words, for those who wait for it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::trace;

static NOW: Mutex<Activity> =
    Mutex::new(Activity { place: Place { stage: 0, epoch: 0, step: 0 }, phase: "starting", sign: None });

#[derive(Copy, Clone, Debug)]
struct Activity {
    place: Place,
    phase: &'static str,
    /// When this rank last said that it gets on.
    sign: Option<Instant>,
}

/// A step of a run; zeros before the first.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// From 1.
    pub stage: usize,
    /// From 1.
    pub epoch: usize,
    /// Of the epoch, from 1.
    pub step: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, epoch, step } = self;
        match stage {
            0 => formatter.write_str("its start"),
            _ => write!(formatter, "stage {stage}, epoch {epoch}, step {step}"),
        }
    }
}

/// Says that this rank begins a step.
pub fn begin_step(place: Place) {
    let mut now = lock();
    (now.place, now.sign) = (place, Some(Instant::now()));
}

/// Says that this rank gets on with its phase, as by one more batch.
pub fn gets_on() {
    lock().sign = Some(Instant::now());
}

/// Says what this rank does from now on, as in `loading images`; also a span of the trace, while it is kept.
pub fn phase(name: &'static str) -> Option<trace::Span> {
    let mut now = lock();
    (now.phase, now.sign) = (name, Some(Instant::now()));
    drop(now);
    trace::span("step", name)
}

/// The step and the phase under way, and for how long this rank has said nothing of getting on.
pub(super) fn now() -> (Place, &'static str, Duration) {
    let Activity { place, phase, sign } = *lock();
    (place, phase, sign.map_or(Duration::ZERO, |sign| sign.elapsed()))
}

fn lock() -> MutexGuard<'static, Activity> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}
