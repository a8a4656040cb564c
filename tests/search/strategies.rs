//! Searches by other strategies than P-DARTS's: what they find, that killed ones go on as if nothing had been, and what
//! they refuse.

use std::path::Path;
use std::sync::OnceLock;

use pdarts::run::{AlphasFile, GenotypeFile};

use crate::program::{Folder, Outcome, epoch_lines, json, step_lines};

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];
const EPOCHS: usize = 2;
const STEPS_PER_EPOCH: usize = 4;

/// A search of seconds in one stage.
const CONFIG: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

[data]
dataset = "photodigits"
limit = 32

[model]
channels = 8

[search]
global_batch = 4
epochs = 2
operations = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]
alpha_start_epoch = 0
validate_every_epochs = 1
max_skip_connects = 8

[[search.stages]]
cells = 3
keep = 1
skip_dropout = 0.0
"#;

/// Each strategy with the settings that are its own, and every regulariser.
const STRATEGIES: [&[&str]; 6] = [
    &["--set", "search.strategy=darts", "--set", "search.order=2"],
    &["--set", "search.strategy=pc-darts", "--set", "search.partial_channels=4"],
    &["--set", "search.strategy=snas", "--set", "search.temperature_end=0.1"],
    &["--set", "search.strategy=gdas", "--set", "search.temperature=10", "--set", "search.temperature_end=0.1"],
    &[
        "--set",
        "search.strategy=darts",
        "--set",
        "search.drop_path=0.4",
        "--set",
        "search.perturbation=0.3",
        "--set",
        "search.eigenvalue_every_epochs=1",
    ],
    &[
        "--set",
        "search.strategy=pc-darts",
        "--set",
        "search.partial_channels=2",
        "--set",
        "search.perturbation=0.2",
        "--set",
        "search.parameters_penalty=0.5",
        "--set",
        "search.multiply_adds_penalty=0.5",
    ],
];

/// Each of these alone makes another search.
const REGULARISERS: [&str; 4] = [
    "search.drop_path=0.4",
    "search.perturbation=0.3",
    "search.parameters_penalty=0.5",
    "search.multiply_adds_penalty=0.5",
];

fn folder() -> Folder {
    Folder::with("search", CONFIG)
}

fn last_alphas(run: &Path) -> AlphasFile {
    AlphasFile::read(&run.join(format!("alphas/stage1-epoch{EPOCHS:03}.json"))).unwrap()
}

/// What is compared of a whole search.
struct Searched {
    outcome: Outcome,
    has_betas: bool,
    num_measured: usize,
}

/// A search with `settings` to its end; its last alphas mean the cell that it found.
fn searched(settings: &[&str]) -> Searched {
    let folder = folder();
    folder.search(&[&START[..], settings].concat());
    let run = folder.path("run");
    let arguments = ["genotype", "derive", "--json", "--max-skip-connects", "8", "run/alphas/stage1-epoch002.json"];
    let derived = folder.command(&arguments).output().unwrap().stdout;
    let derived: GenotypeFile = serde_json::from_slice(&derived).unwrap();
    let found: GenotypeFile = serde_json::from_value(json(&run.join("genotype.json"))).unwrap();
    assert_eq!(derived.result().unwrap().variant, found.result().unwrap().variant, "{settings:?}");
    Searched {
        outcome: Outcome::of(&run),
        has_betas: last_alphas(&run).alphas.betas.is_some(),
        num_measured: epoch_lines(&run).iter().filter(|epoch| epoch["eigenvalue"].is_f64()).count(),
    }
}

/// Strategy `index` of [`STRATEGIES`], which is searched with once for all tests.
fn searched_by(index: usize) -> &'static Searched {
    static SEARCHED: [OnceLock<Searched>; STRATEGIES.len()] = [const { OnceLock::new() }; STRATEGIES.len()];
    SEARCHED[index].get_or_init(|| searched(STRATEGIES[index]))
}

#[test]
fn killed_search_of_every_strategy_goes_on_as_if_nothing_had_been() {
    for (index, settings) in STRATEGIES.into_iter().enumerate() {
        let killed = folder();
        let start = [&START[..], settings].concat();
        let mut search = killed.start_held(killed.alone_command(&start), "run", STEPS_PER_EPOCH + 1);
        search.wait_for_checkpoint(&killed.path("run"));
        search.signal("KILL");
        search.end();
        killed.search(&["--resume", "run"]);
        Outcome::of(&killed.path("run")).assert_same(&searched_by(index).outcome);
        assert_eq!(step_lines(&killed.path("run")).len(), EPOCHS * STEPS_PER_EPOCH);
    }
}

#[test]
fn strategies_differ_and_their_alphas_mean_the_cell_that_they_found() {
    let mut hashes = Vec::new();
    let mut compare = |settings: &[&str], searched: &Searched| {
        assert_eq!(searched.has_betas, settings.contains(&"search.strategy=pc-darts"));
        let measures = settings.contains(&"search.eigenvalue_every_epochs=1");
        assert_eq!(searched.num_measured, if measures { EPOCHS } else { 0 });
        hashes.push(searched.outcome.summary["alphas_hash"].to_string());
    };
    let plain = ["--set", "search.strategy=darts"];
    compare(&plain, &searched(&plain));
    for setting in REGULARISERS {
        let settings = [&plain[..], &["--set", setting]].concat();
        compare(&settings, &searched(&settings));
    }
    for (index, settings) in STRATEGIES.into_iter().enumerate() {
        compare(settings, searched_by(index));
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), STRATEGIES.len() + 1 + REGULARISERS.len(), "{hashes:?}");
}

#[test]
fn strategy_refuses_what_it_cannot_do_and_names_the_key() {
    let folder = folder();
    let second_stage = "search.stages=[{cells=3,keep=2,skip_dropout=0.0},{cells=3,keep=1,skip_dropout=0.0}]";
    for (strategy, change, part) in [
        ("p-darts", "search.order=2", "search.order: p-darts steps alphas by the first order, not 2; state 1, or"),
        ("pc-darts", "search.order=2", "search.order: pc-darts steps alphas by the first order"),
        ("darts", "search.order=3", "search.order: there is no order 3; state 1 or 2"),
        ("darts", second_stage, "search.stages: darts searches in one stage, not 2; state one with keep = 1"),
        ("darts", "search.stages.0.skip_dropout=0.3", "search.stages.0.skip_dropout: darts has no dropout"),
        ("darts", "search.partial_channels=4", "search.partial_channels: darts mixes all channels, not one of 4 parts"),
        ("p-darts", "search.partial_channels=2", "search.partial_channels: p-darts mixes all channels"),
        ("pc-darts", "search.partial_channels=1", "search.partial_channels: 1 leaves no channels that pass; state 4"),
        (
            "pc-darts",
            "search.partial_channels=8",
            "search.partial_channels: a reduction cannot halve one of 8 parts of",
        ),
        (
            "pc-darts",
            "search.partial_channels=9223372036854775807",
            "search.partial_channels: a reduction cannot halve",
        ),
        ("snas", "search.temperature_end=0", "search.temperature_end: 0 cannot be used; state a finite number above 0"),
        ("snas", "search.temperature_end=2", "search.temperature_end: 2 is above search.temperature"),
        ("darts", "search.temperature=2", "search.temperature: darts draws no samples; leave it at 1"),
        ("gdas", "search.temperature_end=0", "search.temperature_end: 0 cannot be used; state a finite number above 0"),
        ("gdas", "model.batch_norm=sync", "model.batch_norm: gdas normalises by the statistics of each rank; state"),
        ("gdas", second_stage, "search.stages: gdas searches in one stage, not 2"),
        ("snas", "search.order=2", "search.order: snas steps alphas by the first order"),
        ("darts", "search.strategy=drats", "search.strategy"),
        (
            "snas",
            "search.drop_path=0.3",
            "search.drop_path: snas does not know it; state 0, or search.strategy = \"p-darts\"",
        ),
        ("darts", "search.drop_path=1", "search.drop_path: 1 is out of range; state a number from 0 to below 1"),
        ("gdas", "search.perturbation=0.3", "search.perturbation: gdas does not know it"),
        ("darts", "search.perturbation=2", "search.perturbation: 2 is out of range; state a number from 0 to 1"),
        ("snas", "search.eigenvalue_every_epochs=2", "search.eigenvalue_every_epochs: snas does not know it"),
        (
            "darts",
            "search.eigenvalue_stop=1.3",
            "search.eigenvalue_stop: nothing is measured; state search.eigenvalue_",
        ),
        ("darts", "search.eigenvalue_stop=0.5", "search.eigenvalue_stop: 0.5 would end every stage; state a number"),
        (
            "darts",
            "search.parameters_penalty=-1",
            "search.parameters_penalty: -1 cannot be used; state a finite number",
        ),
    ] {
        let strategy = format!("search.strategy={strategy}");
        let line = folder.refusal(&[&START[..], &["--set", &strategy, "--set", change]].concat(), 2);
        assert!(line.contains(part), "{line}");
        assert!(!folder.path("run").exists());
    }
}

#[test]
fn run_of_one_strategy_cannot_go_on_with_another() {
    let folder = folder();
    folder.search(&[&START[..], &["--set", "search.strategy=darts", "--set", "search.epochs=1"]].concat());
    for (change, part) in [
        (
            "search.strategy=p-darts",
            "--resume run: search.strategy: the run was begun with \"darts\", now \"p-darts\" was given, which cannot",
        ),
        (
            "search.order=2",
            "--resume run: search.order: the run was begun with 1, now 2 was given, which cannot change",
        ),
    ] {
        let line = folder.refusal(&["--resume", "run", "--set", change], 2);
        assert!(line.contains(part), "{line}");
    }
}

/// As P-DARTS's: the first stage leaves two operations an edge.
#[test]
fn pc_darts_also_searches_in_stages_and_goes_on_in_each() {
    let (whole, killed) = (folder(), folder());
    let stages = "search.stages=[{cells=3,keep=2,skip_dropout=0.0},{cells=4,keep=1,skip_dropout=0.3}]";
    let settings = ["--set", "search.strategy=pc-darts", "--set", "search.partial_channels=4", "--set", stages];
    let start = [&START[..], &settings].concat();
    whole.search(&start);
    let mut search = killed.start_held(killed.alone_command(&start), "run", (EPOCHS + 1) * STEPS_PER_EPOCH + 1);
    search.signal("KILL");
    search.end();
    killed.search(&["--resume", "run"]);
    Outcome::of(&killed.path("run")).assert_same(&Outcome::of(&whole.path("run")));
    let last = AlphasFile::read(&whole.path("run").join("alphas/stage2-epoch002.json")).unwrap();
    assert!(last.alphas.betas.is_some() && last.live.normal.iter().all(|live| live.len() == 2));
}

/// The curvature of so small a search wanders: by more than one part in a thousand, sooner or later.
#[test]
fn stage_whose_curvature_grows_ends_early_with_the_alphas_of_before_also_when_it_goes_on() {
    let (whole, killed) = (folder(), folder());
    let stages = "search.stages=[{cells=3,keep=2,skip_dropout=0.0},{cells=3,keep=1,skip_dropout=0.0}]";
    let operations = "search.operations=[\"max_pool_3x3\", \"skip_connect\", \"avg_pool_3x3\"]";
    let settings = ["search.epochs=40", "search.eigenvalue_every_epochs=1", "data.limit=16", stages, operations];
    let further = ["search.global_batch=8", "search.eigenvalue_stop=1.001", "search.validate_every_epochs=40"];
    let settings = settings.into_iter().chain(further);
    let settings: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
    let start = [&START[..], &settings].concat();
    let told = whole.search(&start);
    let run = whole.path("run");
    let epochs = epoch_lines(&run);
    let first_stage: Vec<_> = epochs.iter().filter(|epoch| epoch["stage"] == 1).collect();
    let num_epochs = first_stage.len();
    let goes_back_to = first_stage[num_epochs - 1]["goes_back_to"].as_u64().expect("it has grown") as usize;
    // Means of five that lie four apart: the first in the middle of the earlier ones, after ten epochs of alphas.
    assert!(num_epochs < 40 && goes_back_to == num_epochs - 6 && goes_back_to > 10, "{goes_back_to}");
    assert!(first_stage.iter().rev().skip(1).all(|epoch| epoch["goes_back_to"].is_null()));
    let eigenvalues: Vec<f64> = first_stage.iter().map(|epoch| epoch["eigenvalue"].as_f64().unwrap()).collect();
    let mean = |window: &[f64]| window.iter().sum::<f64>() / 5.0;
    assert!(mean(&eigenvalues[num_epochs - 5..]) > 1.001 * mean(&eigenvalues[num_epochs - 9..][..5]));
    // Validated all the same, and told.
    assert!(first_stage[num_epochs - 1]["valid_top1"].is_f64());
    let note = format!("1 (ended early, result of epoch {goes_back_to})");
    assert!(
        told.contains(&note) && std::fs::read_to_string(run.join("report.html")).unwrap().contains(&note),
        "{told}"
    );

    // What the second stage begins with is what those alphas leave, not the last ones.
    let alphas =
        |stage, epoch| AlphasFile::read(&run.join(format!("alphas/stage{stage}-epoch{epoch:03}.json"))).unwrap();
    let kept = |epoch| {
        let AlphasFile { live, alphas, .. } = alphas(1, epoch);
        live.drop_weakest(&alphas, 2, false).unwrap()
    };
    assert_eq!(alphas(2, 1).live, kept(goes_back_to));
    assert_ne!(kept(goes_back_to), kept(num_epochs));

    // Killed in the second stage, before its first checkpoint: it goes on from the end of the first.
    let mut search = killed.start_held(killed.alone_command(&start), "run", num_epochs + 1);
    search.signal("KILL");
    search.end();
    killed.search(&["--resume", "run"]);
    Outcome::of(&killed.path("run")).assert_same(&Outcome::of(&run));
}
