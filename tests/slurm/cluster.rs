//! A SLURM cluster of two nodes with two tasks each on this machine, and its jobs.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::{Folder, held_after, json, step_lines};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slurm");
const PATIENCE: Duration = Duration::from_secs(150);
/// Between two looks at files, and between two questions to the controller.
const PAUSE: Duration = Duration::from_millis(10);
const LONG_PAUSE: Duration = Duration::from_millis(100);

/// The variable with which `run` waits behind `steps` steps until [`release`] or a signal that stops it.
pub fn held_run(run: &Path, steps: usize) -> (&'static str, String) {
    held_after(steps, &hold_of(run))
}

/// Lets a run that waits go on, and those that start it again not wait.
pub fn release(run: &Path) {
    fs::remove_file(hold_of(run)).unwrap();
}

fn hold_of(run: &Path) -> PathBuf {
    run.with_extension("hold")
}

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
        let output = self.output_of(run);
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

    /// Submits a script by elastic.sh, for two tasks on each of at most two nodes.
    pub fn submit_elastic(&self, script: &str, folder: &Folder, run: &Path, arguments: &[&str]) -> Job<'_> {
        let output = self.output_of(run);
        let mut command = self.command("launch/slurm/elastic.sh");
        command.args(["--nodes=2", "--min-ranks=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1"]);
        command.args(["--time=5", "--parsable", &format!("--output={}", output.display()), script]).args(arguments);
        command.env("PDARTS", env!("CARGO_BIN_EXE_pdarts")).env("PDARTS_RUN", run).env("RUST_LOG", "warn");
        command.env("PDARTS_CONFIG", folder.path("search.toml")).env("PDARTS_ELASTIC_POLL", "1");
        let submitted = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(submitted.status.success(), "{submitted:?}");
        let id = String::from_utf8(submitted.stdout).unwrap().trim().to_owned();
        Job { cluster: self, id, output }
    }

    fn output_of(&self, run: &Path) -> PathBuf {
        self.directory.path().join(run.file_name().unwrap()).with_extension("out")
    }

    /// The processes of a node, its daemons before those of its jobs.
    fn processes_of(&self, node: &str) -> Vec<String> {
        let lab = self.directory.path().join("cluster");
        let daemon = fs::read_to_string(lab.join(format!("slurmd.{node}.pid"))).unwrap().trim().to_owned();
        let mine = format!("SLURM_CONF={}", lab.join("slurm.conf").display());
        let node = format!("SLURMD_NODENAME={node}");
        let (mut stewards, mut tasks) = (Vec::new(), Vec::new());
        for process in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            let has = |entry: &str| environment.split(|&byte| byte == 0).any(|found| found == entry.as_bytes());
            if !has(&mine) || !has(&node) {
                continue;
            }
            // Its name is in brackets and may have spaces; the parent is the second field behind it.
            let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let parent = status.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).unwrap_or("0").to_owned();
            let name = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
            if name.starts_with("slurmstepd") {
                stewards.push(parent);
            }
            tasks.push(process);
        }
        [vec![daemon], stewards, tasks].concat()
    }

    /// A node whose power is cut: SLURM finds out by itself.
    pub fn cut_off(&self, node: &str) {
        signal("KILL", &self.processes_of(node));
    }

    /// A node that stands still, and is set down by the administrator. Returns its processes.
    pub fn set_down(&self, node: &str) -> Vec<String> {
        let processes = self.processes_of(node);
        signal("STOP", &processes);
        let name = format!("NodeName={node}");
        self.run("scontrol", &["update", &name, "State=DOWN", "Reason=test"]);
        processes
    }

    /// The node is started anew; none of its `processes` from before is left.
    pub fn start_node(&self, node: &str, processes: &[String]) {
        signal("KILL", processes);
        // What it had on its own disks is from another time: MPI's sockets of the step that was cut off stand in the way.
        for folder in ["spool", "tmp"] {
            let folder = self.directory.path().join(format!("cluster/{folder}.{node}"));
            fs::remove_dir_all(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        }
        let configuration = self.directory.path().join("cluster/slurm.conf").display().to_string();
        // It is not on the PATH of a user who is not root.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let status =
            Command::new("slurmd").env("PATH", path).args(["-N", node, "-f", &configuration]).status().unwrap();
        assert!(status.success());
    }

    fn run(&self, command: &str, arguments: &[&str]) {
        let output = self.command(command).args(arguments).output().unwrap();
        assert!(output.status.success(), "{command} {arguments:?}: {output:?}");
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
        self.wait_until_told("ends", || ended.into_iter().any(is));
        assert!(is(state), "not {state}: {}\n{}", self.description(), self.output());
    }

    /// Waits for what files tell.
    pub fn wait_until(&self, what: &str, happened: impl Fn() -> bool) {
        self.wait(what, happened, PAUSE);
    }

    /// Waits for what the controller tells.
    pub fn wait_until_told(&self, what: &str, happened: impl Fn() -> bool) {
        self.wait(what, happened, LONG_PAUSE);
    }

    fn wait(&self, what: &str, happened: impl Fn() -> bool, pause: Duration) {
        let start = Instant::now();
        while !happened() {
            let story = || format!("never {what}: {}\n{}", self.description(), self.output());
            assert!(start.elapsed() < PATIENCE, "{}", story());
            thread::sleep(pause);
        }
    }

    /// Another limit for this start, in minutes.
    pub fn set_time_limit(&self, minutes: usize) {
        self.run("scontrol", &["update", &format!("JobId={}", self.id), &format!("TimeLimit={minutes}")]);
    }

    /// Its limit is a second from now.
    pub fn reach_time_limit(&self) {
        self.run("scontrol", &["update", &format!("JobId={}", self.id), "EndTime=now+1"]);
    }

    /// Ends its start and puts it back into the queue.
    pub fn requeue(&self) {
        self.run("scontrol", &["requeue", &self.id]);
    }

    pub fn cancel(&self) {
        self.run("scancel", &[&self.id]);
    }

    /// The node of a job that runs on one.
    pub fn node(&self) -> String {
        let description = self.description();
        let node = description.split_whitespace().find_map(|field| field.strip_prefix("NodeList="));
        node.unwrap_or_else(|| panic!("no node: {description}")).to_owned()
    }

    /// Stops the ranks of `run` once they have come to `steps` steps, so that the job cannot end before what comes next.
    /// SLURM lets processes go on when it asks them to end.
    pub fn hold(&self, run: &Path, steps: usize, num_ranks: usize) -> Vec<String> {
        self.wait_until("has taken steps", || step_lines(run).len() >= steps);
        let process = |rank| json(&run.join(format!("heartbeats/rank{rank:05}.json")))["process"].to_string();
        // One rank alone has no heartbeat; the lock has the number of its process.
        let alone = || fs::read_to_string(run.join(".lock")).unwrap().split(' ').nth(1).unwrap().to_owned();
        let processes: Vec<String> = if num_ranks == 1 { vec![alone()] } else { (0..num_ranks).map(process).collect() };
        signal("STOP", &processes);
        processes
    }

    /// Lets ranks that stand still go on once SIGUSR1 has come to all of them.
    pub fn go_on_with_signal(&self, held: &[String]) {
        const USR1: u64 = 1 << (10 - 1);
        let is_pending = |process: &String| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap_or("0").trim();
            u64::from_str_radix(pending, 16).unwrap() & USR1 != 0
        };
        self.wait_until("is signalled", || held.iter().all(is_pending));
        signal("CONT", held);
    }

    fn run(&self, command: &str, arguments: &[&str]) {
        self.cluster.run(command, arguments);
    }
}

/// Sends a signal to processes, of which some may have ended.
fn signal(name: &str, processes: &[String]) {
    for process in processes {
        let _ = Command::new("kill").args([&format!("-{name}"), process]).output();
    }
}
