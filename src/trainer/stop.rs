//! Signals that ask a run to save what it has and end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// Whether SIGINT, SIGTERM or SIGUSR1 has arrived. The same SIGINT or SIGTERM again ends it at once.
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
        for signal in [SIGINT, SIGTERM] {
            // Registered first, so that it finds the flag down at the first signal and up at the second.
            let asked_before = Arc::new(AtomicBool::new(false));
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked_before))?;
            flag::register(signal, asked_before)?;
        }
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            flag::register_usize(signal, Arc::clone(&stop.number), signal.unsigned_abs() as usize)?;
        }
        Ok(stop)
    }

    /// The number of the signal that asked to stop.
    pub fn requested(&self) -> Option<i32> {
        match self.number.load(Ordering::Relaxed) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }
}
