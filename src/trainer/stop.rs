//! Signals that ask a run to save what it has and end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::flag;
use tch::Tensor;

use crate::world::{CommunicatorError, Label, Ranks, ReduceOp, is_ignored};

/// A signal's number.
pub type Signal = i32;

/// From a person, a terminal that is lost, and batch systems before a limit.
const SIGNALS: [Signal; 6] = [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU];
/// From somebody who presses Ctrl-C a second time. Not SIGTERM: at a time limit SLURM sends it to the step and to the job, and
/// srun once more; nor SIGHUP: a lost terminal and its shell both send it. What asks so ends what does not answer by SIGKILL.
const IMPATIENT: Signal = SIGINT;

/// What a run is asked for between two steps.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// To stop, by the signal of this number.
    pub signal: Option<Signal>,
    /// To save a checkpoint.
    pub checkpoint: bool,
}

/// Whether a signal to stop has arrived: SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGXCPU. A second SIGINT
/// ends the program at once. A signal that was ignored when the run began (nohup, a background job of a script)
/// stays ignored.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    number: Arc<AtomicUsize>,
}

impl StopSignal {
    /// Starts listening.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let stop = Self::default();
        let is_heeded = |signal: &Signal| !is_ignored(*signal);
        let heeded: Vec<Signal> = SIGNALS.into_iter().filter(is_heeded).collect();
        for &signal in &heeded {
            flag::register_usize(signal, Arc::clone(&stop.number), signal.unsigned_abs() as usize)?;
        }
        // After that, so that no signal is lost that comes in between.
        if heeded.contains(&IMPATIENT) {
            // In this order it finds the flag down at the first signal and up at the second.
            let asked_before = Arc::new(AtomicBool::new(false));
            flag::register_conditional_shutdown(IMPATIENT, 128 + IMPATIENT, Arc::clone(&asked_before))?;
            flag::register(IMPATIENT, asked_before)?;
        }
        Ok(stop)
    }

    /// The number of a signal that asked any rank to stop; the same on all ranks, which call this together.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn agreed(&self, ranks: &Ranks) -> Result<Option<Signal>, CommunicatorError> {
        Ok(self.agreed_with(false, ranks)?.signal)
    }

    /// [`StopSignal::agreed`], and in the same exchange whether a checkpoint `is_due` on any rank.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn agreed_with(&self, is_due: bool, ranks: &Ranks) -> Result<Asked, CommunicatorError> {
        let requested = self.requested();
        if ranks.size == 1 {
            return Ok(Asked { signal: requested, checkpoint: is_due });
        }
        let numbers = Tensor::from_slice(&[i64::from(requested.unwrap_or(0)), i64::from(is_due)]);
        ranks.host().all_reduce(&numbers, ReduceOp::Max, Label::new("exchange of signals"))?.wait()?;
        let signal = i32::try_from(numbers.f_int64_value(&[0])?).ok().filter(|&number| number != 0);
        Ok(Asked { signal, checkpoint: numbers.f_int64_value(&[1])? != 0 })
    }

    /// As if `signal` had arrived.
    #[cfg(test)]
    pub(super) fn request(&self, signal: Signal) {
        self.number.store(signal.unsigned_abs() as usize, Ordering::Relaxed);
    }

    /// The number of the signal that asked this process to stop.
    pub fn requested(&self) -> Option<Signal> {
        match self.number.load(Ordering::Relaxed) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }
}
