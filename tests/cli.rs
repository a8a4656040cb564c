//! The command line as its user meets it: what it prints, its exit codes, and the one line of each error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use assert_cmd::Command;
use pdarts::config::{CompareConfig, SearchConfig, Settings, TrainConfig};
use pdarts::genotype::{Alphas, Genotype, NUM_EDGES, Operation, Switches, library, restrict};
use pdarts::run::{AlphasFile, GenotypeFile, Provenance, SeedsFile, TrainedCell};
use serde_json::Value;
use tempfile::TempDir;

/// A call from an empty folder.
struct Call {
    folder: TempDir,
}

impl Call {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(self, name: &str, content: &str) -> Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("pdarts").unwrap();
        command.current_dir(self.folder.path()).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").args(arguments);
        command
    }

    fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).assert().success().stderr("").get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.stdout(arguments)).unwrap()
    }

    /// The call ends with `code` and nothing but this line.
    fn fails(&self, arguments: &[&str], code: i32, line: &str) {
        self.command(arguments).assert().code(code).stdout("").stderr(format!("{line}\n"));
    }
}

fn has_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}

fn published() -> Genotype {
    library::find("PDARTS_C10").unwrap().genotype
}

/// Alphas of the last stage under which the normal cell has 8 skip connections, unless limited.
fn alphas_file() -> AlphasFile {
    let live = [Operation::SkipConnect, Operation::SepConv3x3, Operation::DilConv3x3];
    let cell: Vec<Vec<f64>> = (0..NUM_EDGES).map(|edge| vec![0.5 + 0.01 * edge as f64, 0.1, 0.2]).collect();
    AlphasFile {
        stage: 3,
        epoch: 25,
        live: Switches::full(&live).unwrap(),
        alphas: Alphas { normal: cell.clone(), reduction: cell, betas: None },
    }
}

fn genotype_file() -> GenotypeFile {
    let AlphasFile { live, alphas, .. } = alphas_file();
    let provenance = Provenance::now(Path::new("runs/first"), "photodigits", 0, "ab12");
    GenotypeFile::new(&restrict(&live, &alphas).unwrap(), 2, Some(provenance))
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn version_names_the_commit_and_libtorch() {
    let text = Call::new().stdout(&["--version"]);
    assert!(text.starts_with("pdarts 0.1.0 (") && text.contains("), libtorch 2."), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn help_explains_each_command_with_examples() {
    for command in ["", "genotype list", "genotype show", "genotype draw", "genotype derive", "config show"] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = Call::new().stdout(&arguments);
        assert!(help.contains("Usage: pdarts") && help.contains("Examples:\n  pdarts "), "{help}");
    }
}

#[test]
fn unknown_option_is_a_usage_error() {
    Call::new().command(&["genotype", "list", "--yaml"]).assert().code(2);
    Call::new().command(&[]).assert().code(2);
}

#[test]
fn list_has_every_published_cell_with_exact_counts() {
    let call = Call::new();
    let listed = call.json(&["genotype", "list", "--json"]);
    let text = call.stdout(&["genotype", "list"]);
    let cells = library::published_cells().unwrap();
    assert_eq!(listed.as_array().unwrap().len(), cells.len());
    for (listed, cell) in listed.as_array().unwrap().iter().zip(cells) {
        assert_eq!(listed["name"], cell.name.as_str());
        assert_eq!(listed["cifar10"]["parameters"], cell.counted.cifar10_parameters);
        assert_eq!(listed["cifar100"]["parameters"], cell.counted.cifar100_parameters);
        assert_eq!(listed["imagenet"]["multiply_adds"], cell.counted.imagenet_multiply_adds);
        assert_eq!(listed["published"], serde_json::to_value(&cell.published).unwrap());
        assert!(text.contains(&cell.name) && text.contains(&cell.title), "{text}");
    }
}

#[test]
fn every_form_of_a_genotype_shows_the_same_cell() {
    let (json, python) = (to_json(&published()), published().to_string());
    let call = Call::new().file("cell.json", &json).file("cell.py", &format!("PDARTS = {python}\n"));
    for source in ["PDARTS_C10", "cell.json", "./cell.py", &json, &python] {
        let shown = call.json(&["genotype", "show", source, "--json"]);
        assert_eq!(shown["python"], python.as_str(), "{source}");
        assert_eq!(shown["genotype"], serde_json::to_value(published()).unwrap());
        assert_eq!(shown["skip_connects"], 2);
        assert_eq!(shown["imagenet"]["multiply_adds_all"].as_f64().map(|n| (n / 1e6).round()), Some(557.0));
    }
    let mut command = call.command(&["genotype", "show", "-", "--json"]);
    let output = command.write_stdin(python.clone()).assert().success().get_output().clone();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["python"], python.as_str());
    assert!(call.stdout(&["genotype", "show", "cell.json"]).ends_with(&format!("\n{python}\n")));
}

#[test]
fn run_shows_the_variant_that_is_its_result() {
    let file = genotype_file();
    let call = Call::new().file("runs/first/genotype.json", &to_json(&file));
    for source in ["runs/first", "runs/first/genotype.json"] {
        let shown = call.json(&["genotype", "show", source, "--json"]);
        assert_eq!(shown["python"], file.result().unwrap().python.as_str());
        assert_eq!(shown["skip_connects"], 2);
    }
}

#[test]
fn run_of_several_seeds_shows_the_cell_that_all_train() {
    let call = Call::new();
    fs::create_dir(call.path("seeds")).unwrap();
    let cell = TrainedCell::new("PDARTS_C10".to_owned(), published(), None);
    let file = SeedsFile { seeds: vec![0, 1], config: TrainConfig::default(), cell, initial: None };
    file.write(&call.path("seeds")).unwrap();
    let shown = call.json(&["genotype", "show", "seeds", "--json"]);
    assert_eq!((&shown["name"], &shown["python"]), (&"seeds".into(), &published().to_string().into()));
    let call = call.file("all/experiment.json", "{}");
    let line = "error: all is an experiment, of many cells: name one of its runs, as in all/STRATEGY/seed0/search";
    call.fails(&["genotype", "show", "all"], 2, line);
}

#[test]
fn draw_writes_both_cells() {
    let call = Call::new();
    let paths = call.json(&["genotype", "draw", "PDARTS_C10", "--out", "figures/cell", "--json"]);
    for kind in ["normal", "reduction"] {
        let path = format!("figures/cell/{kind}.svg");
        assert_eq!(paths[kind], path.as_str());
        let svg = fs::read_to_string(call.path(&path)).unwrap();
        assert!(svg.contains(&format!("PDARTS_C10: {kind} cell")) && svg.contains("dil_conv_5x5"), "{svg}");
    }
    assert_eq!(call.stdout(&["genotype", "draw", "PDARTS_C10"]), "./normal.svg\n./reduction.svg\n");
}

#[test]
fn derive_prints_every_variant_and_marks_the_result() {
    let call = Call::new().file("alphas.json", &to_json(&alphas_file()));
    let mut expected = genotype_file();
    expected.provenance = None;
    let derived = call.stdout(&["genotype", "derive", "alphas.json", "--json"]);
    assert_eq!(serde_json::from_str::<GenotypeFile>(&derived).unwrap(), expected);

    let text = call.stdout(&["genotype", "derive", "alphas.json"]);
    let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("*  ")).collect();
    assert_eq!(marked.len(), 1, "{text}");
    assert!(expected.variants.iter().all(|priced| text.contains(&priced.python)), "{text}");

    let derived = call.json(&["genotype", "derive", "alphas.json", "--max-skip-connects", "5", "--json"]);
    assert_eq!(derived["result"]["max_skip_connects"], 5);
}

#[test]
fn alphas_of_a_run_are_named_for_derive() {
    let alphas = to_json(&alphas_file());
    let call = Call::new().file("run/alphas/stage2-epoch025.json", &alphas);
    let call = call.file("run/alphas/stage3-epoch009.json", &alphas).file("run/alphas/stage3-epoch010.json", &alphas);
    let last = "run/alphas/stage3-epoch010.json";
    let line = format!("error: run is a folder: name one of its files of alphas; the last is {last}");
    call.fails(&["genotype", "derive", "run"], 2, &line);
    call.stdout(&["genotype", "derive", last]);
    let none = "error: . is a folder: name a file from the folder alphas of a search";
    call.fails(&["genotype", "derive", "."], 2, none);
    let call = call.file("train/config.toml", "[train]\n").file("train/cell.py", &published().to_string());
    let none = "error: train is a folder: a training has a cell and no alphas: pdarts genotype show train prints it; cells \
                are derived of a file from the folder alphas of a search";
    call.fails(&["genotype", "derive", "train"], 2, none);
    let cell = "error: train/cell.py is not a file of alphas: it holds a cell, which pdarts genotype show prints; cells are \
                derived of a file from the folder alphas of a search";
    call.fails(&["genotype", "derive", "train/cell.py"], 2, cell);
    let alphas = format!(
        "error: {last}: it holds alphas, of which cells are derived, and no cell: pdarts genotype derive \
                          FILE --json > genotype.json makes a file of them"
    );
    call.fails(&["genotype", "show", last], 2, &alphas);
}

#[test]
fn file_that_reaches_the_limit_on_sizes_is_told_like_a_full_disk() {
    let call = Call::new();
    let mut command = Command::new("bash");
    command.current_dir(call.path("")).args(["-c", "ulimit -f 1; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pdarts")]);
    command.args(["genotype", "draw", "PDARTS_C10"]);
    let line = "error: cannot write ./normal.svg: File too large (os error 27); raise the limit on the size of files \
                (ulimit -f) and call again\n";
    command.assert().code(1).stdout("").stderr(line);
}

#[test]
fn derived_cells_can_be_piped_on() {
    let call = Call::new().file("alphas.json", &to_json(&alphas_file()));
    let derived = call.stdout(&["genotype", "derive", "alphas.json", "--json"]);
    let mut command = call.command(&["genotype", "show", "-"]);
    let output = command.write_stdin(derived).assert().success().get_output().clone();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.ends_with(&format!("{}\n", genotype_file().result().unwrap().python)), "{shown}");
}

#[test]
fn config_without_a_file_is_the_defaults_with_their_meaning() {
    let call = Call::new();
    assert_eq!(call.stdout(&["config", "show"]), SearchConfig::commented_defaults().unwrap());
    let json = call.stdout(&["config", "show", "--json"]);
    assert_eq!(serde_json::from_str::<SearchConfig>(&json).unwrap(), SearchConfig::default());
    let of_experiment = ["config", "show", "--kind", "compare"];
    assert_eq!(call.stdout(&of_experiment), CompareConfig::commented_defaults().unwrap());
    let of_training = ["config", "show", "--kind", "train"];
    assert_eq!(call.stdout(&of_training), TrainConfig::commented_defaults().unwrap());
}

#[test]
fn configurations_that_come_with_the_program_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut num_trainings = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("train-") {
            TrainConfig::load(&path, &[]).unwrap();
            num_trainings += 1;
        } else if path.file_name().unwrap().to_string_lossy().starts_with("compare-") {
            CompareConfig::load(&path, &[]).unwrap();
        } else {
            SearchConfig::load(&path, &[]).unwrap();
        }
    }
    assert_eq!(num_trainings, 11);
}

#[test]
fn bench_train_step_measures_the_network_of_the_paper() {
    let arguments = ["bench", "train-step", "--network", "cifar", "--global-batch", "2", "--threads", "1"];
    let figures = Call::new().json(&[&arguments[..], &["--repeats", "1", "--json"]].concat());
    assert_eq!((&figures["network"], &figures["parameters"]), (&Value::from("cifar"), &Value::from(3_433_798)));
    assert!(figures["step_s"].as_f64().unwrap() > 0.0 && figures["peak_rss_mib"].as_f64().unwrap() > 0.0);
    let is_of_gpus = |name: &&str| figures.get(name).is_some();
    assert!(has_driver() || !["peak_gpu_mib", "launches"].iter().any(is_of_gpus), "{figures}");
}

#[test]
fn benches_measure_the_cpu_and_refuse_a_gpu_that_is_not_there() {
    let call = Call::new();
    let machine = ["bench", "machine", "--threads", "1", "--repeats", "1"];
    let figures = call.json(&[&machine[..], &["--device", "cpu", "--json"]].concat());
    assert_eq!((&figures["device"], &figures["threads"]), (&Value::from("cpu"), &Value::from(1)));
    let [stream, gemm, balance] =
        ["stream_gb_s", "gemm_gflop_s", "balance_flop_per_byte"].map(|name| figures[name].as_f64().unwrap());
    assert!(stream > 0.0 && (balance - gemm / stream).abs() < 1e-6 * balance, "{figures}");
    let profile = ["bench", "profile", "--stage", "1", "--global-batch", "1", "--threads", "1", "--repeats", "1"];
    let text = call.stdout(&[&profile[..], &["--device", "cpu", "--top", "3"]].concat());
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("stage 1, one architecture step and one weight step, batch 1, rank 0 of 1, cpu"),
        "{text}"
    );
    assert!(lines[1].starts_with("operation ") && lines.len() == 6, "{text}");
    if has_driver() {
        println!("SKIPPED: this machine has an NVIDIA driver");
        return;
    }
    let supernet = ["bench", "supernet", "--stage", "1"];
    let train_step = ["bench", "train-step", "--network", "cifar"];
    for bench in [&machine[..], &profile, &supernet, &train_step] {
        call.fails(
            &[bench, &["--device", "cuda"]].concat(),
            2,
            "error: device \"cuda\" was asked for, but no NVIDIA driver is loaded (no /proc/driver/nvidia/version); the CPU is \
             device \"cpu\" (run.device, or --device of eval and bench)",
        );
    }
}

#[test]
fn config_is_resolved_from_a_file_and_overrides() {
    let call = Call::new().file("search.toml", "[search]\nepochs = 30\n[run]\nseed = 7\n");
    let arguments = ["config", "show", "--config", "search.toml", "--set", "search.epochs=40"];
    let config: SearchConfig = toml::from_str(&call.stdout(&arguments)).unwrap();
    assert_eq!((config.search.epochs, config.run.seed), (40, 7));
    let json = call.json(&["config", "show", "--set", "search.epochs=40", "--set", "run.seed=3", "--json"]);
    assert_eq!((&json["search"]["epochs"], &json["run"]["seed"]), (&Value::from(40), &Value::from(3)));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Call::new().stdout(&["completions", shell]);
        assert!(script.contains("genotype") && script.contains("max-skip-connects"), "{shell}");
    }
}

#[test]
fn config_errors_name_the_place() {
    let call = Call::new().file("search.toml", "[search]\nepoch = 30\n");
    call.fails(
        &["config", "show", "--config", "search.toml"],
        2,
        "error: search.toml:2: unknown key `search.epoch`; did you mean `search.epochs`?",
    );
    call.fails(
        &["config", "show", "--config", "none.toml"],
        2,
        "error: cannot read the config none.toml: No such file or directory (os error 2)",
    );
    call.fails(
        &["config", "show", "--set", "search.epochs"],
        2,
        "error: --set search.epochs: expected KEY=VALUE, for example --set search.epochs=10",
    );
    call.fails(
        &["config", "show", "--set", "model.channels=15"],
        2,
        "error: --set model.channels=15: model.channels: a reduction cannot halve 15 channels; state an even number above 0",
    );
}

#[test]
fn genotype_errors_name_the_source_and_the_nearest() {
    let call = Call::new()
        .file("cell.json", "{\"normal\": [], \"reduce\": []}")
        .file("cell.py", "Genotype(normal=[('sep', 0)])");
    let known = library::published_cells().unwrap().into_iter().map(|cell| cell.name).collect::<Vec<_>>().join(", ");
    call.fails(
        &["genotype", "show", "PDARTS_C11"],
        2,
        &format!(
            "error: neither a file nor a published cell: unknown published cell `PDARTS_C11`; \
             did you mean `PDARTS_C10`? known: {known}"
        ),
    );
    call.fails(
        &["genotype", "draw", "none.json"],
        2,
        "error: cannot read none.json: No such file or directory (os error 2)",
    );
    call.fails(
        &["genotype", "show", "cell.json"],
        2,
        "error: cell.json: genotype text, line 1, column 1: `normal_concat` is missing",
    );
    let stderr = call.command(&["genotype", "show", "cell.py"]).assert().code(2).get_output().stderr.clone();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.starts_with("error: cell.py: genotype text, line 1, column 19: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn cell_of_a_module_is_chosen_behind_a_colon() {
    let (cell, other) = (published().to_string(), library::find("DARTS_V2").unwrap().genotype.to_string());
    let module = format!(
        "\u{feff}from collections import namedtuple\r\nGenotype = namedtuple('Genotype', 'normal normal_concat reduce \
         reduce_concat')\r\nDARTS = {other}\r\nPDARTS = {cell}\r\n"
    );
    let call = Call::new().file("genotypes.py", &module).file("cell (1).py", &cell);
    for source in ["genotypes.py:PDARTS", "genotypes.py:2", "cell (1).py"] {
        assert_eq!(call.json(&["genotype", "show", source, "--json"])["python"], cell.as_str(), "{source}");
    }
    call.fails(
        &["genotype", "show", "genotypes.py"],
        2,
        "error: genotypes.py: it has several cells: 1 DARTS (line 3), 2 PDARTS (line 4); choose one by its name or number \
         behind a colon, as in FILE:NAME",
    );
    let stderr =
        call.command(&["genotype", "show", "genotypes.py:NASNet"]).assert().code(2).get_output().stderr.clone();
    assert!(String::from_utf8(stderr).unwrap().contains("it has no cell `NASNet`; it has 1 DARTS (line 3)"));
    let utf16: Vec<u8> = module.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(call.path("utf16.py"), utf16).unwrap();
    assert_eq!(call.json(&["genotype", "show", "utf16.py:PDARTS", "--json"])["python"], cell.as_str());
}

#[test]
fn variant_of_a_run_is_chosen_by_its_limit() {
    let file = genotype_file();
    let call = Call::new().file("runs/first/genotype.json", &to_json(&file));
    for priced in &file.variants {
        let source = format!("runs/first:{}", priced.variant.max_skip_connects);
        assert_eq!(call.json(&["genotype", "show", &source, "--json"])["python"], priced.python.as_str());
    }
    let stderr = call.command(&["genotype", "show", "runs/first:99"]).assert().code(2).get_output().stderr.clone();
    assert!(String::from_utf8(stderr).unwrap().contains("it has no variant `99`"));
}

#[test]
fn home_folder_is_known_behind_an_equals_sign() {
    let call = Call::new().file("home/cell.json", &to_json(&published()));
    let home = call.path("home");
    let run = |arguments: &[&str]| call.command(arguments).env("HOME", &home).assert().success().get_output().clone();
    run(&["genotype", "draw", "PDARTS_C10", "--out=~/figures"]);
    assert!(home.join("figures/normal.svg").is_file());
    run(&["genotype", "show", "~/cell.json"]);
    let shown = run(&["config", "show", "--set", "data.dir=~/data", "--json"]).stdout;
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!(shown["data"]["dir"], home.join("data").to_str().unwrap());
    call.fails(
        &["genotype", "draw", "PDARTS_C10", "--out=~no-such-user/x"],
        2,
        "error: ~no-such-user/x: there is no user `no-such-user`; for a folder of that name write ./~no-such-user/x",
    );
    assert!(!call.path("~no-such-user").exists() && !call.path("~").exists());
}

#[test]
fn call_that_cannot_be_parsed_is_one_line_and_another_rank_tells_it_if_the_first_does_not() {
    let call = Call::new();
    call.fails(
        &["genotype", "list", "--yaml"],
        2,
        "error: unexpected argument '--yaml' found; pdarts genotype list --help explains it",
    );
    // Which would have ended this one. srun lets the others go on.
    let told = "error: rank 3: unexpected argument '--yaml' found; pdarts genotype list --help explains it\n";
    let srun = [("SLURM_PROCID", "3"), ("SLURM_STEP_ID", "0")];
    let launchers = [(&[("OMPI_COMM_WORLD_RANK", "3")][..], told), (&[("PMIX_RANK", "3")], told), (&srun, "")];
    for (variables, expected) in launchers {
        let mut command = call.command(&["genotype", "list", "--yaml"]);
        command.envs(variables.iter().copied()).assert().code(2).stdout("").stderr(expected);
    }
}

#[test]
fn bad_alphas_are_refused_with_their_file() {
    let mut short = alphas_file();
    short.alphas.normal[3].pop();
    let call = Call::new().file("broken.json", "{\"stage\": 3").file("short.json", &to_json(&short));
    call.fails(
        &["genotype", "derive", "broken.json"],
        2,
        "error: broken.json is not a file of alphas: it is cut off; name one from the folder alphas of a search",
    );
    call.fails(
        &["genotype", "derive", "short.json"],
        2,
        "error: short.json: alphas of the normal cell: edge 3 has 3 live operations but 2 alphas",
    );
}

#[test]
fn folder_that_cannot_be_written_is_refused() {
    Call::new().fails(
        &["genotype", "draw", "PDARTS_C10", "--out", "/proc/figures"],
        2,
        "error: --out /proc/figures: No such file or directory (os error 2)",
    );
}

#[test]
fn log_filter_is_checked() {
    let line = "`verbose` is no level: name off, error, warn, info, debug or trace, \
                or set one for a module, as in info,pdarts::data=debug";
    Call::new().fails(&["genotype", "list", "--log", "verbose"], 2, &format!("error: --log: {line}"));
    Call::new().command(&["genotype", "list", "--log", "debug"]).env("RUST_LOG", "[").assert().success();
    Call::new().command(&["genotype", "list"]).env("RUST_LOG", "[").assert().code(2);
    // A variable may be for other programs: it is told of, and silences nothing.
    let output = Call::new().command(&["genotype", "list"]).env("RUST_LOG", "wran").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("RUST_LOG: `wran` is no level: logging as by info"), "{stderr}");
}

#[test]
fn reader_that_leaves_early_is_no_error() {
    let program = assert_cmd::cargo::cargo_bin("pdarts");
    let mut command = std::process::Command::new(program);
    let mut child = command.args(["genotype", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}

#[test]
fn full_output_is_an_error() {
    let call = Call::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let program = assert_cmd::cargo::cargo_bin("pdarts");
    let mut command = std::process::Command::new(program);
    let output = command.args(["config", "show"]).current_dir(call.folder.path()).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: cannot write to standard output: No space left on device (os error 28)\n"
    );
}
