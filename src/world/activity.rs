//! What this rank is doing, in a few words, for those who wait for it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::trace;

static NOW: Mutex<Activity> = Mutex::new(Activity { place: Place { stage: 0, epoch: 0, step: 0 }, phase: "starting" });

#[derive(Copy, Clone, Debug)]
struct Activity {
    place: Place,
    phase: &'static str,
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
    NOW.lock().unwrap_or_else(PoisonError::into_inner).place = place;
}

/// Says what this rank does from now on, as in `loading images`; also a span of the trace, while it is kept.
pub fn phase(name: &'static str) -> Option<trace::Span> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner).phase = name;
    trace::span("step", name)
}

/// The step and the phase under way.
pub(super) fn now() -> (Place, &'static str) {
    let Activity { place, phase } = *NOW.lock().unwrap_or_else(PoisonError::into_inner);
    (place, phase)
}
