//! How many threads a rank computes with unless told: as many as it may keep busy without taking from others.

use std::{env, fmt, thread};

use serde::{Deserialize, Serialize};

/// What decided the number of threads.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadBound {
    /// The user.
    Stated,
    /// The cores that the process may run on, of which ranks on the same cores take equal shares.
    Cores,
    /// OMP_NUM_THREADS.
    OmpNumThreads,
    /// A container's or a service's share of the processor's time (cgroup v1 and v2).
    CpuQuota,
    /// The processors that SLURM has given to the job or the task, which it may not enforce.
    Slurm,
}

impl fmt::Display for ThreadBound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stated => "as stated",
            Self::Cores => "the cores that it may run on",
            Self::OmpNumThreads => "OMP_NUM_THREADS",
            Self::CpuQuota => "the CPU quota of its container (cgroup)",
            Self::Slurm => "SLURM's allocation",
        })
    }
}

/// Threads for a process on the cores `own` of a machine whose ranks (with this one) may run on the cores `all`.
pub(super) fn default_threads(own: &[usize], all: &[Vec<usize>]) -> (usize, ThreadBound) {
    let num_ranks = all.len().max(1);
    // The standard library knows affinity and quotas; what it counts less than the cores is a quota.
    let usable = thread::available_parallelism().map_or(own.len(), usize::from);
    let quota = (usable < own.len()).then_some(usable);
    let variable = |name: &str| env::var(name).ok();
    least([
        (Some(fair_threads(own, all)), ThreadBound::Cores),
        (quota.map(|quota| quota / num_ranks), ThreadBound::CpuQuota),
        (slurm_threads(num_ranks, variable), ThreadBound::Slurm),
        (omp_threads(variable), ThreadBound::OmpNumThreads),
    ])
}

/// The tightest bound, of equal ones the first; at least 1 thread.
fn least(bounds: [(Option<usize>, ThreadBound); 4]) -> (usize, ThreadBound) {
    let known = bounds.into_iter().filter_map(|(threads, bound)| Some((threads?.max(1), bound)));
    known.min_by_key(|(threads, _)| *threads).unwrap_or((1, ThreadBound::Cores))
}

/// The first level of a list such as `4,2`.
fn omp_threads(variable: impl Fn(&str) -> Option<String>) -> Option<usize> {
    variable("OMP_NUM_THREADS")?.split(',').next()?.trim().parse().ok().filter(|&threads| threads > 0)
}

/// SLURM's processors for each of `num_ranks` ranks on this node; in a task of srun, at most those of the task.
fn slurm_threads(num_ranks: usize, variable: impl Fn(&str) -> Option<String>) -> Option<usize> {
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok().filter(|&number| number > 0);
    let of_node = number("SLURM_CPUS_ON_NODE").map(|processors| processors / num_ranks);
    // In the batch script, which is no task, the whole allocation is free.
    let of_task = number("SLURM_CPUS_PER_TASK").filter(|_| variable("SLURM_STEP_ID").is_some());
    of_node.into_iter().chain(of_task).min()
}

/// Threads for a process on `own` cores of a machine on which the processes of `all` (with this one) may run: its cores,
/// each counted by the share that is left when all processes on it take the same; at least 1.
fn fair_threads(own: &[usize], all: &[Vec<usize>]) -> usize {
    let users = |core: &usize| all.iter().filter(|cores| cores.contains(core)).count().max(1);
    let share: f64 = own.iter().map(|core| 1.0 / users(core) as f64).sum();
    // Thirds do not add up to a whole exactly.
    ((share + 1e-9).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

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
    fn number_of_openmp_is_read_and_nonsense_is_not() {
        for (value, threads) in [("3", Some(3)), (" 4,2", Some(4)), ("", None), ("0", None), ("all", None)] {
            assert_eq!(omp_threads(reader(&[("OMP_NUM_THREADS", value)])), threads, "{value:?}");
        }
        assert_eq!(omp_threads(|_| None), None);
    }

    proptest! {
        #[test]
        fn whatever_the_environment_says_there_is_a_thread(
            values in prop::collection::vec(
                prop_oneof![any::<String>(), any::<u64>().prop_map(|number| number.to_string()), "-?[0-9]{1,3}(,[0-9])?"],
                4,
            ),
            num_ranks in 1..1000_usize,
        ) {
            const NAMES: [&str; 4] = ["OMP_NUM_THREADS", "SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK", "SLURM_STEP_ID"];
            let variables: Vec<(&str, &str)> = NAMES.into_iter().zip(values.iter().map(String::as_str)).collect();
            let slurm = slurm_threads(num_ranks, reader(&variables));
            let omp = omp_threads(reader(&variables));
            let (threads, _) = least([
                (Some(4), ThreadBound::Cores), (None, ThreadBound::CpuQuota), (slurm, ThreadBound::Slurm),
                (omp, ThreadBound::OmpNumThreads),
            ]);
            prop_assert!((1..=4).contains(&threads));
        }
    }

    #[test]
    fn slurm_gives_a_batch_script_the_node_and_a_task_its_own() {
        let batch = [("SLURM_CPUS_ON_NODE", "8"), ("SLURM_CPUS_PER_TASK", "2")];
        let step = [&batch[..], &[("SLURM_STEP_ID", "0")]].concat();
        assert_eq!(slurm_threads(1, reader(&batch)), Some(8));
        assert_eq!(slurm_threads(1, reader(&step)), Some(2));
        assert_eq!(slurm_threads(8, reader(&step)), Some(1));
        assert_eq!(slurm_threads(3, reader(&[("SLURM_CPUS_ON_NODE", "8")])), Some(2));
        assert_eq!(slurm_threads(1, reader(&[("SLURM_JOB_ID", "8")])), None);
    }

    #[test]
    fn tightest_bound_counts_and_leaves_a_thread() {
        use ThreadBound::{Cores, CpuQuota, OmpNumThreads, Slurm};
        let bounds =
            |quota, slurm, omp| least([(Some(4), Cores), (quota, CpuQuota), (slurm, Slurm), (omp, OmpNumThreads)]);
        assert_eq!(bounds(None, None, None), (4, Cores));
        assert_eq!(bounds(None, Some(4), Some(8)), (4, Cores));
        assert_eq!(bounds(Some(0), None, Some(2)), (1, CpuQuota));
        assert_eq!(bounds(Some(3), Some(2), None), (2, Slurm));
        assert_eq!(bounds(Some(3), None, Some(2)), (2, OmpNumThreads));
    }
}
