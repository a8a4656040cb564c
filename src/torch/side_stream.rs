//! A stream of work on a GPU beside the one that libtorch computes on.
//!
//! Streams run at the same time; an event in one lets another wait for it without the CPU.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use tch::{Cuda, Device};

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_new_side_stream(device: i64, side: *mut *mut c_void, handle: *mut *mut c_void) -> *mut c_char;
    fn pdarts_side_stream_follow(side: *const c_void) -> *mut c_char;
    fn pdarts_side_stream_record(side: *const c_void, event: *mut *mut c_void) -> *mut c_char;
    fn pdarts_wait_for_event(side: *const c_void, event: *const c_void) -> *mut c_char;
    fn pdarts_event_is_complete(event: *const c_void, is_complete: *mut bool) -> *mut c_char;
    fn pdarts_release_side_stream(side: *mut c_void);
    fn pdarts_release_event(event: *mut c_void);
}

/// A stream of libtorch's pool, of high priority.
///
/// "The current stream" is always that of the calling thread.
#[derive(Clone)]
pub struct SideStream {
    inner: Arc<Inner>,
}

struct Inner {
    stream: *mut c_void,
    handle: *mut c_void,
}

// SAFETY: an immutable handle on a stream; CUDA's calls on streams may come from any thread.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl SideStream {
    /// On GPU `device`, which also becomes this thread's device.
    ///
    /// # Errors
    /// When libtorch has no such GPU.
    pub fn new(device: usize) -> Result<Self, TorchError> {
        let (mut stream, mut handle) = (ptr::null_mut(), ptr::null_mut());
        let device = i64::try_from(device).unwrap_or(i64::MAX);
        // SAFETY: two places for the results.
        take_message(unsafe { pdarts_new_side_stream(device, &mut stream, &mut handle) })?;
        Ok(Self { inner: Arc::new(Inner { stream, handle }) })
    }

    /// The `cudaStream_t`.
    pub fn handle(&self) -> *mut c_void {
        self.inner.handle
    }

    /// Work that is queued here from now on waits for what is queued on the current stream now.
    ///
    /// # Errors
    /// When CUDA refuses.
    pub fn follow_current(&self) -> Result<(), TorchError> {
        // SAFETY: a live stream.
        take_message(unsafe { pdarts_side_stream_follow(self.inner.stream) })
    }

    /// Marks the end of what is queued here now.
    ///
    /// # Errors
    /// When CUDA refuses.
    pub fn record(&self) -> Result<StreamEvent, TorchError> {
        let mut event = ptr::null_mut();
        // SAFETY: a live stream, a place for the event.
        take_message(unsafe { pdarts_side_stream_record(self.inner.stream, &mut event) })?;
        Ok(StreamEvent { event, side: self.clone() })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: given out by the shim, released once.
        unsafe { pdarts_release_side_stream(self.stream) };
    }
}

/// A place in a side stream.
pub struct StreamEvent {
    event: *mut c_void,
    side: SideStream,
}

// SAFETY: an owned handle on an event that is not recorded again; CUDA answers questions about it on any thread.
unsafe impl Send for StreamEvent {}
// SAFETY: as above.
unsafe impl Sync for StreamEvent {}

impl StreamEvent {
    /// Makes the current stream wait; the CPU goes on.
    ///
    /// # Errors
    /// When CUDA refuses.
    pub fn make_current_wait(&self) -> Result<(), TorchError> {
        // SAFETY: both live.
        take_message(unsafe { pdarts_wait_for_event(self.side.inner.stream, self.event) })
    }

    /// Whether the side stream has come there.
    ///
    /// # Errors
    /// When work on the GPU has failed.
    pub fn is_complete(&self) -> Result<bool, TorchError> {
        let mut is_complete = false;
        // SAFETY: a live event, a place for the answer.
        take_message(unsafe { pdarts_event_is_complete(self.event, &mut is_complete) })?;
        Ok(is_complete)
    }
}

impl Drop for StreamEvent {
    fn drop(&mut self) {
        // SAFETY: given out by the shim, released once.
        unsafe { pdarts_release_event(self.event) };
    }
}

/// Waits until `device` has done what it was given, on all of its streams.
pub fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(i64::try_from(index).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_without_gpus_has_no_side_streams() {
        if tch::Cuda::is_available() {
            println!("SKIPPED: this machine has a GPU");
            return;
        }
        let error = SideStream::new(0).err().unwrap().to_string();
        assert!(!error.is_empty() && error.lines().count() == 1, "{error}");
    }

    #[test]
    fn current_stream_waits_for_a_side_stream() {
        if !tch::Cuda::is_available() {
            println!("SKIPPED: this machine has no GPU");
            return;
        }
        let side = SideStream::new(0).unwrap();
        side.follow_current().unwrap();
        let event = side.record().unwrap();
        event.make_current_wait().unwrap();
        tch::Cuda::synchronize(0);
        assert!(event.is_complete().unwrap());
    }
}
