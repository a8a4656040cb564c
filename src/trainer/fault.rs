//! A fault that tests inject: `PDARTS_FAULT=nan@STEP` or `nan@STEP:RANK` makes the images of one step NaN, once in the life
//! of a process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STRIKES: AtomicBool = AtomicBool::new(false);
static HAS_STRUCK: AtomicBool = AtomicBool::new(false);

/// Step `step` (of the whole run, from 1) of `rank` begins.
pub(super) fn begin_step(step: u64, rank: usize) {
    static PLANNED: OnceLock<Option<(u64, usize)>> = OnceLock::new();
    let planned = PLANNED.get_or_init(|| std::env::var("PDARTS_FAULT").ok().and_then(|fault| parse(&fault)));
    let strikes = *planned == Some((step, rank)) && !HAS_STRUCK.swap(true, Ordering::Relaxed);
    STRIKES.store(strikes, Ordering::Relaxed);
}

/// Whether the images of the step under way are to be NaN.
pub(super) fn strikes() -> bool {
    STRIKES.load(Ordering::Relaxed)
}

/// The step and the rank, 0 unless stated.
fn parse(fault: &str) -> Option<(u64, usize)> {
    let place = fault.strip_prefix("nan@")?;
    let (step, rank) = place.split_once(':').unwrap_or((place, "0"));
    Some((step.parse().ok()?, rank.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_fault_names_step_and_rank() {
        assert_eq!(parse("nan@5"), Some((5, 0)));
        assert_eq!(parse("nan@5:1"), Some((5, 1)));
        assert_eq!(parse("inf@5"), None);
    }
}
