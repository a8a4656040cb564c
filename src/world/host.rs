//! The machine that this process runs on: its name, the cores that this process may use, the memory that it has used.

use std::fs;
use std::io;
use std::mem;

/// The machine's name in its network.
pub fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The numbers of the cores that this process may run on; at least core 0.
pub(super) fn allowed_cores() -> Vec<usize> {
    // SAFETY: a plain bit set, of which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: a set of the size given; 0 is the calling thread.
    let code = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    let capacity = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: numbers below the set's capacity.
    let cores: Vec<usize> = (0..capacity).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect();
    if code == 0 && !cores.is_empty() { cores } else { vec![0] }
}

/// The most memory this process has had resident since it began or [`forget_peak_memory`] was called, in MiB.
///
/// # Errors
/// When the system does not tell.
pub fn peak_memory_mib() -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other("no VmHWM in /proc/self/status"))
}

/// Seconds that all threads of this process have computed since it began.
pub fn process_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// Begins to look for the peak anew. Where the system does not allow it, the next peak is that of all before too.
pub fn forget_peak_memory() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_of_memory_holds_what_is_used() {
        let bytes = vec![1u8; 64 << 20];
        assert!(peak_memory_mib().unwrap() > 64.0);
        assert_eq!(bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 64 << 20);
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!allowed_cores().is_empty());
    }
}
