//! Runs that `launch/mpirun.sh --elastic` starts again: ranks are really killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::script::write_script;
use crate::program::{Folder, Outcome, STEPS_PER_EPOCH, json_lines, texts};

fn launch(folder: &Folder, program: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/launch/mpirun.sh"));
    command.current_dir(folder.path("")).env_remove("RUST_BACKTRACE").env("RUST_LOG", "warn").env("PDARTS", program);
    command.args(["-n", "2", "--elastic"]).args(options).args(["search", "--config", "search.toml", "--out", "run"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pdarts"))
}

/// A program that is killed on rank 1 as long as there is the file `lost`.
fn program_that_loses_a_rank(folder: &Folder) -> std::path::PathBuf {
    let path = folder.path("pdarts.sh");
    let text = format!(
        "#!/bin/sh\n[ -e lost ] && [ \"$OMPI_COMM_WORLD_RANK\" = 1 ] && kill -9 $$\nexec {} \"$@\"\n",
        program().display()
    );
    write_script(&path, &text);
    path
}

fn ranks_of_starts(folder: &Folder) -> Vec<u64> {
    let starts = json_lines(&folder.path("run/environment.jsonl"));
    starts.iter().map(|start| start["ranks"].as_u64().unwrap()).collect()
}

#[test]
fn a_run_that_loses_a_rank_is_started_again_and_ends_as_if_nothing_had_been() {
    let folder = Folder::new();
    folder.search_on_ranks(2, &["--config", "search.toml", "--out", "undisturbed"]);
    let search = folder.start_held(launch(&folder, program(), &[]), "run", STEPS_PER_EPOCH + 1);
    folder.signal_rank("run", 1, "KILL");
    folder.release();
    let output = search.end();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("launch/mpirun.sh: the run was lost (exit code "), "{stderr}");
    assert_eq!(ranks_of_starts(&folder), [2, 2]);
    Outcome::of(&folder.path("run")).assert_same(&Outcome::of(&folder.path("undisturbed")));
}

#[test]
fn a_rank_that_does_not_come_back_is_done_without() {
    let folder = Folder::new();
    let program = program_that_loses_a_rank(&folder);
    fs::write(folder.path("lost"), "").unwrap();
    let output = launch(&folder, &program, &[]).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("1 rank(s) on each machine"), "{stderr}");
    assert_eq!(ranks_of_starts(&folder), [1]);
}

#[test]
fn below_the_fewest_ranks_the_run_is_given_up_and_a_bad_call_is_not_repeated() {
    let folder = Folder::new();
    let program = program_that_loses_a_rank(&folder);
    fs::write(folder.path("lost"), "").unwrap();
    let output = launch(&folder, &program, &["--min-ranks", "2"]).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(!output.status.success(), "{stderr}");
    assert!(stderr.contains("3 starts in a row came to no new checkpoint: giving up"), "{stderr}");

    fs::remove_file(folder.path("search.toml")).unwrap();
    fs::remove_file(folder.path("lost")).unwrap();
    let output = launch(&folder, &program, &[]).output().unwrap();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("starting again"), "{stderr}");
}

/// What `mpirun.sh --elastic` starts for the arguments `call`; start number `$start` does what `starts` says, in sh.
fn calls_of(folder: &Folder, call: &[&str], starts: &str) -> (Option<i32>, Vec<String>) {
    let tools = folder.path("tools");
    fs::create_dir_all(&tools).unwrap();
    let text = format!(
        "#!/bin/sh\n\
         [ \"$1\" = --version ] && {{ echo 'mpirun (Open MPI) 4.1.4'; exit; }}\n\
         echo \"$*\" >>calls\n\
         start=$(wc -l <calls)\n{starts}\n"
    );
    write_script(&tools.join("mpirun"), &text);
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/launch/mpirun.sh"));
    command.current_dir(folder.path("")).env("PDARTS", program()).env("MPIRUN", tools.join("mpirun"));
    let output = command.args(["-n", "1", "--elastic"]).args(call).stdin(Stdio::null()).output().unwrap();
    let calls = fs::read_to_string(folder.path("calls")).unwrap();
    let program = format!("{} ", program().display());
    let call_of = |line: &str| line.split_once(&program).map_or(line, |(_, call)| call).to_owned();
    (output.status.code(), calls.lines().map(call_of).collect())
}

#[test]
fn a_run_goes_on_with_what_it_was_given_but_is_not_begun_again() {
    let search =
        ["search", "--config=c.toml", "--data", "d", "--set", "run.seed=3", "--kernels", "reference", "--out", "run"];
    let begun = "mkdir -p run; touch run/config.toml; [ $start = 2 ] || exit 1";
    let (code, calls) = calls_of(&Folder::new(), &search, begun);
    assert_eq!((code, calls[0].as_str()), (Some(0), search.join(" ").as_str()));
    assert_eq!(calls[1..], ["search --resume run --data d --set run.seed=3 --kernels reference"]);

    let train = ["train", "--config", "c.toml", "--genotype", "PDARTS_C10", "--seeds=0,1", "--log", "warn"];
    let train = [&train[..], &["--set", "run.seed=3", "--out=run"]].concat();
    let begun = "mkdir -p run; touch run/seeds.json; [ $start = 2 ] || exit 1";
    let (code, calls) = calls_of(&Folder::new(), &train, begun);
    assert_eq!((code, &calls[1..]), (Some(0), &["train --resume run --log warn".to_owned()][..]));

    // Lost before there was anything to go on with.
    let (code, calls) = calls_of(&Folder::new(), &search, "[ $start = 2 ] || exit 1");
    assert_eq!((code, calls[1].as_str()), (Some(0), search.join(" ").as_str()));
}

#[test]
fn a_search_of_single_cells_is_not_given_up_while_it_finds_more() {
    let search = ["search", "--config", "c.toml", "--out", "run"];
    let cell = r#"echo '{"kind":"cell"}' >>run/metrics.jsonl"#;
    let begun = format!("mkdir -p run; touch run/config.toml; [ $start -gt 3 ] || {cell}; [ $start = 7 ] || exit 1");
    let (code, calls) = calls_of(&Folder::new(), &search, &begun);
    // Three with a cell each, and three that come to none.
    assert_eq!((code, calls.len()), (Some(1), 6));
}

/// With stand-ins for ssh and mpirun, as this machine is but one: what they are told.
#[test]
fn machines_that_are_gone_are_left_out_and_taken_back() {
    let folder = Folder::new();
    let tool = |name: &str, text: &str| {
        fs::create_dir_all(folder.path("tools")).unwrap();
        write_script(&folder.path("tools").join(name), text);
    };
    tool("ssh", "#!/bin/sh\ncase \"$*\" in *node2*) [ ! -e node2-is-gone ] ;; esac\n");
    tool(
        "mpirun",
        "#!/bin/sh\n\
         [ \"$1\" = --version ] && { echo 'mpirun (Open MPI) 4.1.4'; exit; }\n\
         echo \"$*\" >>calls\n\
         case $(wc -l <calls) in\n\
         1) mkdir -p run/checkpoints; touch run/config.toml run/checkpoints/stage1.safetensors node2-is-gone; exit 137 ;;\n\
         2) trap 'exit 138' USR1; rm node2-is-gone; while :; do sleep 0.1; done ;;\n\
         esac\n",
    );
    let mut command = launch(&folder, program(), &["--hosts", "node1,node2"]);
    let path = format!("{}:{}", folder.path("tools").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("PDARTS_ELASTIC_POLL", "1").env_remove("MPIRUN");
    let output = command.output().unwrap();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("a machine is back"), "{stderr}");
    let calls = fs::read_to_string(folder.path("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let hosts = ["--host node1:2,node2:2 ", "--host node1:2 ", "--host node1:2,node2:2 "];
    assert_eq!(calls.len(), hosts.len(), "{calls:?}");
    for (call, hosts) in calls.iter().zip(hosts) {
        assert!(call.contains(hosts), "{call}");
    }
    assert!(calls[0].contains("search --config search.toml --out run"), "{}", calls[0]);
    assert!(calls[1].ends_with("search --resume run") && calls[2].ends_with("search --resume run"), "{calls:?}");
}

#[test]
fn elastic_jobs_of_slurm_are_checked_before_they_are_submitted() {
    let call = |arguments: &[&str]| {
        let mut command = Command::new("launch/slurm/elastic.sh");
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().unwrap();
        let (stdout, stderr) = texts(&output);
        (output.status.code(), stdout, stderr)
    };
    let search = "launch/slurm/search.sbatch";
    let (code, stdout, stderr) = call(&[
        "--nodes=4",
        "--min-ranks=6",
        "--cpus-per-task=3",
        "--time=60",
        "--dry-run",
        search,
        "--set",
        "run.seed=%a",
    ]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    // Four ranks a node by the script.
    let expected = "PDARTS_NODES=4 PDARTS_RANKS_PER_NODE=4 'sbatch' '--nodes=2-4' '--mincpus=12' '--cpus-per-task=3' \
                    '--time=60' launch/slurm/search.sbatch '--set' 'run.seed=%a'\n";
    assert_eq!(stdout, expected);
    for (arguments, told) in [
        (&["--nodes=2", "--min-ranks=9", search][..], "2 nodes have 8 ranks"),
        (&["--nodes=2-4", search], "--nodes=2-4: give the most nodes"),
        (&["--nodes", "2", search], "--nodes: give each option as one word"),
        (&["--nodes=2", "--ntasks=8", search], "--ntasks=8: give --ntasks-per-node"),
        (&["--nodes=2", "nowhere.sbatch"], "there is no script nowhere.sbatch"),
        (&["--nodes=2"], "which script?"),
        (&[search], "--nodes=?"),
    ] {
        let (code, stdout, stderr) = call(arguments);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}
