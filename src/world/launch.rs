//! Whether this process is one of several, as told by the environment that launchers make.
//!
//! MPI is not started to find out: a process on its own needs no MPI daemon. Whether MPI and the launcher understand each
//! other shows once it is started: ranks that it does not connect would each do the whole work alone.

/// Variables that only processes of an MPI launcher have: Open MPI's mpirun, PMIx (srun --mpi=pmix, prun), PMI (MPICH,
/// Intel MPI, srun --mpi=pmi2), MVAPICH.
const MPI_VARIABLES: [&str; 6] =
    ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_SIZE"];

/// Launchers by the variables in which they tell a process how many there are and which it is. One may have started
/// another: the first whose variables are there is the innermost.
const LAUNCHERS: [Launcher; 8] = [
    Launcher { name: "Open MPI's mpirun", size: "OMPI_COMM_WORLD_SIZE", rank: "OMPI_COMM_WORLD_RANK" },
    Launcher { name: "MVAPICH's mpirun", size: "MV2_COMM_WORLD_SIZE", rank: "MV2_COMM_WORLD_RANK" },
    Launcher { name: "a PMI launcher (MPICH's mpiexec, srun --mpi=pmi2)", size: "PMI_SIZE", rank: "PMI_RANK" },
    Launcher { name: "horovodrun", size: "HOROVOD_SIZE", rank: "HOROVOD_RANK" },
    // Also accelerate, deepspeed and Kubernetes' PyTorch jobs.
    Launcher { name: "torchrun", size: "WORLD_SIZE", rank: "RANK" },
    Launcher { name: SRUN, size: "SLURM_STEP_NUM_TASKS", rank: "SLURM_STEP_ID" },
    Launcher { name: SRUN, size: "SLURM_NTASKS", rank: "SLURM_STEP_ID" },
    Launcher { name: "flux run", size: "FLUX_JOB_SIZE", rank: "FLUX_TASK_RANK" },
];

/// SLURM's numbers of steps from here on are its own: the batch script, an interactive shell.
const FIRST_SPECIAL_STEP: u64 = 0xffff_fff0;

const SRUN: &str = "srun";

struct Launcher {
    name: &'static str,
    size: &'static str,
    /// Needed beside `size`, which alone can be anybody's: names like WORLD_SIZE are in common use.
    rank: &'static str,
}

/// What a launcher says of how many processes it has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub launcher: &'static str,
    /// The variable that says so.
    pub variable: &'static str,
    pub size: usize,
}

/// Who started this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Launch {
    /// Whether it was an MPI launcher.
    pub is_mpi: bool,
    /// None from a shell.
    pub announced: Option<Announced>,
}

/// Reads the environment through `variable`. What is set to nothing counts as not set.
pub(super) fn detect(variable: impl Fn(&str) -> Option<String>) -> Launch {
    let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let number = |name: &str| variable(name)?.trim().parse::<u64>().ok();
    let announced = LAUNCHERS.iter().find_map(|launcher| {
        let (size, rank) = (number(launcher.size)?, number(launcher.rank)?);
        let is_meant = if launcher.name == SRUN { rank < FIRST_SPECIAL_STEP } else { rank < size };
        let size = usize::try_from(size).ok().filter(|_| is_meant)?;
        Some(Announced { launcher: launcher.name, variable: launcher.size, size })
    });
    let of_pmix = || {
        // PMIx leaves the number of processes to its library; a rank above 0 has others below it.
        let rank = number("PMIX_RANK").and_then(|rank| usize::try_from(rank).ok()).filter(|&rank| rank > 0)?;
        Some(Announced { launcher: "a PMIx launcher", variable: "PMIX_RANK", size: rank.saturating_add(1) })
    };
    let is_mpi = MPI_VARIABLES.iter().any(|name| variable(name).is_some());
    Launch { is_mpi, announced: announced.or_else(of_pmix) }
}

/// The rank that the innermost launcher gave this process. mpiexec of MPICH and Intel MPI has its daemons started by srun, whose
/// ranks by PMIx and SLURM its processes have beside their own.
pub(super) fn rank(variable: impl Fn(&str) -> Option<String>) -> Option<usize> {
    const RANKS: [&str; 4] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"];
    RANKS.iter().find_map(|name| variable(name)?.trim().parse().ok())
}

/// Whether srun itself has started this process: launchers that it has started set variables of their own (`launcher` names
/// these), and where it connects processes by PMI or PMIx, their ranks there are its own.
pub(super) fn is_of_srun(variable: impl Fn(&str) -> Option<String>) -> bool {
    let number = |name: &str| variable(name)?.trim().parse::<u64>().ok();
    let is_a_step = number("SLURM_STEP_ID").is_some_and(|step| step < FIRST_SPECIAL_STEP);
    let Some(rank) = number("SLURM_PROCID").filter(|_| is_a_step) else { return false };
    launcher(&variable) == Some(SRUN)
        && ["PMIX_RANK", "PMI_RANK"].iter().all(|name| number(name).is_none_or(|of| of == rank))
}

/// The name of the launcher, by what it alone sets.
pub(super) fn launcher(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let known = [
        ("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"),
        ("MPI_LOCALNRANKS", "an MPICH-like mpirun"),
        ("TORCHELASTIC_RUN_ID", "torchrun"),
        ("SLURM_STEP_ID", SRUN),
        ("PMIX_RANK", "a PMIx launcher"),
        ("PMI_RANK", "a PMI launcher"),
        ("PMI_SIZE", "a PMI launcher"),
        ("SLURM_JOB_ID", "a SLURM batch script"),
    ];
    // An mpirun inside a batch script has SLURM's variables as well as its own.
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let named = known.into_iter().find_map(|(name, launcher)| set(name).then_some(launcher));
    named.or_else(|| Some(detect(&variable).announced?.launcher))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a variable of the environment may hold.
    fn garbage() -> impl Strategy<Value = String> {
        const WORDS: [&str; 12] = [
            "",
            " ",
            "0",
            "-1",
            " 4 ",
            "4,2",
            "2(x3)",
            "4294967291",
            "18446744073709551615",
            "18446744073709551616",
            "nan",
            "8",
        ];
        prop_oneof![prop::sample::select(&WORDS[..]).prop_map(str::to_owned), any::<String>()]
    }

    fn detect_in(variables: &[(&str, &str)]) -> Launch {
        detect(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn size_in(variables: &[(&str, &str)]) -> Option<usize> {
        detect_in(variables).announced.map(|announced| announced.size)
    }

    #[test]
    fn launchers_are_told_from_shells() {
        assert_eq!(detect_in(&[]), Launch { is_mpi: false, announced: None });
        assert!(detect_in(&[("OMPI_COMM_WORLD_SIZE", "2")]).is_mpi);
        assert!(detect_in(&[("PMI_RANK", "0")]).is_mpi);
        assert!(!detect_in(&[("PMI_RANK", ""), ("PMI_SIZE", "")]).is_mpi);
        assert!(!detect_in(&[("RANK", "0"), ("WORLD_SIZE", "2")]).is_mpi);
    }

    #[test]
    fn launchers_are_named() {
        let name = |names: &[&str]| launcher(|name| names.contains(&name).then(|| "1".to_owned()));
        assert_eq!(name(&[]), None);
        assert_eq!(name(&["SLURM_JOB_ID"]), Some("a SLURM batch script"));
        assert_eq!(name(&["SLURM_JOB_ID", "SLURM_STEP_ID", "PMIX_RANK"]), Some("srun"));
        assert_eq!(name(&["SLURM_JOB_ID", "SLURM_STEP_ID", "OMPI_COMM_WORLD_SIZE"]), Some("Open MPI's mpirun"));
    }

    /// What processes of SLURM 22.05, MPICH 4.0 and Open MPI 4.1 have, the first two with srun's plugins for PMI.
    #[test]
    fn srun_is_told_from_launchers_that_it_has_started() {
        let told = |variables: &[(&str, &str)]| {
            let find =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            (is_of_srun(find), rank(find))
        };
        let step = [("SLURM_PROCID", "1"), ("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "2")];
        for by_pmi in [
            &[][..],
            &[("PMI_FD", "11"), ("PMI_RANK", "1"), ("PMI_SIZE", "2")],
            &[("PMIX_RANK", "1"), ("PMIX_VERSION", "4")],
        ] {
            assert_eq!(told(&[&step[..], by_pmi].concat()), (true, Some(1)), "{by_pmi:?}");
        }
        // Their daemons are tasks of srun.
        let of_mpich = [("PMI_RANK", "2"), ("PMI_SIZE", "3"), ("MPI_LOCALNRANKS", "2"), ("MPI_LOCALRANKID", "1")];
        let of_open_mpi = [("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "3"), ("PMIX_RANK", "2")];
        assert_eq!(told(&[&of_mpich[..], &step, &[("PMIX_RANK", "0")]].concat()), (false, Some(2)));
        assert_eq!(told(&[&of_open_mpi[..], &step].concat()), (false, Some(2)));
        assert_eq!(told(&[&step[..], &[("PMIX_RANK", "3")]].concat()), (false, Some(3)));
        // In a batch script, without srun.
        assert_eq!(told(&[&of_mpich[..], &[("SLURM_PROCID", "0")]].concat()), (false, Some(2)));
        assert_eq!(told(&[("SLURM_PROCID", "0"), ("SLURM_STEP_ID", "4294967291")]), (false, Some(0)));
    }

    #[test]
    fn every_launcher_says_how_many_there_are() {
        for [size, rank] in [
            ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"],
            ["MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"],
            ["PMI_SIZE", "PMI_RANK"],
            ["WORLD_SIZE", "RANK"],
            ["HOROVOD_SIZE", "HOROVOD_RANK"],
            ["FLUX_JOB_SIZE", "FLUX_TASK_RANK"],
            ["SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID"],
        ] {
            let announced = detect_in(&[(size, "4"), (rank, "3")]).announced.unwrap();
            assert_eq!((announced.variable, announced.size), (size, 4));
            assert_eq!(size_in(&[(size, "1"), (rank, "0")]), Some(1));
        }
        assert_eq!(size_in(&[("PMIX_RANK", "3")]), Some(4));
        assert_eq!(size_in(&[("PMIX_RANK", "0")]), None);
    }

    #[test]
    fn variables_of_other_programs_are_not_taken_for_a_launcher() {
        for variables in [
            &[("RANK", "captain")][..],
            &[("RANK", "1")],
            &[("WORLD_SIZE", "8")],
            &[("RANK", "9"), ("WORLD_SIZE", "8")],
            &[("RANK", "big"), ("WORLD_SIZE", "8")],
            &[("RANK", "1"), ("WORLD_SIZE", "")],
        ] {
            assert_eq!(size_in(variables), None, "{variables:?}");
        }
    }

    #[test]
    fn innermost_launcher_decides() {
        let shell_of_srun = [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "0")];
        assert_eq!(size_in(&shell_of_srun), Some(4));
        let mpirun = [("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_RANK", "0")];
        assert_eq!(size_in(&[&shell_of_srun[..], &mpirun].concat()), Some(1));
        let node = [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "1"), ("RANK", "7"), ("WORLD_SIZE", "8")];
        assert_eq!(size_in(&node), Some(8));
    }

    proptest! {
        #[test]
        fn no_environment_makes_a_number_up(values in prop::collection::vec((0..LAUNCHERS.len(), any::<bool>(), garbage()), 0..12)) {
            let name = |of: usize, size: bool| if size { LAUNCHERS[of].size } else { LAUNCHERS[of].rank };
            let variables: Vec<(&str, &str)> =
                values.iter().map(|(of, size, value)| (name(*of, *size), value.as_str())).chain([("PMIX_RANK", "-1")]).collect();
            let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            launcher(find);
            if let Some(Announced { variable, size, .. }) = detect(find).announced {
                prop_assert_eq!(find(variable).unwrap().trim().parse::<usize>().unwrap(), size);
            }
        }
    }

    #[test]
    fn batch_script_of_many_tasks_is_a_shell() {
        let batch = [("SLURM_JOB_ID", "7"), ("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")];
        assert_eq!(size_in(&batch), None);
        assert_eq!(size_in(&[&batch[..], &[("SLURM_STEP_ID", "4294967291")]].concat()), None);
        assert_eq!(size_in(&[&batch[..], &[("SLURM_STEP_ID", "0")]].concat()), Some(4));
    }
}
