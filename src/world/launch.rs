//! Whether this process is one of several ranks, as told by the environment that launchers make.
//!
//! MPI is not started to find out: a process on its own needs no MPI daemon.

use super::WorldError;

/// Variables that only processes of an MPI launcher have: Open MPI's mpirun, PMIx (srun --mpi=pmix, prun), PMI (MPICH,
/// Intel MPI, srun --mpi=pmi2).
const LAUNCHER_VARIABLES: [&str; 5] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"];

/// Who started this process.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Launch {
    /// A shell: a world of one.
    Alone,
    /// An MPI launcher.
    Mpi,
}

/// Reads the environment through `variable`.
///
/// # Errors
/// [`WorldError::SrunWithoutMpi`] for one of several tasks of srun that know nothing of each other.
pub(super) fn detect(variable: impl Fn(&str) -> Option<String>) -> Result<Launch, WorldError> {
    if LAUNCHER_VARIABLES.iter().any(|name| variable(name).is_some()) {
        return Ok(Launch::Mpi);
    }
    // Set for the tasks of a step, not for the batch script itself.
    let tasks = variable("SLURM_STEP_NUM_TASKS").and_then(|tasks| tasks.parse::<usize>().ok());
    match (tasks, variable("SLURM_STEP_ID").is_some()) {
        (Some(tasks), true) if tasks > 1 => Err(WorldError::SrunWithoutMpi { tasks }),
        _ => Ok(Launch::Alone),
    }
}

/// The name of the launcher, by what it alone sets.
pub(super) fn launcher(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let known = [
        ("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"),
        ("MPI_LOCALNRANKS", "an MPICH-like mpirun"),
        ("SLURM_STEP_ID", "srun"),
        ("PMIX_RANK", "a PMIx launcher"),
        ("PMI_RANK", "a PMI launcher"),
        ("PMI_SIZE", "a PMI launcher"),
        ("SLURM_JOB_ID", "a SLURM batch script"),
    ];
    // An mpirun inside a batch script has SLURM's variables as well as its own.
    known.into_iter().find_map(|(name, launcher)| variable(name).map(|_| launcher))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect_in(variables: &[(&str, &str)]) -> Result<Launch, WorldError> {
        detect(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_told_from_shells() {
        assert_eq!(detect_in(&[]).unwrap(), Launch::Alone);
        assert_eq!(detect_in(&[("OMPI_COMM_WORLD_SIZE", "2")]).unwrap(), Launch::Mpi);
        assert_eq!(detect_in(&[("PMI_RANK", "0")]).unwrap(), Launch::Mpi);
    }

    #[test]
    fn launchers_are_named() {
        let name = |names: &[&str]| launcher(|name| names.contains(&name).then(|| "1".to_owned()));
        assert_eq!(name(&[]), None);
        assert_eq!(name(&["SLURM_JOB_ID"]), Some("a SLURM batch script"));
        assert_eq!(name(&["SLURM_JOB_ID", "SLURM_STEP_ID", "PMIX_RANK"]), Some("srun"));
        assert_eq!(name(&["SLURM_JOB_ID", "SLURM_STEP_ID", "OMPI_COMM_WORLD_SIZE"]), Some("Open MPI's mpirun"));
    }

    #[test]
    fn batch_script_is_a_shell_and_srun_without_mpi_is_refused() {
        let batch = [("SLURM_JOB_ID", "7"), ("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")];
        assert_eq!(detect_in(&batch).unwrap(), Launch::Alone);
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "3")];
        let message = detect_in(&step).unwrap_err().to_string();
        assert!(message.contains("4 tasks") && message.contains("--mpi=pmix"), "{message}");
        let with_pmix = [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4"), ("PMIX_RANK", "3")];
        assert_eq!(detect_in(&with_pmix).unwrap(), Launch::Mpi);
        let single = [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "1")];
        assert_eq!(detect_in(&single).unwrap(), Launch::Alone);
    }
}
