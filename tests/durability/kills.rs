//! Kills of ranks and of the launcher at any moment, also while checkpoints are written, until the run is complete.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::amount;
use crate::program::{Folder, Outcome, Process, names, texts};
use crate::soak::{report, seed};
use crate::tasks::{Task, command};

/// A checkpoint after nearly every step, and after every one.
const OFTEN: [&str; 2] = ["--set", "run.checkpoint_every_minutes=0.0001"];
const ALWAYS: [&str; 2] = ["--set", "run.checkpoint_every_minutes=1e-9"];

/// Who is killed.
#[derive(Copy, Clone, Debug)]
enum Victim {
    Rank(usize),
    AllRanks,
    Launcher,
}

/// The processes of the ranks, as they wrote them down; not all when a run has just begun.
fn rank_processes(folder: &Folder, num_ranks: usize) -> Vec<Option<String>> {
    let of_rank = |rank| folder.heartbeat("run", rank).map(|heartbeat| heartbeat["process"].to_string());
    (0..num_ranks).map(of_rank).collect()
}

fn kill(process: &str) {
    // It may have ended meanwhile.
    let _ = Command::new("kill").args(["-KILL", process]).output();
}

/// Kills mpirun, the child of `timeout`.
fn kill_launcher(process: &Process) {
    // It may have ended meanwhile, or not have begun.
    let _ = Command::new("pkill").args(["-KILL", "-P", &process.id().to_string()]).output();
}

/// Kills `task` again and again, `num_kills` times in all, over as many runs as that takes.
fn survive(task: Task, num_ranks: usize, num_kills: usize, random: &mut ChaCha8Rng) {
    let (expected, duration) = {
        let start = Instant::now();
        (task.undisturbed_with(num_ranks, &OFTEN), start.elapsed())
    };
    let (mut kills, mut runs, mut resumes, mut compared) = (0, 0, 0, 0);
    while kills < num_kills || runs == 0 {
        let folder = task.folder();
        let mut patience = 100;
        loop {
            let is_begun = folder.path("run/config.toml").exists();
            let arguments = if is_begun { vec!["--resume", "run"] } else { task.start() };
            resumes += usize::from(is_begun);
            let mut process = Process::start(&mut command(&folder, num_ranks, &[&arguments[..], &OFTEN].concat()));
            if kills < num_kills && patience > 0 {
                // Anywhere between the start and an end that comes later the more is left to do.
                thread::sleep(duration.mul_f64(random.random_range(0.05..1.1)));
            }
            if kills >= num_kills || patience == 0 || process.has_ended() {
                let output = process.end();
                assert!(output.status.success(), "{task:?} on {num_ranks}: {}", texts(&output).1);
                break;
            }
            let ranks = rank_processes(&folder, num_ranks);
            let victim = match random.random_range(0..3) {
                0 => Victim::Rank(random.random_range(0..num_ranks)),
                1 => Victim::AllRanks,
                _ => Victim::Launcher,
            };
            match victim {
                Victim::Rank(rank) if ranks[rank].is_some() => kill(ranks[rank].as_deref().unwrap()),
                Victim::AllRanks if ranks.iter().any(Option::is_some) => {
                    ranks.iter().flatten().for_each(|rank| kill(rank))
                }
                _ if num_ranks == 1 => process.signal("KILL"),
                _ => kill_launcher(&process),
            }
            let status = process.end().status;
            folder.wait_until_left();
            // The last rank may have been past its work.
            kills += usize::from(!status.success());
            patience -= 1;
        }
        let run = folder.path("run");
        let outcome = Outcome::of(&run);
        outcome.assert_same(&expected);
        compared += outcome.metrics.iter().filter(|line| line["kind"] == "steps").count();
        assert!(
            names(&run.join("checkpoints")).iter().all(|name| name.ends_with(".safetensors")),
            "half-written files"
        );
        assert!(!names(&run).iter().any(|name| name.starts_with(".partial")));
        runs += 1;
    }
    report(&format!(
        "{task:?} on {num_ranks} rank(s): {kills} kills survived, {resumes} resumes, {runs} runs ended, {compared} steps \
         compared with an undisturbed run's, equal bit for bit"
    ));
}

#[test]
fn killed_at_any_moment_a_run_comes_to_the_same_end() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    for task in Task::ALL {
        survive(task, 1, amount(4, 70), &mut random);
        survive(task, 2, amount(2, 30), &mut random);
    }
}

#[test]
fn a_checkpoint_within_the_first_epoch_saves_a_killed_run() {
    for task in Task::ALL {
        let folder = task.folder();
        let run = folder.path("run");
        let call = command(&folder, 1, &[&task.start()[..], &ALWAYS].concat());
        let mut process = folder.start_held(call, "run", 2);
        process.wait_until(|| names(&run.join("checkpoints")).iter().any(|name| name.starts_with("stage1-epoch000")));
        process.signal("KILL");
        process.end();
        let begun = fs::read_to_string(run.join("environment.jsonl")).unwrap();
        let output = folder.alone_command(&["--resume", "run"]).output().unwrap();
        assert_eq!((output.status.success(), texts(&output).1.as_str()), (true, ""));
        assert!(fs::read_to_string(run.join("environment.jsonl")).unwrap().starts_with(&begun));
        Outcome::of(&run).assert_same(&task.undisturbed(1));
    }
}
