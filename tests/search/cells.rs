//! Searches that train single cells, and limits on the network of a cell.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use pdarts::config::{SearchConfig, Settings};
use pdarts::genotype::{Genotype, NetworkShape, count};
use pdarts::run::GenotypeFile;
use serde_json::Value;

use crate::program::{Folder, Kept, Outcome, json, json_lines, names_who_is_waited_for, texts};

const CONFIG: &str = r#"
[run]
threads = 1
device = "cpu"

[data]
dataset = "photodigits"
limit = 64

[search]
strategy = "evolution"

[evaluation]
candidates = 9
epochs = 1
cells = 3
channels = 4
global_batch = 8

[evolution]
population = 4
tournament = 2
generation = 2
"#;

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];
/// Of the same cells, drawn anew each time.
const RANDOM: [&str; 10] = [
    "--set",
    "search.strategy=random",
    "--set",
    "evolution.population=100",
    "--set",
    "evolution.tournament=25",
    "--set",
    "evolution.generation=8",
    "--set",
    "evaluation.candidates=4",
];

fn folder() -> Folder {
    Folder::with("search", CONFIG)
}

/// A folder with a complete search by evolution in `run`, which is made once for all tests.
fn complete() -> Folder {
    static COMPLETE: LazyLock<Kept> = LazyLock::new(|| {
        let folder = folder();
        folder.search(&START);
        Kept::of(&folder.path("run"))
    });
    let folder = folder();
    COMPLETE.write(&folder.path("run"));
    folder
}

fn cells(run: &Path) -> Vec<Value> {
    json_lines(&run.join("metrics.jsonl"))
}

fn genotype(cell: &Value) -> Genotype {
    serde_json::from_value(cell["genotype"].clone()).unwrap()
}

fn top1(cell: &Value) -> f64 {
    cell["valid"]["top1"].as_f64().unwrap()
}

#[test]
fn killed_search_of_cells_goes_on_as_if_nothing_had_been() {
    for settings in [&[][..], &RANDOM] {
        let killed = folder();
        let start = [&START[..], settings].concat();
        let whole = if settings.is_empty() { complete() } else { folder() };
        if !whole.path("run").exists() {
            whole.search(&start);
        }
        let metrics = killed.path("run/metrics.jsonl");
        let mut search = killed.start(&start);
        search.wait_until(|| fs::read_to_string(&metrics).unwrap_or_default().lines().count() >= 3);
        search.signal("KILL");
        search.end();
        // What a kill can leave of a line.
        let text = fs::read_to_string(&metrics).unwrap();
        fs::write(&metrics, text + "{\"kind\":\"cell\",\"numb").unwrap();
        killed.search(&["--resume", "run"]);
        Outcome::of(&killed.path("run")).assert_same(&Outcome::of(&whole.path("run")));
    }
}

#[test]
fn stopped_search_of_cells_says_how_it_goes_on() {
    let folder = folder();
    // More than it could train before the signal comes.
    let mut search = folder.start(&[&START[..], &["--set", "evaluation.candidates=2000"]].concat());
    let metrics = folder.path("run/metrics.jsonl");
    search.wait_until(|| fs::read_to_string(&metrics).unwrap_or_default().lines().count() >= 2);
    search.signal("TERM");
    let output = search.end();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("stopped by signal 15; go on with: pdarts search --resume run"), "{stderr}");
    let summary = json(&folder.path("run/summary.json"));
    assert_eq!((&summary["status"], &summary["cells"]["candidates"]), (&Value::from("stopped"), &Value::from(2000)));
    assert_eq!(summary["cells"]["evaluated"], cells(&folder.path("run")).len());
}

#[test]
fn evolution_descends_from_the_best_of_the_living() {
    let folder = complete();
    let run = folder.path("run");
    let cells = cells(&run);
    assert_eq!(cells.len(), 9);
    for (index, cell) in cells.iter().enumerate() {
        assert_eq!(cell["number"], index + 1);
        let Some(parent) = cell["parent"].as_u64() else {
            assert!(index < 4);
            continue;
        };
        // Known before its generation of two: the last four of them live.
        let known = index - (index - 4) % 2;
        let parent = parent as usize - 1;
        assert!(index >= 4 && (known - 4..known).contains(&parent), "{index}: {parent}");
        // Of two that are drawn of four, the better is never worse than all others.
        let num_not_better = cells[known - 4..known].iter().filter(|other| top1(other) <= top1(&cells[parent])).count();
        assert!(num_not_better >= 2, "{index}: {parent}");
        let (one, other) = (genotype(cell).to_string(), genotype(&cells[parent]).to_string());
        let differences = one.split("),").zip(other.split("),")).filter(|(a, b)| a != b).count();
        assert!(differences <= 2, "{one}\n{other}");
    }
    let best = cells.iter().map(top1).fold(0.0, f64::max);
    let summary = json(&run.join("summary.json"));
    assert_eq!(summary["cells"]["best_valid_top1"], best);
    let found: GenotypeFile = serde_json::from_value(json(&run.join("genotype.json"))).unwrap();
    let winner = &cells[summary["cells"]["best"].as_u64().unwrap() as usize - 1];
    assert_eq!(found.result().unwrap().variant.genotype, genotype(winner));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("Search on photodigits by evolution") && !page.contains("damaged"));
}

#[test]
fn cells_are_the_same_for_any_number_of_ranks() {
    let (one, two) = (complete(), folder());
    for (ranks, out) in [(2, "two"), (3, "three")] {
        two.search_on_ranks(ranks, &["--config", "search.toml", "--out", out]);
        let without_time = |mut cell: Value| {
            cell.as_object_mut().unwrap().remove("seconds");
            cell
        };
        let of = |run: &Path| cells(run).into_iter().map(without_time).collect::<Vec<_>>();
        assert_eq!(of(&two.path(out)), of(&one.path("run")));
    }
}

#[test]
fn rank_that_trains_is_waited_for_until_it_stops_answering() {
    let folder = folder();
    // The first cell is alone in its generation, so rank 1 has none and waits.
    let mut settings = START.to_vec();
    for setting in [
        "evaluation.epochs=100000",
        "evolution.population=1",
        "evolution.tournament=1",
        "evolution.generation=1",
        "parallel.stall_warning_seconds=1",
        "parallel.stall_abort_seconds=3",
    ] {
        settings.extend(["--set", setting]);
    }
    let mut search = folder.start_on_ranks(2, &settings);
    search.wait_for_heartbeat(&folder, "run", 0);
    let start = Instant::now();
    search.wait_until(|| start.elapsed() > Duration::from_secs(5));
    folder.signal_rank("run", 0, "STOP");
    let (_, stderr) = texts(&search.end());
    let named = |line: &&str| line.starts_with("error: ") && names_who_is_waited_for(line, "rank 0 on ");
    let line = stderr.lines().find(named).unwrap_or_else(|| panic!("{stderr}"));
    assert!(
        line.contains("the exchange of evaluated cells has waited") && line.contains("in stage 1, epoch "),
        "{line}"
    );
}

#[test]
fn single_cell_is_drawn_and_not_trained() {
    let folder = folder();
    folder.search(&[&START[..], &RANDOM, &["--set", "evaluation.candidates=1"]].concat());
    let cells = cells(&folder.path("run"));
    assert!(cells.len() == 1 && cells[0].get("valid").is_none(), "{cells:?}");
}

#[test]
fn drawn_cells_are_within_the_limits() {
    let folder = folder();
    let limits = ["--set", "search.max_parameters=2500000", "--set", "search.max_skip_connects=1"];
    folder.search(&[&START[..], &limits].concat());
    for cell in cells(&folder.path("run")) {
        let genotype = genotype(&cell);
        assert!(count(&genotype, &NetworkShape::cifar(10)).parameters <= 2_500_000);
        assert!(genotype.skip_connects() <= 1);
    }
}

#[test]
fn records_of_another_search_are_refused() {
    let folder = complete();
    let metrics = folder.path("run/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, text.replacen("\"number\":2", "\"number\":3", 1)).unwrap();
    let line = folder.refusal(&["--resume", "run"], 2);
    assert!(line.contains("cell 2 in metrics.jsonl is not the one that this search makes there"), "{line}");
    fs::write(&metrics, "{\"kind\":\"epoch\"}\n").unwrap();
    let line = folder.refusal(&["--resume", "run"], 2);
    assert!(line.contains("line 1 is not of an evaluated cell"), "{line}");
}

#[test]
fn what_searches_of_cells_cannot_do_is_refused_with_its_key() {
    let folder = folder();
    for (changes, part) in [
        (&["search.epochs=30"][..], "search.epochs: evolution trains single cells"),
        (&["model.channels=8"], "model.channels: evolution trains single cells"),
        (&["search.order=2"], "search.order: evolution trains single cells"),
        (&["data.alpha_fraction=0.2"], "data.alpha_fraction: evolution trains single cells"),
        (&["data.train_fraction=1"], "data.train_fraction"),
        (
            &["evolution.tournament=5"],
            "evolution.tournament: 5 cells cannot be drawn from a population of 4; state 1 to 4",
        ),
        (&["evolution.population=10"], "evolution.population: 10 cells live at a time, but evaluation.candidates = 9"),
        (&["evolution.generation=0"], "evolution.generation: 0 new cells"),
        (&["evaluation.cells=2"], "evaluation.cells: 2 cells are too few"),
        (&["evaluation.channels=3"], "evaluation.channels: a reduction cannot halve 3 channels"),
        (&["evaluation.candidates=0"], "evaluation.candidates: 0 is too small"),
        (&["search.strategy=random"], "evolution: random draws every cell anew; leave the table out"),
        (&["search.strategy=p-darts"], "evaluation: p-darts trains a supernet, no single cells; leave the table out"),
        (
            &["search.max_parameters=1000"],
            "search.max_parameters: no cell's network has so few parameters; the smallest has 1",
        ),
        (&["search.max_multiply_adds=1000"], "search.max_multiply_adds: no cell's network has so few multiply-adds"),
        (
            &["evaluation.global_batch=64"],
            "evaluation.global_batch: a batch of 64 is larger than the 32 training images",
        ),
    ] {
        let set = changes.iter().flat_map(|change| ["--set", change]);
        let line = folder.refusal(&START.into_iter().chain(set).collect::<Vec<_>>(), 2);
        assert!(line.contains(part), "{line}");
        assert!(!folder.path("run").exists());
    }
    let smallest = SearchConfig::from_overrides(&["search.max_parameters=1".to_owned()]).unwrap_err().to_string();
    let smallest: u64 = smallest.split("smallest has ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    let with = |limit: u64| SearchConfig::from_overrides(&[format!("search.max_parameters={limit}")]);
    assert!(with(smallest).is_ok() && with(smallest - 1).is_err());
}

#[test]
fn few_operations_are_enough_and_cells_that_cannot_be_scored_are_the_worst() {
    let folder = folder();
    let operations = "search.operations=[\"max_pool_3x3\", \"skip_connect\"]";
    let rates = ["--set", "optimizer.weights.learning_rate=1e38", "--set", "optimizer.weights.gradient_clip=1e38"];
    let settings = [&["--set", operations, "--set", "evaluation.candidates=2"][..], &rates].concat();
    let warnings = folder.warnings(&[&START[..], &RANDOM[..8], &settings].concat());
    assert!(warnings.contains("the training of every cell diverged"), "{warnings}");
    for cell in cells(&folder.path("run")) {
        let told = cell["diverged"].as_str().unwrap();
        assert!(cell["valid"].is_null() && !told.contains("--resume"), "{told}");
    }
}
