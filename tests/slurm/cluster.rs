//! A SLURM cluster of two nodes with two tasks each on this machine, and its jobs.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::Folder;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slurm");
const PATIENCE: Duration = Duration::from_secs(150);
const PAUSE: Duration = Duration::from_millis(100);

/// The daemons; ended with their jobs when dropped, also by a test that fails.
pub struct Cluster {
    directory: TempDir,
    /// What makes SLURM's commands use this cluster.
    environment: HashMap<&'static str, String>,
}

/// The first of a few adjacent ports that nobody listens on.
fn free_port() -> u16 {
    let are_free = |first: u16| (first..first + 3).all(|port| TcpListener::bind(("0.0.0.0", port)).is_ok());
    (17_501..).step_by(10).find(|&first| are_free(first)).unwrap()
}

impl Cluster {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lab = directory.path().join("cluster");
        let configuration = lab.join("slurm.conf").display().to_string();
        let as_root = ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"].map(|name| (name, "1".to_owned()));
        let environment = as_root.into_iter().chain([("SLURM_CONF", configuration)]).collect();
        let cluster = Self { directory, environment };
        let (nodes, cores, gpus, port) = ("2", "2", "2", free_port().to_string());
        let mut command = Command::new(format!("{SCRIPTS}/cluster-up.sh"));
        let output = command.arg(&lab).args([nodes, cores, gpus, &port]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        cluster
    }

    /// Submits a script of this project for two tasks a node on the configuration of `folder`, unless the
    /// `environment` names another.
    pub fn submit(
        &self,
        script: &str,
        folder: &Folder,
        run: &Path,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Job<'_> {
        self.submit_with(script, folder, run, options, environment, &[])
    }

    /// The same with `arguments` of the user for the program.
    pub fn submit_with(
        &self,
        script: &str,
        folder: &Folder,
        run: &Path,
        options: &[&str],
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Job<'_> {
        let output = self.directory.path().join(run.file_name().unwrap()).with_extension("out");
        let mut command = self.command("sbatch");
        command.args(["--parsable", "--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1", "--time=5"]);
        command.args(["--chdir", env!("CARGO_MANIFEST_DIR"), "--output", output.to_str().unwrap()]).args(options);
        command.env("PDARTS", env!("CARGO_BIN_EXE_pdarts")).env("PDARTS_RUN", run).env("RUST_LOG", "warn");
        command.env("PDARTS_CONFIG", folder.path("search.toml")).envs(environment.iter().copied());
        let submitted = command.current_dir(env!("CARGO_MANIFEST_DIR")).arg(script).args(arguments).output().unwrap();
        assert!(submitted.status.success(), "{submitted:?}");
        let id = String::from_utf8(submitted.stdout).unwrap().trim().to_owned();
        Job { cluster: self, id, output }
    }

    /// A job that has been submitted, and what it prints to.
    pub fn job(&self, id: &str, output: PathBuf) -> Job<'_> {
        Job { cluster: self, id: id.to_owned(), output }
    }

    /// The numbers of the jobs that wait or run.
    pub fn queue(&self) -> Vec<String> {
        let output = self.command("squeue").args(["--noheader", "--format=%i"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }

    /// A command that uses this cluster.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.envs(&self.environment);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let lab = self.directory.path().join("cluster");
        let _ = Command::new(format!("{SCRIPTS}/cluster-down.sh")).arg(lab).status();
    }
}

/// A submitted job.
pub struct Job<'a> {
    cluster: &'a Cluster,
    id: String,
    output: PathBuf,
}

impl Job<'_> {
    /// All that the job has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// As `scontrol show job` tells it, on one line.
    pub fn description(&self) -> String {
        let output = self.cluster.command("scontrol").args(["show", "job", "-o", &self.id]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Signals the batch script and not its tasks.
    pub fn signal_script(&self, name: &str) {
        self.run("scancel", &["--batch", &format!("--signal={name}"), &self.id]);
    }

    /// The same of one task of an array.
    pub fn signal_task(&self, task: usize, name: &str) {
        self.run("scancel", &["--batch", &format!("--signal={name}"), &format!("{}_{task}", self.id)]);
    }

    pub fn wait_for_state(&self, state: &str) {
        let ended = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"];
        let is = |state: &str| self.description().contains(&format!("JobState={state} "));
        self.wait_until("ends", || ended.into_iter().any(is));
        assert!(is(state), "not {state}: {}\n{}", self.description(), self.output());
    }

    pub fn wait_until(&self, what: &str, happened: impl Fn() -> bool) {
        let start = Instant::now();
        while !happened() {
            let story = || format!("never {what}: {}\n{}", self.description(), self.output());
            assert!(start.elapsed() < PATIENCE, "{}", story());
            thread::sleep(PAUSE);
        }
    }

    fn run(&self, command: &str, arguments: &[&str]) {
        let output = self.cluster.command(command).args(arguments).output().unwrap();
        assert!(output.status.success(), "{command} {arguments:?}: {output:?}");
    }
}
