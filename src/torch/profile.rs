//! Time of each kind of operation, as libtorch's own hooks see it, and of each kernel on a GPU.

use std::ffi::{CStr, c_char, c_void};

use super::{TorchError, take_message};

type Visit = extern "C" fn(*mut c_void, *const c_char, f64, i64);
type Start = unsafe extern "C" fn() -> *mut c_char;
type Stop = unsafe extern "C" fn(Visit, *mut c_void) -> *mut c_char;

unsafe extern "C" {
    fn pdarts_profile_start() -> *mut c_char;
    fn pdarts_profile_stop(visit: Visit, context: *mut c_void) -> *mut c_char;
    fn pdarts_gpu_profile_start() -> *mut c_char;
    fn pdarts_gpu_profile_stop(visit: Visit, context: *mut c_void) -> *mut c_char;
}

/// What one kind of operation, or one kernel, took on all threads of this process.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationTime {
    /// As in `aten::convolution_backward`; nodes of backward have the names of their classes, kernels those of their functions
    /// with all template arguments.
    pub name: String,
    /// Without the operations that it called.
    pub seconds: f64,
    /// How often it was called.
    pub calls: u64,
}

/// Runs `work` and returns what it returned with the time of each operation in it, longest first.
///
/// One profile at a time: the hooks are of the whole process. On a GPU this is the time of launching.
///
/// # Errors
/// When libtorch refuses the hooks.
pub fn profile<T>(work: impl FnOnce() -> T) -> Result<(T, Vec<OperationTime>), TorchError> {
    profile_between(pdarts_profile_start, pdarts_profile_stop, work)
}

/// Runs `work` and returns what it returned with the time that a GPU took for each kernel and kind of copy, longest first;
/// without any where libtorch cannot see them. `work` ends by waiting for the GPU.
///
/// # Errors
/// When libtorch refuses. One profile at a time: another begun within `work` ends the first.
pub fn profile_gpu<T>(work: impl FnOnce() -> T) -> Result<(T, Vec<OperationTime>), TorchError> {
    profile_between(pdarts_gpu_profile_start, pdarts_gpu_profile_stop, work)
}

/// Runs `work` between two of the shim's functions, of which `stop` tells the times.
fn profile_between<T>(
    start: Start,
    stop: Stop,
    work: impl FnOnce() -> T,
) -> Result<(T, Vec<OperationTime>), TorchError> {
    // SAFETY: no pointers; what the shim keeps meanwhile is behind a lock or of this thread.
    take_message(unsafe { start() })?;
    let result = work();
    let mut times: Vec<OperationTime> = Vec::new();
    // SAFETY: `collect` gets the vector that lives here, and is not called afterwards.
    take_message(unsafe { stop(collect, (&raw mut times).cast()) })?;
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok((result, times))
}

extern "C" fn collect(times: *mut c_void, name: *const c_char, seconds: f64, calls: i64) {
    // SAFETY: the vector of `profile`, and a terminated string that lives during the call.
    let (times, name) = unsafe { (&mut *times.cast::<Vec<OperationTime>>(), CStr::from_ptr(name)) };
    let calls = u64::try_from(calls).unwrap_or(0);
    times.push(OperationTime { name: name.to_string_lossy().into_owned(), seconds, calls });
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn operations_are_counted_with_their_own_time() {
        tch::set_num_threads(1);
        let a = Tensor::randn([256, 256], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        // Of what no other test calls: the hooks see what all threads do.
        let product = || Tensor::linalg_multi_dot(&[&a, &a, &a]).sum(Kind::Float);
        let times = |work: &dyn Fn()| profile(work).unwrap().1;
        let of = |times: &[OperationTime], name: &str| times.iter().find(|time| time.name == name).unwrap().clone();
        let found = times(&|| (0..3).for_each(|_| product().backward()));
        assert_eq!(of(&found, "aten::linalg_multi_dot").calls, 3);
        assert!(of(&found, "aten::mm").calls >= 9, "of each two forward products, and one backward");
        // With its products' time it would never take less than they. The system may take its core away between them.
        let is_its_own = || {
            let found = times(&|| drop(product()));
            of(&found, "aten::linalg_multi_dot").seconds < of(&found, "aten::mm").seconds
        };
        assert!((0..20).any(|_| is_its_own()), "a caller's time is its own");
    }

    #[test]
    fn machine_without_gpus_has_no_kernels() {
        if tch::Cuda::is_available() {
            println!("SKIPPED: this machine has a GPU");
            return;
        }
        // The second finds that the first has ended.
        for result in [1, 2] {
            let sum = || Tensor::ones([result], (Kind::Float, Device::Cpu)).sum(Kind::Int64).int64_value(&[]);
            assert_eq!(profile_gpu(sum).unwrap(), (result, vec![]));
        }
    }
}
