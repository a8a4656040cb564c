//! The machine that this process runs on: its name, and the cores that this process may use.

use std::fs;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!allowed_cores().is_empty());
    }
}
