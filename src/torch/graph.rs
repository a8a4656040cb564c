//! Work on a GPU that is recorded once and replayed: a CUDA graph.
//!
//! A search step is thousands of small kernels, and to launch them one by one takes the CPU longer than the GPU needs to
//! compute them. Source: Ng et al., *Accelerating PyTorch with CUDA Graphs* (PyTorch blog, 2021).

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_use_own_stream(device: i64) -> *mut c_char;
    fn pdarts_peak_gpu_bytes(device: i64, bytes: *mut i64) -> *mut c_char;
    fn pdarts_begin_graph(
        device: i64,
        shares: *const c_void,
        any_thread_cuts: bool,
        graph: *mut *mut c_void,
    ) -> *mut c_char;
    fn pdarts_cut_graph(graph: *mut c_void) -> *mut c_char;
    fn pdarts_finish_graph(graph: *mut c_void) -> *mut c_char;
    fn pdarts_replay_graph(graph: *mut c_void, part: usize, probability: f64) -> *mut c_char;
    fn pdarts_graph_size(graph: *const c_void) -> i64;
    fn pdarts_release_graph(graph: *mut c_void);
}

/// From now on this thread queues its work on GPU `device` on a stream of its own: the default one cannot be recorded. cuDNN
/// computes the same numbers every time, and convolutions in float32 are not rounded to TF32.
///
/// # Errors
/// When libtorch has no such GPU.
pub fn use_own_stream(device: usize) -> Result<(), TorchError> {
    let device = i64::try_from(device).unwrap_or(i64::MAX);
    // SAFETY: no pointers.
    take_message(unsafe { pdarts_use_own_stream(device) })
}

/// The most memory of GPU `device` in bytes that tensors have taken at one time.
///
/// # Errors
/// When libtorch has no such GPU.
pub fn peak_gpu_bytes(device: usize) -> Result<u64, TorchError> {
    let (device, mut bytes) = (i64::try_from(device).unwrap_or(i64::MAX), 0);
    // SAFETY: a place for the result.
    take_message(unsafe { pdarts_peak_gpu_bytes(device, &mut bytes) })?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Recorded work with the memory that it uses.
#[derive(Debug)]
pub struct Graph {
    inner: *mut c_void,
}

/// Cuts work while it is recorded: what comes from now on is another part of it, replayed by itself. Any thread may call it, one
/// at a time.
pub type Cut = Arc<dyn Fn() -> Result<(), TorchError> + Send + Sync>;

/// A graph under recording, which threads cut in turn.
struct Cuttable(*mut c_void);

// SAFETY: who cuts holds the lock that it lies behind, and the thread that records waits meanwhile.
unsafe impl Send for Cuttable {}

/// Ends that a graph can be cut when it is dropped.
struct UnderRecording<'a>(&'a Mutex<Option<Cuttable>>);

impl Drop for UnderRecording<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Graph {
    /// Records what `work` queues on this thread's stream of GPU `device`, which is not the default one; nothing is computed.
    /// Tensors that `work` keeps are where each replay leaves its results, other tensors that it makes are gone.
    ///
    /// Work that waits for the device, or that copies from memory which is not page-locked, cannot be recorded. What it draws
    /// by [`dropout`](super::dropout()), each replay draws anew. Where it `may_be_cut`, it is given what cuts it; CUDA does then
    /// not notice every call that cannot be recorded.
    ///
    /// It works in the memory of the graph `shares`, if there is one, and of those that shares with: what one of them leaves is
    /// gone when another is replayed. All must be recorded on one stream.
    ///
    /// # Errors
    /// Those of `work`, and when CUDA cannot record it.
    pub fn record<E: From<TorchError>>(
        device: usize,
        shares: Option<&Graph>,
        may_be_cut: bool,
        work: impl FnOnce(Cut) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut inner = ptr::null_mut();
        let device = i64::try_from(device).unwrap_or(i64::MAX);
        let shares = shares.map_or(ptr::null(), |graph| graph.inner.cast_const());
        // SAFETY: a live graph or null, and a place for the result.
        take_message(unsafe { pdarts_begin_graph(device, shares, may_be_cut, &mut inner) })?;
        // From here on dropped, and so ended, whatever happens.
        let graph = Self { inner };
        let under_recording = Arc::new(Mutex::new(Some(Cuttable(inner))));
        let cut = {
            let under_recording = Arc::clone(&under_recording);
            move || match &*under_recording.lock().unwrap_or_else(PoisonError::into_inner) {
                // SAFETY: alive, and under recording until it is taken out.
                Some(Cuttable(graph)) => take_message(unsafe { pdarts_cut_graph(*graph) }),
                None => Err(TorchError::Shim("nothing is recorded that could be cut".to_owned())),
            }
        };
        // Before `graph` is dropped, also where `work` panics.
        let recording = UnderRecording(&under_recording);
        let result = work(Arc::new(cut));
        drop(recording);
        result?;
        // SAFETY: a live graph under recording.
        take_message(unsafe { pdarts_finish_graph(graph.inner) })?;
        Ok(graph)
    }

    /// Queues a part of the work on the stream that it was recorded on: all parts, in their order. What they draw, they draw
    /// with `probability`.
    ///
    /// # Errors
    /// When there is no such part, and when CUDA refuses.
    pub fn replay(&self, part: usize, probability: f64) -> Result<(), TorchError> {
        // SAFETY: a live graph; it is not shared between threads.
        take_message(unsafe { pdarts_replay_graph(self.inner, part, probability) })
    }

    /// Kernels and copies of all parts.
    pub fn size(&self) -> usize {
        // SAFETY: a live graph.
        usize::try_from(unsafe { pdarts_graph_size(self.inner) }).unwrap_or(0)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: given out by the shim, released once.
        unsafe { pdarts_release_graph(self.inner) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_without_gpus_records_nothing() {
        if tch::Cuda::is_available() {
            println!("SKIPPED: this machine has a GPU");
            return;
        }
        let recorded = Graph::record::<TorchError>(0, None, false, |_| panic!("nothing is recorded"));
        let error = recorded.unwrap_err().to_string();
        assert!(!error.is_empty() && error.lines().count() == 1, "{error}");
        assert!(use_own_stream(0).is_err());
    }
}
