//! Processes of launchers that MPI knows nothing of: they do not search alone without a word.

use crate::program::{Folder, json, texts};

/// What they leave in the environment of the second of their processes.
const LAUNCHERS: [(&str, &[(&str, &str)]); 5] = [
    ("PMI_SIZE", &[("PMI_SIZE", "2"), ("PMI_RANK", "1")]),
    ("WORLD_SIZE", &[("WORLD_SIZE", "2"), ("RANK", "1")]),
    (
        "WORLD_SIZE",
        &[("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1"), ("MASTER_ADDR", "node1"), ("MASTER_PORT", "29500")],
    ),
    ("PMIX_RANK", &[("PMIX_RANK", "1")]),
    (
        "SLURM_STEP_NUM_TASKS",
        &[("SLURM_JOB_ID", "7"), ("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")],
    ),
];

#[test]
fn process_that_mpi_does_not_connect_refuses_to_work_alone() {
    for (variable, variables) in LAUNCHERS {
        let folder = Folder::new();
        let calls: [&[&str]; 2] = [
            &["search", "--config", "search.toml", "--out", "run"],
            &["bench", "supernet", "--stage", "1", "--global-batch", "2"],
        ];
        for arguments in calls {
            let output = folder.command(arguments).envs(variables.iter().copied()).output().unwrap();
            let (stdout, stderr) = texts(&output);
            assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""), "{variables:?}: {stderr}");
            let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
            assert_eq!(errors.len(), 1, "{stderr}");
            for part in ["has started 2 processes", variable, "MPI v", "connects 1", "srun --mpi=pmix"] {
                assert!(errors[0].contains(part), "{variables:?}: no {part} in {stderr}");
            }
        }
        assert!(!folder.path("run").exists());
    }
}

#[test]
fn commands_of_one_process_do_their_work_wherever_they_are_called() {
    for (_, variables) in LAUNCHERS {
        let folder = Folder::new();
        for arguments in [&["genotype", "list"][..], &["config", "show"], &["doctor"]] {
            let output = folder.command(arguments).envs(variables.iter().copied()).output().unwrap();
            let (stdout, stderr) = texts(&output);
            assert!(output.status.success() && !stdout.is_empty(), "{arguments:?}, {variables:?}: {stderr}");
            assert!(!stderr.contains("error: "), "{stderr}");
        }
    }
}

#[test]
fn doctor_says_that_the_processes_are_not_connected() {
    let folder = Folder::new();
    for (_, variables) in LAUNCHERS {
        let output = folder.command(&["doctor", "--require", "mpi"]).envs(variables.iter().copied()).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stdout.lines().any(|line| line.starts_with("MPI ") && line.contains("has started 2 processes")),
            "{stdout}"
        );
    }
}

#[test]
fn variables_of_other_programs_are_no_launcher() {
    for variables in [&[("RANK", "captain"), ("WORLD_SIZE", "2")][..], &[("WORLD_SIZE", "8")], &[("PMI_RANK", "")]] {
        let folder = Folder::new();
        let arguments = ["search", "--config", "search.toml", "--out", "run", "--set", "search.epochs=1"];
        let output = folder.command(&arguments).envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{variables:?}: {}", texts(&output).1);
        assert_eq!(json(&folder.path("run/summary.json"))["status"], "complete");
    }
}
