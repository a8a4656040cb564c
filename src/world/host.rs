//! The machine that this process runs on: its name, and this process's share of its cores.

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

/// Threads for a process on `own` cores of a machine on which the processes of `all` (with this one) may run: its cores,
/// each counted by the share that is left when all processes on it take the same; at least 1.
pub(super) fn fair_threads(own: &[usize], all: &[Vec<usize>]) -> usize {
    let users = |core: &usize| all.iter().filter(|cores| cores.contains(core)).count().max(1);
    let share: f64 = own.iter().map(|core| 1.0 / users(core) as f64).sum();
    // Thirds do not add up to a whole exactly.
    ((share + 1e-9).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unbound_ranks_divide_the_cores() {
        let all = |ranks: usize, cores: usize| vec![(0..cores).collect::<Vec<_>>(); ranks];
        for (ranks, cores, threads) in [(1, 2, 2), (2, 2, 1), (3, 8, 2), (4, 2, 1), (3, 3, 1), (7, 7, 1)] {
            let all = all(ranks, cores);
            assert_eq!(fair_threads(&all[0], &all), threads, "{ranks} ranks on {cores} cores");
        }
    }

    #[test]
    fn bound_ranks_keep_their_own_cores() {
        let all = [vec![0, 1, 2, 3], vec![4, 5, 6, 7]];
        assert_eq!(fair_threads(&all[0], &all), 4);
        let overlapping = [vec![0, 1], vec![1, 2, 3]];
        assert_eq!(overlapping.each_ref().map(|own| fair_threads(own, &overlapping)), [1, 2]);
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!allowed_cores().is_empty());
    }
}
