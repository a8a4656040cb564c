//! The command line of `launch/mpirun.sh`, with launchers that only say which they are.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::program::script::write_script;

const OPEN_MPI: &str = "mpirun (Open MPI) 4.1.4";
const MPICH: &str = "HYDRA build details:\n    Version: 4.0.2";

/// A folder with a program and a launcher.
struct Machine {
    folder: TempDir,
    gpus: Option<usize>,
}

impl Machine {
    /// With a launcher that calls itself `version`, and nothing else that the script could find.
    fn new(version: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder, gpus: None };
        machine.script("mpirun", &format!("echo '{version}'"));
        machine.script("pdarts", "");
        machine
    }

    fn with_gpus(self, gpus: usize) -> Self {
        let lines: Vec<String> = (0..gpus).map(|gpu| format!("echo 'GPU {gpu}: NVIDIA H100'")).collect();
        self.script("nvidia-smi", &lines.join("\n"));
        Self { gpus: Some(gpus), ..self }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, body: &str) {
        write_script(&self.path(name), &format!("#!/bin/sh\n{body}\n"));
    }

    fn call(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/launch/mpirun.sh");
        let mut command = Command::new(script);
        command.env_clear().env("PATH", path).env("PDARTS", self.path("pdarts")).env("MPIRUN", self.path("mpirun"));
        if self.gpus.is_none() {
            // Whatever this machine has.
            command.env("CUDA_VISIBLE_DEVICES", ",");
        }
        command.envs(variables.iter().copied()).args(arguments).output().unwrap()
    }

    /// The arguments of the launcher up to the program, without quotes.
    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.call(&[&["--dry-run"], arguments].concat(), variables);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "{arguments:?}: {stderr}");
        let command = String::from_utf8(output.stdout).unwrap().replace('\'', "");
        let command = command.strip_prefix(&format!("{} ", self.path("mpirun").display())).unwrap();
        let (launcher, program) = command.split_once(&format!(" {}", self.path("pdarts").display())).unwrap();
        let own: Vec<&str> = arguments.iter().skip_while(|word| **word != "doctor").copied().collect();
        assert_eq!(program.split_whitespace().collect::<Vec<_>>(), own);
        launcher.to_owned()
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments, &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr
    }
}

#[test]
fn open_mpi_starts_a_rank_for_each_gpu_of_this_machine() {
    let unbound = "--map-by ppr:1:node --bind-to none";
    assert_eq!(Machine::new(OPEN_MPI).command(&["doctor"], &[]), unbound);
    let machine = Machine::new(OPEN_MPI).with_gpus(2);
    assert_eq!(machine.command(&["doctor", "--json"], &[]), "--map-by ppr:2:node --bind-to none");
    assert_eq!(machine.command(&["doctor"], &[("CUDA_VISIBLE_DEVICES", "1")]), unbound);
    // As CUDA itself counts: nothing selects nothing, and what follows an entry that is none does not count.
    for (selection, num_ranks) in [("", 1), ("-1", 1), ("NoDevFiles", 1), (" ", 1), ("0,1,2", 3), ("0, 1,-1,2", 2)] {
        let command = machine.command(&["doctor"], &[("CUDA_VISIBLE_DEVICES", selection)]);
        assert!(command.contains(&format!("--map-by ppr:{num_ranks}:node ")), "{selection:?}: {command}");
    }
    let by_name = machine.command(&["doctor"], &[("CUDA_VISIBLE_DEVICES", "GPU-8932f937-d72c,MIG-7a5b")]);
    assert!(by_name.contains("--map-by ppr:2:node "), "{by_name}");
    assert_eq!(machine.command(&["-n", "1", "doctor", "-n", "7"], &[]), unbound);
}

#[test]
fn open_mpi_is_told_of_machines_cores_interface_and_environment() {
    let machine = Machine::new(OPEN_MPI);
    assert_eq!(
        machine.command(&["--hosts", "node1,node2", "-n", "8", "doctor"], &[]),
        "--host node1:8,node2:8 --map-by ppr:8:node --bind-to none"
    );
    assert_eq!(
        machine.command(
            &["--interface", "ib0", "doctor"],
            &[("RUST_LOG", "debug"), ("OMP_NUM_THREADS", "2"), ("HOME", "/")]
        ),
        "--map-by ppr:1:node --bind-to none --mca btl_tcp_if_include ib0 --mca oob_tcp_if_include ib0 \
         -x NCCL_SOCKET_IFNAME -x OMP_NUM_THREADS -x RUST_LOG"
    );
    let bound = machine.command(&["--bind", "cores", "doctor"], &[]);
    assert!(bound.starts_with("--map-by ppr:1:node:PE=") && bound.ends_with(" --bind-to core"), "{bound}");
    let crowded = machine.command(&["-n", "10000", "doctor"], &[]);
    assert_eq!(crowded, "--oversubscribe --map-by ppr:10000:node --bind-to none");
}

#[test]
fn allocation_of_a_job_decides_unless_told_otherwise() {
    let job = [("SLURM_JOB_ID", "7"), ("SLURM_JOB_NUM_NODES", "2"), ("SLURM_NTASKS", "8")];
    let machine = Machine::new(OPEN_MPI).with_gpus(4);
    assert_eq!(machine.command(&["doctor"], &job), "--map-by slot --bind-to none");
    assert_eq!(machine.command(&["-n", "2", "doctor"], &job), "--map-by ppr:2:node --bind-to none");
    let bound = machine.command(&["--bind", "cores", "doctor"], &[&job[..], &[("SLURM_CPUS_PER_TASK", "6")]].concat());
    assert_eq!(bound, "--map-by slot:PE=6 --bind-to core");
    let machine = Machine::new(MPICH).with_gpus(4);
    assert_eq!(machine.command(&["doctor"], &job), "-n 8 -bind-to none");
    assert_eq!(machine.command(&["-n", "2", "doctor"], &job), "-n 4 -ppn 2 -bind-to none");
}

#[test]
fn mpich_is_told_the_same_in_its_own_words() {
    let machine = Machine::new(MPICH).with_gpus(2);
    assert_eq!(machine.command(&["doctor"], &[]), "-n 2 -ppn 2 -bind-to none");
    assert_eq!(
        machine.command(&["--hosts", "a,b,c", "-n", "8", "--interface", "ib0", "doctor"], &[]),
        "-hosts a,b,c -n 24 -ppn 8 -bind-to none -iface ib0"
    );
    let bound = machine.command(&["-n", "1", "--bind", "cores", "doctor"], &[]);
    assert!(bound.starts_with("-n 1 -ppn 1 -bind-to core:"), "{bound}");
}

#[test]
fn calls_that_cannot_work_are_refused_in_one_line() {
    let machine = Machine::new(OPEN_MPI);
    for (arguments, expected) in [
        (&[][..], "what shall pdarts do?"),
        (&["--nodes", "2", "doctor"], "unknown option --nodes"),
        (&["-n"], "-n needs a value"),
        (&["-n", "--dry-run", "doctor"], "-n needs a value"),
        (&["-n", "two", "doctor"], "--per-node two: give a number of ranks"),
        (&["-n", "0", "doctor"], "--per-node 0: give a number of ranks"),
        (&["--bind", "socket", "doctor"], "--bind socket: give none or cores"),
        (&["-n", "10000", "--bind", "cores", "doctor"], "--bind cores: 10000 ranks on "),
    ] {
        let line = machine.refusal(arguments);
        assert!(line.starts_with("launch/mpirun.sh: ") && line.contains(expected), "{line}");
    }
    let line = Machine::new("mpirun (Other MPI) 1").refusal(&["doctor"]);
    assert!(line.contains("is neither Open MPI's nor MPICH's launcher"), "{line}");
    fs::remove_file(machine.path("pdarts")).unwrap();
    assert!(machine.refusal(&["doctor"]).contains("run 'make build', or set PDARTS"));
}
