//! One communicator of the library: begun with a deadline, asked how it is, ended or aborted.

use std::ffi::c_char;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cudarc::nccl::result;
use cudarc::nccl::sys;

use super::library::{ID_BYTES, Progress, message_of, outcome};

/// `NCCL_CONFIG_INITIALIZER` of the version that the bindings are of.
const CONFIG_MAGIC: u32 = 0xcafe_beef;
const CONFIG_VERSION: u32 = 22907;
const UNSET: i32 = i32::MIN;
const NON_BLOCKING: i32 = 0;
/// Questions without a pause at first, as most operations are queued at once.
const EAGER_WAIT: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);
/// How long the end of a healthy communicator may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A communicator of the library. The library lets one thread use it at a time.
pub(super) struct Handle {
    /// The library's thread that joins the ranks writes here, so it must not move.
    place: Box<AtomicPtr<sys::ncclComm>>,
}

/// Why a call did not get done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// In the library's words.
    Failed(String),
    /// Not within the deadline.
    TimedOut,
}

impl Handle {
    /// Joins the ranks that know `id`, on this thread's GPU.
    ///
    /// # Errors
    /// When the library refuses or the other ranks do not come within `timeout`.
    pub fn join(id: [u8; ID_BYTES], rank: usize, size: usize, timeout: Duration) -> Result<Self, CallError> {
        let id = sys::ncclUniqueId { internal: id.map(|byte| byte as c_char) };
        let mut config = config();
        let handle = Self { place: Box::default() };
        let (size, rank) = (i32::try_from(size).unwrap_or(i32::MAX), i32::try_from(rank).unwrap_or(i32::MAX));
        // SAFETY: a complete configuration, which the library copies, and a place for the communicator that stays until
        // it is complete, and for good if that never comes.
        let begun =
            outcome(unsafe { result::comm_init_rank_config(handle.place.as_ptr(), size, id, rank, &mut config) });
        match handle.settle(begun, timeout, || ()) {
            Ok(()) => Ok(handle),
            Err(error) => {
                Box::leak(handle.abort());
                Err(error)
            }
        }
    }

    /// For the library's functions.
    pub fn raw(&self) -> sys::ncclComm_t {
        self.place.load(Ordering::Acquire)
    }

    /// Waits until a call that has `begun` is done, asking the library, which then has queued it; calls `in_a_pause` now
    /// and then, if it takes its time.
    ///
    /// # Errors
    /// When it fails or takes longer than `timeout`; the communicator can then only be aborted.
    pub fn settle(
        &self,
        begun: Result<Progress, String>,
        timeout: Duration,
        mut in_a_pause: impl FnMut(),
    ) -> Result<(), CallError> {
        let mut progress = begun.map_err(CallError::Failed)?;
        let start = Instant::now();
        while progress == Progress::InProgress {
            progress = self.state().map_err(CallError::Failed)?;
            let waited = start.elapsed();
            if progress == Progress::Done {
                break;
            } else if waited >= timeout {
                return Err(CallError::TimedOut);
            } else if waited < EAGER_WAIT {
                thread::yield_now();
            } else {
                in_a_pause();
                thread::sleep((waited / 8).min(LONGEST_PAUSE));
            }
        }
        Ok(())
    }

    /// How the communicator is.
    ///
    /// # Errors
    /// The failure that it had meanwhile, in the library's words.
    pub fn state(&self) -> Result<Progress, String> {
        let raw = self.raw();
        if raw.is_null() {
            return Ok(Progress::InProgress);
        }
        let mut state = sys::ncclResult_t::ncclSuccess;
        // SAFETY: a live communicator and a place for the answer.
        let asked = unsafe { sys::ncclCommGetAsyncError(raw, &mut state) };
        if asked != sys::ncclResult_t::ncclSuccess {
            return Err(message_of(asked));
        }
        outcome(state.result())
    }

    /// Ends it without the other ranks; what is queued ends, too. Returns the place that a library which is still
    /// joining the ranks may yet write to.
    pub fn abort(self) -> Box<AtomicPtr<sys::ncclComm>> {
        let raw = self.raw();
        if !raw.is_null() {
            // SAFETY: a live communicator that nobody uses afterwards. Its failures change nothing.
            let _ = unsafe { result::comm_abort(raw) };
        }
        self.place
    }

    /// Ends it together with the other ranks.
    pub fn finish(self) {
        // SAFETY: a live communicator.
        let begun = outcome(unsafe { result::comm_finalize(self.raw()) });
        match self.settle(begun, FAREWELL, || ()) {
            // SAFETY: a finalized communicator that nobody uses afterwards. Its failures change nothing.
            Ok(()) => drop(unsafe { result::comm_destroy(self.raw()) }),
            Err(_) => drop(self.abort()),
        }
    }
}

fn config() -> sys::ncclConfig_t {
    sys::ncclConfig_t {
        size: size_of::<sys::ncclConfig_t>(),
        magic: CONFIG_MAGIC,
        version: CONFIG_VERSION,
        blocking: NON_BLOCKING,
        cgaClusterSize: UNSET,
        minCTAs: UNSET,
        maxCTAs: UNSET,
        netName: ptr::null(),
        splitShare: UNSET,
        trafficClass: UNSET,
        commName: ptr::null(),
        collnetEnable: UNSET,
        CTAPolicy: UNSET,
        shrinkShare: UNSET,
        nvlsCTAs: UNSET,
        nChannelsPerNetPeer: UNSET,
        nvlinkCentricSched: UNSET,
        graphUsageMode: UNSET,
        numRmaCtx: UNSET,
    }
}
