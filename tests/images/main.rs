//! Folders and shards of images in the real program: what is read, made, checked and refused.

#[path = "../program/mod.rs"]
mod program;

mod check;
mod layouts;
mod others;
mod pack;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use program::Folder;
use program::image_tree::ImageTree;
use serde_json::Value;

/// A folder from which `pdarts data` is called.
struct Data(Folder);

impl Data {
    fn new() -> Self {
        Self(Folder::with("data", ""))
    }

    /// One with a tree of 120 and 20 images in ten classes at `tree`.
    fn with_tree() -> Self {
        let data = Self::new();
        ImageTree { train_images: 12, validation_images: 2, sides: [64, 160] }.write(&data.path("tree")).unwrap();
        data
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.0.command(&["data"]).args(arguments).env("RUST_LOG", "warn").output().unwrap()
    }

    /// A call that succeeds; what it prints, and the lines it warns with.
    fn succeeds(&self, arguments: &[&str]) -> (String, Vec<String>) {
        let (stdout, stderr) = program::texts(&self.call(arguments));
        assert!(!stderr.contains("error: "), "{arguments:?}: {stderr}");
        (stdout, stderr.lines().map(str::to_owned).collect())
    }

    /// A call that fails; what it prints, and its one line of an error.
    fn fails(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output = self.call(arguments);
        let (stdout, stderr) = program::texts(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stdout} {stderr}");
        let errors: Vec<&str> = stderr.lines().filter(|line| !line.contains(" WARN ")).collect();
        (stdout, self.0.error_line(&errors.join("\n")))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeeds(arguments).0).unwrap()
    }
}

/// All files in a folder and what they hold.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    program::names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

fn assert_same_files(ours: &Path, theirs: &Path) {
    let [ours, theirs] = [ours, theirs].map(contents);
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, bytes) in &ours {
        assert!(*bytes == theirs[name], "{name} differs");
    }
}

/// A tar file of these files.
fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The files of a tree, by class and name.
fn files(part: &Path) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    program::names(part).into_iter().map(|class| (class.clone(), contents(&part.join(class)))).collect()
}
