//! `~` at the start of a path, where no shell has expanded it: behind `=` and in files.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Nobody's home is known for a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}; for a folder of that name write ./{path}")]
pub struct NoHome {
    path: String,
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
    let reason = || match user {
        "" => "your home folder is not known (HOME is not set)".to_owned(),
        user => format!("there is no user `{user}`"),
    };
    match home.as_deref().and_then(|home| home.to_str()) {
        Some(home) => Ok(format!("{}{below}", home.trim_end_matches('/'))),
        None => Err(NoHome { path: path.to_owned(), reason: reason() }),
    }
}

/// As the system's databases know it, which on a cluster are not in /etc/passwd.
fn home_of(user: &str) -> Option<PathBuf> {
    if user.starts_with('-') || user.contains(':') {
        return None;
    }
    let output = Command::new("getent").args(["passwd", user]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let listed = match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).ok()?,
        Ok(_) => return None,
        Err(_) => std::fs::read_to_string("/etc/passwd").ok()?,
    };
    let entry = listed.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|entry| entry[0] == user)?;
    entry.get(5).map(PathBuf::from)
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
}
