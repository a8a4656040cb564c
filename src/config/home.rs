//! `~` at the start of a path, where no shell has expanded it: behind `=` and in files.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nobody's home is known for a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct NoHome {
    path: String,
    /// And what to do.
    reason: String,
}

/// `path` with `~` or `~user` at its start replaced by the home folder of this or that user; any other path as it is.
///
/// # Errors
/// When there is no such user, or this one's home is not known.
pub fn expand_home(path: &str) -> Result<String, NoHome> {
    let Some(rest) = path.strip_prefix('~') else { return Ok(path.to_owned()) };
    let (user, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = match user {
        "" => env::home_dir().filter(|home| !home.as_os_str().is_empty()),
        user => home_of(user),
    };
    below_home(home.as_deref(), user, below).map_err(|reason| NoHome { path: path.to_owned(), reason })
}

/// The path `below` the folder `home` of `user` (of nobody else if empty), or why there is none.
fn below_home(home: Option<&Path>, user: &str, below: &str) -> Result<String, String> {
    match (home.map(Path::to_str), user) {
        (Some(Some(home)), _) => Ok(format!("{}{below}", home.trim_end_matches('/'))),
        (Some(None), "") => Err("your home folder (HOME) is not UTF-8: name a path that is".to_owned()),
        (Some(None), user) => Err(format!("the home folder of {user} is not UTF-8: name a path that is")),
        (None, user) => {
            let reason = match user {
                "" => "your home folder is not known (HOME is not set)".to_owned(),
                user => format!("there is no user `{user}`"),
            };
            Err(format!("{reason}; for a folder of that name write ./~{user}{below}"))
        }
    }
}

/// As the system's databases know it, which on a cluster are not in /etc/passwd.
fn home_of(user: &str) -> Option<PathBuf> {
    if user.starts_with('-') || user.contains(':') {
        return None;
    }
    let output = Command::new("getent").args(["passwd", user]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let listed = match output {
        Ok(output) if output.status.success() => output.stdout,
        Ok(_) => return None,
        Err(_) => std::fs::read("/etc/passwd").ok()?,
    };
    let entries = listed.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':').collect::<Vec<_>>());
    let entry = entries.into_iter().find(|entry| entry[0] == user.as_bytes())?;
    entry.get(5).map(|home| PathBuf::from(OsStr::from_bytes(home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_stands_for_a_tilde_at_the_start() {
        let home = env::home_dir().unwrap();
        let home = home.to_str().unwrap().trim_end_matches('/');
        assert_eq!(expand_home("~").unwrap(), home);
        assert_eq!(expand_home("~/data/cifar").unwrap(), format!("{home}/data/cifar"));
        assert_eq!(expand_home("~root/x").unwrap(), "/root/x");
        for path in ["data/~", "./~", "a~b", "", "/x/~/y"] {
            assert_eq!(expand_home(path).unwrap(), path);
        }
    }

    #[test]
    fn unknown_user_is_an_error_not_a_folder() {
        let error = expand_home("~nobody-of-this-name/x").unwrap_err().to_string();
        assert_eq!(
            error,
            "~nobody-of-this-name/x: there is no user `nobody-of-this-name`; for a folder of that name write \
             ./~nobody-of-this-name/x"
        );
    }

    #[test]
    fn home_that_is_not_utf8_is_said_to_be_so() {
        let home = Path::new(OsStr::from_bytes(b"/home/caf\xe9"));
        let reason = below_home(Some(home), "", "/x").unwrap_err();
        assert_eq!(reason, "your home folder (HOME) is not UTF-8: name a path that is");
        assert!(below_home(Some(home), "ann", "").unwrap_err().starts_with("the home folder of ann is not UTF-8"));
        let reason = below_home(None, "", "/x").unwrap_err();
        assert_eq!(reason, "your home folder is not known (HOME is not set); for a folder of that name write ./~/x");
    }
}
