//! Links from a page to files beside it, which hold wherever both are moved together.

use std::path::{Component, Path, PathBuf};

/// The relative URL of `to` in a page in `folder`; both absolute.
pub fn relative_url(folder: &Path, to: &Path) -> String {
    let (from, to): (Vec<Component>, Vec<Component>) = (folder.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to[common..].iter().copied()).collect();
    let url = encode(&path.to_string_lossy());
    // What stands before a colon would be a scheme.
    if url.is_empty() { ".".to_owned() } else { format!("./{url}") }
}

/// `path` with everything but unreserved characters and `/` in percent encoding (RFC 3986).
fn encode(path: &str) -> String {
    let mut url = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => url.push(char::from(byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_page_to_the_file() {
        let url = |from: &str, to: &str| relative_url(Path::new(from), Path::new(to));
        assert_eq!(url("/runs/a", "/runs/a/config.toml"), "./config.toml");
        assert_eq!(url("/home/x", "/runs/a/figures"), "./../../runs/a/figures");
        assert_eq!(url("/runs", "/runs/a b#1?<i>\"é"), "./a%20b%231%3F%3Ci%3E%22%C3%A9");
        assert_eq!(url("/runs", "/runs/javascript:x"), "./javascript%3Ax");
    }
}
