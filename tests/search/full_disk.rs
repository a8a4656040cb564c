//! A search whose disk fills up, and one whose terminal goes away.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Folder, Outcome, STEPS_PER_EPOCH, UNINTERRUPTED, json_lines, names, texts};

/// A mounted tmpfs, unmounted on drop.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None`, with a line that says so, where this process may not mount.
    fn mount(point: &'a Path) -> Option<Self> {
        fs::create_dir(point).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(point).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(point)),
            Ok(output) => {
                println!("SKIPPED: a full disk needs the right to mount a tmpfs: {}", texts(&output).1.trim());
                None
            }
            Err(error) => {
                println!("SKIPPED: a full disk needs `mount`: {error}");
                None
            }
        }
    }

    /// Takes all space that is left.
    fn fill(&self) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn full_disk_ends_the_search_in_one_line_and_resume_completes_it() {
    let folder = Folder::new();
    let point = folder.path("disk");
    let Some(disk) = SmallDisk::mount(&point) else { return };
    let run = point.join("run");
    let strict = "run.max_failed_checkpoints=0";
    let arguments = ["--config", "search.toml", "--out", "disk/run", "--log", "info", "--set", strict];
    let mut search = folder.start_held(folder.alone_command(&arguments), "disk/run", STEPS_PER_EPOCH + 1);
    search.wait_for_checkpoint(&run);
    disk.fill();
    folder.release();
    let output = search.end();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
    let (log, error): (Vec<&str>, Vec<&str>) = stderr.lines().partition(|line| line.contains(" INFO "));
    assert!(!log.is_empty());
    let line = folder.error_line(&error.join("\n"));
    assert!(line.starts_with("cannot write disk/run/") && line.contains("No space left on device"), "{line}");
    assert!(line.ends_with("what was saved before is intact: free some space, then go on with --resume"), "{line}");
    assert!(names(&run.join("checkpoints")).iter().all(|name| name.ends_with(".safetensors")));
    // Every line that is there is whole.
    assert!(fs::read_to_string(run.join("metrics.jsonl")).unwrap().ends_with('\n'));
    json_lines(&run.join("metrics.jsonl"));

    // Still full: one line again, nothing lost.
    let line = folder.refusal(&["--resume", "disk/run"], 1);
    assert!(line.contains("No space left on device"), "{line}");
    let line = folder.refusal(&["--config", "search.toml", "--out", "disk/other"], 1);
    assert!(line.contains("disk/other") && line.contains("No space left on device"), "{line}");

    disk.free();
    folder.search(&["--resume", "disk/run"]);
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
}

#[test]
fn search_goes_on_when_nobody_reads_its_log_any_more() {
    let folder = Folder::new();
    let mut search = folder.command(&["search", "--config", "search.toml", "--out", "run", "--json"]);
    let mut search = search.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(search.stderr.take());
    assert!(search.wait().unwrap().success());
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}
