//! A search and a training, on any number of ranks.

use std::process::Command;

use crate::program::{Folder, Outcome, texts};
use crate::training;

/// What is run.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
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

    /// What an undisturbed run with `arguments` besides comes to.
    pub fn undisturbed(self, num_ranks: usize, arguments: &[&str]) -> Outcome {
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
