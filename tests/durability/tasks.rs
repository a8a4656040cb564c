//! A search and a training, on any number of ranks.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use crate::program::{Folder, Outcome, texts};
use crate::training;

/// What is run.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    Search,
    Train,
}

impl Task {
    pub const ALL: [Task; 2] = [Task::Search, Task::Train];

    pub fn folder(self) -> Folder {
        match self {
            Self::Search => Folder::new(),
            Self::Train => training::folder(),
        }
    }

    /// As a command of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Train => "train",
        }
    }

    /// The arguments of a new run.
    pub fn start(self) -> Vec<&'static str> {
        match self {
            Self::Search => vec!["--config", "search.toml", "--out", "run"],
            Self::Train => training::START.to_vec(),
        }
    }

    /// What an undisturbed run comes to, which is made once for all tests.
    pub fn undisturbed(self, num_ranks: usize) -> Outcome {
        type Runs = HashMap<(Task, usize), Arc<OnceLock<Outcome>>>;
        static RUNS: LazyLock<Mutex<Runs>> = LazyLock::new(Mutex::default);
        // Other runs need not wait for this one.
        let run = Arc::clone(RUNS.lock().unwrap().entry((self, num_ranks)).or_default());
        run.get_or_init(|| self.undisturbed_with(num_ranks, &[])).clone()
    }

    /// What an undisturbed run with `arguments` besides comes to.
    pub fn undisturbed_with(self, num_ranks: usize, arguments: &[&str]) -> Outcome {
        let folder = self.folder();
        let output = command(&folder, num_ranks, &[&self.start()[..], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", texts(&output).1);
        Outcome::of(&folder.path("run"))
    }
}

/// A call on `num_ranks` ranks, with nothing but warnings on stderr.
pub fn command(folder: &Folder, num_ranks: usize, arguments: &[&str]) -> Command {
    match num_ranks {
        1 => folder.alone_command(arguments),
        _ => folder.ranks_command(num_ranks, arguments),
    }
}
