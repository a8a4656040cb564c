//! Errors of the configuration, each one line: where it stands, which key, what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value was stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file. A value that the file leaves to its default has no line.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line in the file, from 1.
        line: Option<usize>,
    },
    /// In a `--set` argument, kept as it was typed.
    Override(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(formatter, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(formatter, "{}", path.display()),
            Self::Override(assignment) => write!(formatter, "--set {assignment}"),
        }
    }
}

/// The kinds of configuration that have what another kind has not.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OtherKinds {
    /// A search.
    Search,
    /// A training.
    Training,
    /// Both of them.
    SearchOrTraining,
    /// An experiment.
    Experiment,
}

impl fmt::Display for OtherKinds {
    /// As in `a search: pdarts search reads it, pdarts config show shows it`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Search => "a search: pdarts search reads it, pdarts config show shows it",
            Self::Training => "a training: pdarts train reads it, pdarts config show --kind train shows it",
            Self::SearchOrTraining => "a search or a training: pdarts search or pdarts train reads it",
            Self::Experiment => "an experiment: pdarts compare reads it, pdarts config show --kind compare shows it",
        })
    }
}

/// A value of the right type that a run cannot use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {message}")]
pub struct Violation {
    /// Full path of the key, for example `search.stages.1.keep`.
    pub key: String,
    /// What is wrong with its value, and what would be right.
    pub message: String,
}

/// Why there is no usable configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config {}: {source}", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: invalid TOML: {message}")]
    Syntax {
        /// Where the parser stopped.
        origin: Origin,
        /// The parser's reason.
        message: String,
    },
    /// An override without `=`.
    #[error("{origin}: expected KEY=VALUE, for example --set {example}")]
    NoAssignment {
        /// The override.
        origin: Origin,
        /// One that could be right.
        example: &'static str,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`; {}", match (nearest, other_kinds) {
        (Some(nearest), None) => format!("did you mean `{nearest}`?"),
        (Some(nearest), Some(kinds)) => format!("did you mean `{nearest}`? (`{key}` is of {kinds})"),
        (None, _) => format!("`{show_command}` lists all keys"),
    })]
    UnknownKey {
        /// Where it was stated.
        origin: Origin,
        /// Its full path.
        key: String,
        /// The most similar known key, if any is similar.
        nearest: Option<String>,
        /// The other kinds of configuration that have the key.
        other_kinds: Option<OtherKinds>,
        /// The command that lists all keys.
        show_command: &'static str,
    },
    /// A section that only other kinds of configuration have, or a key of theirs in a file of theirs.
    #[error("{origin}: unknown key `{key}`; it is of {kinds}")]
    OtherKind {
        /// Where it was stated.
        origin: Origin,
        /// Its full path.
        key: String,
        /// What has it.
        kinds: OtherKinds,
    },
    /// An element of a list that lacks a key.
    #[error("{origin}: {key}: missing key `{missing}`")]
    MissingKey {
        /// Where the element stands.
        origin: Origin,
        /// The element's path.
        key: String,
        /// The key it lacks.
        missing: String,
    },
    /// An override of an element that the list does not have.
    #[error("{origin}: {key}: no such element; an override changes an element that the list has")]
    NoElement {
        /// The override.
        origin: Origin,
        /// Its full path.
        key: String,
    },
    /// A value of another type than the key's.
    #[error("{origin}: {key}: expected {expected}, found {found}")]
    WrongType {
        /// Where it was stated.
        origin: Origin,
        /// Full path of the key.
        key: String,
        /// The key's type, in words.
        expected: &'static str,
        /// What was found, in words.
        found: String,
    },
    /// A value of the right type outside what its type can hold, such as an unknown name.
    #[error("{origin}: {key}: {message}")]
    WrongValue {
        /// Where it was stated.
        origin: Origin,
        /// Full path of the key.
        key: String,
        /// The reason, with what would be right.
        message: String,
    },
    /// A stated value violates a relation.
    #[error("{origin}: {violation}")]
    Invalid {
        /// Where the key's value was stated.
        origin: Origin,
        /// The key and the relation.
        violation: Violation,
    },
    /// The resolved configuration violates a relation.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The configuration cannot be written as TOML (an integer beyond 63 bits).
    #[error("cannot write the config as TOML: {0}")]
    Serialize(#[from] toml::ser::Error),
}
