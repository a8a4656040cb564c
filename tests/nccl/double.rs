//! The test double as a shared library, and what ranks do with it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use pdarts::cli::guard;
use pdarts::config::{DeviceChoice, SearchConfig, Settings};
use pdarts::world::{Ranks, World, WorldError, leave};
use tempfile::TempDir;

use crate::program::{mpirun, texts};

const TASK: &str = "PDARTS_TEST_NCCL_TASK";
const OUT: &str = "PDARTS_TEST_NCCL_OUT";
/// The double's own variables.
const LOG: &str = "NCCL_DOUBLE_LOG";
const FAULT: &str = "NCCL_DOUBLE_FAULT";

/// Compiled once: a folder with `libnccl.so`.
static DOUBLE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nccl/double/nccl.c");
    let mut command = Command::new("cc");
    // Its own functions call each other, whatever libnccl.so.2 libtorch may have loaded.
    command.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o"]);
    let output = command.arg(folder.path().join("libnccl.so")).arg(source).arg("-lrt").output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    folder
});

/// `LD_LIBRARY_PATH` with the double before all else.
pub fn library_path() -> String {
    before_all(DOUBLE.path())
}

/// `LD_LIBRARY_PATH` with `folder` before all else.
pub fn before_all(folder: &Path) -> String {
    let rest = env::var("LD_LIBRARY_PATH").unwrap_or_default();
    format!("{}:{rest}", folder.display())
}

/// What ranks did.
pub struct Meeting {
    folder: TempDir,
    pub exit_code: Option<i32>,
    pub stderr: String,
}

/// Runs the test named `task` of this executable on `num_ranks` ranks with the double; `fault` as in its source.
pub fn meet(task: &str, num_ranks: usize, fault: Option<&str>) -> Meeting {
    meet_with(&library_path(), task, num_ranks, fault)
}

/// The same with the library that is found in `path`.
pub fn meet_with(path: &str, task: &str, num_ranks: usize, fault: Option<&str>) -> Meeting {
    let folder = tempfile::tempdir().unwrap();
    let mut command = mpirun();
    command.args(["-n", &num_ranks.to_string()]).arg(env::current_exe().unwrap());
    command.args(["--exact", task, "--nocapture", "--test-threads=1"]);
    command.env("LD_LIBRARY_PATH", path).env(LOG, folder.path().join("log"));
    command.env(TASK, task).env(OUT, folder.path()).env_remove(FAULT);
    if let Some(fault) = fault {
        command.env(FAULT, fault);
    }
    let output = command.output().unwrap();
    let stderr = texts(&output).1;
    Meeting { folder, exit_code: output.status.code(), stderr }
}

impl Meeting {
    /// What each process called, in the order of their first calls.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let mut calls: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for line in log.lines() {
            let (process, call) = line.split_once(' ').unwrap();
            calls.entry(process).or_default().push(call.trim_end().to_owned());
        }
        calls.into_values().collect()
    }

    /// What each rank told, in the order of ranks.
    pub fn told(&self) -> Vec<String> {
        let read = |rank: usize| fs::read_to_string(told_path(self.folder.path(), rank)).ok();
        (0..).map_while(read).collect()
    }

    pub fn assert_success(&self) {
        assert_eq!(self.exit_code, Some(0), "{}", self.stderr);
    }
}

/// Waits until this process, a rank, has made the call.
pub fn wait_for_call(name: &str) {
    let (log, call) = (env::var_os(LOG).unwrap(), format!("{} {name} ", process::id()));
    let start = Instant::now();
    while !fs::read_to_string(&log).unwrap().lines().any(|line| line == call) {
        assert!(start.elapsed() < Duration::from_secs(60), "no {name}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The fault of the meeting that this process is a rank of.
pub fn fault() -> String {
    env::var(FAULT).unwrap_or_default()
}

/// The folder of the meeting that this process is a rank of.
pub fn out() -> PathBuf {
    env::var_os(OUT).unwrap().into()
}

fn told_path(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!("rank{rank}"))
}

/// Runs `body` if this process is a rank of the meeting for `task`; its error is told. Otherwise nothing: the test is
/// a part of another one.
pub fn as_rank(
    task: &str,
    body: impl FnOnce(Ranks) -> Result<(), Box<dyn std::error::Error>> + std::panic::UnwindSafe,
) {
    if env::var(TASK).ok().as_deref() != Some(task) {
        return;
    }
    let code = guard(|| {
        let ranks = Ranks::join()?;
        let rank = ranks.rank;
        if let Err(error) = body(ranks) {
            fs::write(told_path(&out(), rank), error.to_string())?;
        }
        leave();
        Ok(0)
    });
    assert_eq!(code, 0);
}

/// A world on the double with the given settings.
pub fn world(ranks: Ranks, overrides: &[&str]) -> Result<World, WorldError> {
    let overrides: Vec<String> =
        ["parallel.communicator=nccl"].iter().chain(overrides).map(|text| (*text).to_owned()).collect();
    let config = SearchConfig::from_overrides(&overrides).unwrap();
    let device = ranks.choose_device(DeviceChoice::Cpu)?;
    World::new(ranks, device, 1, &config.parallel)
}
