//! Calls of the program, alone and on several ranks, and what a run directory holds afterwards. Each test binary uses
//! its part.
#![allow(dead_code)]

pub mod image_tree;
pub mod script;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Steps of one epoch of [`CONFIG`].
pub const STEPS_PER_EPOCH: usize = 4;
/// Epochs of one stage.
pub const EPOCHS: usize = 2;
/// Number of stages.
pub const STAGES: usize = 2;
/// Live operations of each stage.
pub const NUM_OPERATIONS: [usize; STAGES] = [5, 3];

/// A search of seconds in which alphas rest, alphas train, operations are dropped and skip connections drop out.
const CONFIG: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

[data]
dataset = "photodigits"
limit = 32

[model]
channels = 4

[search]
global_batch = 4
epochs = 2
operations = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"]
alpha_start_epoch = 1
validate_every_epochs = 1

[[search.stages]]
cells = 3
keep = 3
skip_dropout = 0.2

[[search.stages]]
cells = 3
keep = 1
skip_dropout = 0.4
"#;

const TIMES: [&str; 6] = ["seconds", "train_seconds", "data_seconds", "images_per_second", "finished_at", "run"];
/// Of what hangs; on a machine that has other things to do a run of seconds may take minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a run that is held waits for to go.
const HOLD: &str = "hold";

/// A folder with the configuration `search.toml` or `train.toml`, from which the program is called.
pub struct Folder {
    directory: TempDir,
    /// What of the program is called.
    subcommand: &'static str,
}

impl Folder {
    pub fn new() -> Self {
        Self::with("search", CONFIG)
    }

    /// For `subcommand`, with the configuration `{subcommand}.toml`.
    pub fn with(subcommand: &'static str, config: &str) -> Self {
        let folder = Self { directory: tempfile::tempdir().unwrap(), subcommand };
        fs::write(folder.path(&format!("{subcommand}.toml")), config).unwrap();
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        // The program leaves signals ignored that were so when it began, as Ctrl-C is in a shell's background jobs.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT,HUP,TERM,USR1,USR2", env!("CARGO_BIN_EXE_pdarts")]);
        command.current_dir(self.directory.path()).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// A call with nothing but warnings on stderr.
    pub fn alone_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&[self.subcommand]);
        command.env("RUST_LOG", "warn").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A search on several ranks with nothing but warnings on stderr.
    pub fn ranks_command(&self, num_ranks: usize, arguments: &[&str]) -> Command {
        let all = vec![arguments; num_ranks];
        self.different_ranks_command(&all)
    }

    /// A search whose ranks have arguments of their own.
    pub fn different_ranks_command(&self, arguments: &[&[&str]]) -> Command {
        let mut command = mpirun();
        for (rank, arguments) in arguments.iter().enumerate() {
            if rank > 0 {
                command.arg(":");
            }
            command.args(["-n", "1", env!("CARGO_BIN_EXE_pdarts"), self.subcommand]).args(*arguments);
        }
        command.current_dir(self.directory.path()).env("RUST_LOG", "warn").env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A search on several ranks to its end.
    pub fn search_on_ranks(&self, num_ranks: usize, arguments: &[&str]) {
        self.wait_to_resume(arguments);
        let output = self.ranks_command(num_ranks, arguments).output().unwrap();
        let (_, stderr) = texts(&output);
        assert!(output.status.success() && stderr.is_empty(), "{num_ranks} ranks, {arguments:?}: {stderr}");
    }

    /// Begins a search on several ranks.
    pub fn start_on_ranks(&self, num_ranks: usize, arguments: &[&str]) -> Process {
        Process::start(&mut self.ranks_command(num_ranks, arguments))
    }

    /// Makes runs of `command` wait behind `steps` steps until [`Folder::release`] or a signal that stops them: whatever
    /// comes meets them there.
    pub fn hold(&self, command: &mut Command, steps: usize) {
        let (variable, hold) = held_after(steps, &self.path(HOLD));
        command.env(variable, hold);
    }

    /// Lets runs that are held go on.
    pub fn release(&self) {
        fs::remove_file(self.path(HOLD)).unwrap();
    }

    /// Begins the run `run` by `command`; it has taken `steps` steps and is held there.
    pub fn start_held(&self, mut command: Command, run: &str, steps: usize) -> Process {
        self.hold(&mut command, steps);
        let mut process = Process::start(&mut command);
        process.wait_for_steps(&self.path(run), steps);
        process
    }

    /// Waits for the processes that work here: ranks may outlive their launcher, and those that were just starting are not
    /// written down anywhere.
    pub fn wait_until_left(&self) {
        let folder = self.directory.path().canonicalize().unwrap();
        let works_here = |entry: &Path| fs::read_link(entry.join("cwd")).is_ok_and(|place| place == folder);
        let start = Instant::now();
        while fs::read_dir("/proc").unwrap().flatten().any(|entry| works_here(&entry.path())) {
            assert!(start.elapsed() < PATIENCE, "processes in {} go on", folder.display());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Nothing of a run that goes on is left of before.
    fn wait_to_resume(&self, arguments: &[&str]) {
        if arguments.contains(&"--resume") {
            self.wait_until_left();
        }
    }

    /// A call to its end; returns what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.search(arguments)
    }

    /// The heartbeat of a rank of `run`, once it is there.
    pub fn heartbeat(&self, run: &str, rank: usize) -> Option<Value> {
        // It goes when the rank ends.
        let text = fs::read_to_string(self.path(&format!("{run}/heartbeats/rank{rank:05}.json"))).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Sends a signal to the process of a rank, as its heartbeat names it; returns the heartbeat.
    pub fn signal_rank(&self, run: &str, rank: usize, signal: &str) -> Value {
        let heartbeat = self.heartbeat(run, rank).unwrap();
        let process = heartbeat["process"].to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &process]).status().unwrap().success());
        heartbeat
    }

    /// A search to its end; returns what it prints.
    pub fn search(&self, arguments: &[&str]) -> String {
        self.wait_to_resume(arguments);
        let output = self.alone_command(arguments).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success() && stderr.is_empty(), "{arguments:?}: {stderr}");
        stdout
    }

    /// A search to its end; returns the warnings.
    pub fn warnings(&self, arguments: &[&str]) -> String {
        let output = self.alone_command(arguments).output().unwrap();
        let (_, stderr) = texts(&output);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        stderr
    }

    /// The line that a search fails with that may use `kib` of address space.
    pub fn refusal_of_memory(&self, kib: usize, arguments: &[&str]) -> String {
        let mut command = Command::new("sh");
        command.current_dir(self.directory.path()).env("RUST_LOG", "warn").env_remove("RUST_BACKTRACE");
        command.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_pdarts")]);
        let output = command.arg(self.subcommand).args(arguments).stdin(Stdio::null()).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
        self.error_line(&stderr)
    }

    /// Begins a search.
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.alone_command(arguments))
    }

    /// The search ends with `code`, prints nothing but one line on stderr, and that is this line without `error: `
    /// and without the folder's path.
    pub fn refusal(&self, arguments: &[&str], code: i32) -> String {
        let output = self.alone_command(arguments).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        self.error_line(&stderr)
    }

    pub fn error_line(&self, stderr: &str) -> String {
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let line = stderr.trim_end().strip_prefix("error: ").unwrap_or_else(|| panic!("not an error: {stderr}"));
        assert!(!line.contains("panicked") && !line.contains("internal error"), "{line}");
        line.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

/// A run as it was left, of which each test that changes it has a copy.
pub struct Kept {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Kept {
    pub fn of(run: &Path) -> Self {
        let mut kept = Self { folders: vec![PathBuf::new()], files: Vec::new() };
        let mut next = 0;
        while let Some(folder) = kept.folders.get(next).cloned() {
            for name in names(&run.join(&folder)) {
                let path = folder.join(name);
                if run.join(&path).is_dir() {
                    kept.folders.push(path);
                } else {
                    let bytes = fs::read(run.join(&path)).unwrap();
                    kept.files.push((path, bytes));
                }
            }
            next += 1;
        }
        kept
    }

    pub fn write(&self, run: &Path) {
        self.folders.iter().for_each(|folder| fs::create_dir(run.join(folder)).unwrap());
        self.files.iter().for_each(|(file, bytes)| fs::write(run.join(file), bytes).unwrap());
    }
}

/// The variable with which a run waits behind `steps` steps until `file`, which is written here, is gone or a signal stops it.
pub fn held_after(steps: usize, file: &Path) -> (&'static str, String) {
    fs::write(file, "").unwrap();
    ("PDARTS_FAULT", format!("hold@{}:{}", steps + 1, file.display()))
}

/// Open MPI's launcher, as root, on more ranks than cores, ended should it hang.
pub fn mpirun() -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", &PATIENCE.as_secs().to_string()]);
    // Without TCP, on whose ports ranks of another test, of which one was killed, may look for it.
    command.args(["mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "btl", "^tcp"]);
    // Two ranks believe that they have the cores for themselves: what waits gives way to the tests beside it.
    command.args(["--mca", "mpi_yield_when_idle", "1"]);
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command
}

pub fn texts(output: &Output) -> (String, String) {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap()).into()
}

/// Whether a message about a stall names `whom`, as in `rank 1 on `. A rank can be stopped on its way to an operation or
/// within one that all have come to; with limits longer than a rank may be silent (2 s) it is named in both cases.
pub fn names_who_is_waited_for(line: &str, whom: &str) -> bool {
    let on_its_way = line.contains(" has waited ") && line.contains(&format!(" s for {whom}"));
    on_its_way || line.contains(&format!("no sign of life from {whom}"))
}

/// A search under way; killed should its test fail.
pub struct Process {
    child: Option<Child>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self { child: Some(command.spawn().unwrap()) }
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends the signal of this name, as in `TERM`.
    pub fn signal(&mut self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Sends a signal to the launcher of several ranks, which passes it on to them.
    pub fn signal_launcher(&mut self, name: &str) {
        let timeout = self.id().to_string();
        assert!(Command::new("pkill").args([&format!("-{name}"), "-P", &timeout]).status().unwrap().success());
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits until `happened`, which must come before the search's end.
    pub fn wait_until(&mut self, mut happened: impl FnMut() -> bool) {
        let start = Instant::now();
        while !happened() {
            assert!(!self.has_ended(), "the search ended too early");
            assert!(start.elapsed() < PATIENCE, "nothing happened");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until `run` has the metrics of `steps` steps.
    pub fn wait_for_steps(&mut self, run: &Path, steps: usize) {
        self.wait_until(|| step_lines(run).len() >= steps);
    }

    /// Waits until `run` has a whole checkpoint, which is written beside the steps behind it.
    pub fn wait_for_checkpoint(&mut self, run: &Path) {
        self.wait_until(|| names(&run.join("checkpoints")).iter().any(|name| name.ends_with(".safetensors")));
    }

    /// Waits until the heartbeat of a rank of `run` tells of a step.
    pub fn wait_for_heartbeat(&mut self, folder: &Folder, run: &str, rank: usize) {
        self.wait_until(|| folder.heartbeat(run, rank).is_some_and(|heartbeat| heartbeat["place"]["step"] != 0));
    }

    pub fn end(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The whole lines of a file with an object on each; none where there is no file.
pub fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The metrics of single steps.
pub fn step_lines(run: &Path) -> Vec<Value> {
    metrics(run, "steps")
}

/// The metrics of whole epochs.
pub fn epoch_lines(run: &Path) -> Vec<Value> {
    metrics(run, "epoch")
}

fn metrics(run: &Path, kind: &str) -> Vec<Value> {
    let lines = json_lines(&run.join("metrics.jsonl"));
    lines.into_iter().filter(|line| line["kind"] == kind).collect()
}

/// Names in a folder of a run, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).map(|entries| entries.map(name).collect()).unwrap_or_default();
    names.sort();
    names
}

/// All of a complete run that its configuration decides, which is all but times.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub summary: Value,
    genotype: Value,
    pub metrics: Vec<Value>,
    /// Alphas and figures.
    files: BTreeMap<String, String>,
}

impl Outcome {
    pub fn of(run: &Path) -> Self {
        let mut files = BTreeMap::new();
        // Trainings have no alphas.
        for folder in ["alphas", "figures"].into_iter().filter(|folder| run.join(folder).exists()) {
            for name in names(&run.join(folder)) {
                let text = fs::read_to_string(run.join(folder).join(&name)).unwrap();
                files.insert(format!("{folder}/{name}"), text);
            }
        }
        Self {
            summary: without_times(json(&run.join("summary.json"))),
            genotype: without_times(json(&run.join("genotype.json"))),
            metrics: json_lines(&run.join("metrics.jsonl")).into_iter().map(without_times).collect(),
            files,
        }
    }

    /// Fails with the first difference, where a comparison with `==` would print everything.
    pub fn assert_same(&self, other: &Self) {
        for (ours, theirs) in self.metrics.iter().zip(&other.metrics) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(self.metrics.len(), other.metrics.len());
        assert_eq!(self.summary, other.summary);
        assert_eq!(self.genotype, other.genotype);
        assert_eq!(self.files.keys().collect::<Vec<_>>(), other.files.keys().collect::<Vec<_>>());
        for (name, text) in &self.files {
            assert!(*text == other.files[name], "{name} differs");
        }
    }
}

fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::Object(entries) => {
            TIMES.iter().for_each(|key| drop(entries.remove(*key)));
            entries.values_mut().for_each(|entry| *entry = without_times(entry.take()));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| *element = without_times(element.take())),
        _ => {}
    }
    value
}

/// An uninterrupted search with [`CONFIG`], which all tests share.
static COMPLETE: LazyLock<(Outcome, Kept)> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.search(&["--config", "search.toml", "--out", "run"]);
    let run = folder.path("run");
    (Outcome::of(&run), Kept::of(&run))
});

/// What it comes to.
pub static UNINTERRUPTED: LazyLock<&Outcome> = LazyLock::new(|| &COMPLETE.0);

/// A folder with a complete search in `run`.
pub fn complete_search() -> Folder {
    let folder = Folder::new();
    COMPLETE.1.write(&folder.path("run"));
    folder
}
