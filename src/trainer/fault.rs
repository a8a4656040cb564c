//! What tests inject by `PDARTS_FAULT`. `nan@STEP` or `nan@STEP:RANK` makes the images of one step NaN, once in the life of a
//! process. `hold@STEP:FILE` has every rank wait before a step until the file is gone or a signal asks the run to stop, so that
//! what a test does to a run meets it there, however slow the machine is.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::stop::StopSignal;

static STRIKES: AtomicBool = AtomicBool::new(false);
static HAS_STRUCK: AtomicBool = AtomicBool::new(false);

/// Steps are those of the whole run, from 1.
#[derive(Debug, PartialEq)]
enum Fault {
    Nan { step: u64, rank: usize },
    Hold { step: u64, file: PathBuf },
}

/// Step `step` of `rank` begins, unless `stop` comes in between.
pub(super) fn begin_step(step: u64, rank: usize, stop: &StopSignal) {
    static PLANNED: OnceLock<Option<Fault>> = OnceLock::new();
    let planned = PLANNED.get_or_init(|| std::env::var("PDARTS_FAULT").ok().and_then(|fault| parse(&fault)));
    let is_planned = *planned == Some(Fault::Nan { step, rank });
    STRIKES.store(is_planned && !HAS_STRUCK.swap(true, Ordering::Relaxed), Ordering::Relaxed);
    if let Some(Fault::Hold { step: held, file }) = planned
        && *held == step
    {
        while file.exists() && stop.requested().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether the images of the step under way are to be NaN.
pub(super) fn strikes() -> bool {
    STRIKES.load(Ordering::Relaxed)
}

/// Of NaN, the rank is 0 unless stated.
fn parse(fault: &str) -> Option<Fault> {
    if let Some(place) = fault.strip_prefix("hold@") {
        let (step, file) = place.split_once(':')?;
        return Some(Fault::Hold { step: step.parse().ok()?, file: file.into() });
    }
    let place = fault.strip_prefix("nan@")?;
    let (step, rank) = place.split_once(':').unwrap_or((place, "0"));
    Some(Fault::Nan { step: step.parse().ok()?, rank: rank.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::{Fault, parse};

    #[test]
    fn a_fault_names_step_and_rank_or_file() {
        assert_eq!(parse("nan@5"), Some(Fault::Nan { step: 5, rank: 0 }));
        assert_eq!(parse("nan@5:1"), Some(Fault::Nan { step: 5, rank: 1 }));
        assert_eq!(parse("hold@7:/a/b:c"), Some(Fault::Hold { step: 7, file: "/a/b:c".into() }));
        assert_eq!((parse("inf@5"), parse("hold@7")), (None, None));
    }
}
