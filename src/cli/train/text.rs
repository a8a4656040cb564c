//! What a person wants to see at the end of a training.

use std::path::Path;

use crate::cli::genotype::millions;
use crate::cli::output::{note_bad_images, note_files};
use crate::cli::table::Table;
use crate::report::{SeedsSummary, Spread, TrainSummary};
use crate::trainer::Scores;

/// The accuracy, what the network costs, and what to look at next.
pub(super) fn report(root: &Path, summary: &TrainSummary) -> String {
    let mut table = Table::new(&[&["images", "weights", "top-1", "top-5", "loss"]]);
    let rows = [
        ("test", "last epoch", summary.test),
        ("test", "average", summary.test_ema),
        ("validation", "last validated epoch", summary.valid),
    ];
    for (images, weights, scores) in rows {
        if let Some(Scores { loss, top1, top5, .. }) = scores {
            let percent = |value: f64| format!("{value:.2} %");
            table.row([images.to_owned(), weights.to_owned(), percent(top1), percent(top5), format!("{loss:.4}")]);
        }
    }
    let size = summary.network.map_or(String::new(), |network| {
        format!(
            "\n{}: {} cells, {} channels, {} M parameters, {} M multiply-adds",
            summary.cell.name,
            network.cells,
            network.channels,
            millions(network.cost.parameters),
            millions(network.cost.multiply_adds)
        )
    });
    let watched = match summary.test_scored_every_epoch {
        true => "\nThe test set was scored after every epoch: compare with results that did the same.",
        false => "",
    };
    let bad = note_bad_images(summary.bad_images);
    let rate = summary.effort.images_per_second.map_or(String::new(), |rate| format!(", {rate:.0} images/s"));
    let files = [
        ("report.html", "all of it, for a browser"),
        ("weights.safetensors", ""),
        ("summary.json", ""),
        ("figures/curves.svg", ""),
        ("metrics.jsonl", ""),
    ];
    format!(
        "{table}{size}\n{} epochs in {:.0} s{rate}{watched}{bad}\n\n{}",
        summary.epochs,
        summary.effort.seconds,
        note_files(root, &files)
    )
}

/// The accuracy of each seed, and of all.
pub(super) fn seeds_report(root: &Path, summary: &SeedsSummary) -> String {
    let mut table = Table::new(&[&["seed", "test top-1", "of the average", "seconds"]]);
    let percent = |scores: Option<Scores>| scores.map_or("-".to_owned(), |scores| format!("{:.2} %", scores.top1));
    for seed in &summary.seeds {
        let seconds = format!("{:.0}", seed.effort.seconds);
        table.row([seed.seed.to_string(), percent(seed.test), percent(seed.test_ema), seconds]);
    }
    let line = |name: &str, spread: Option<Spread>| {
        spread.map_or(String::new(), |Spread { mean, deviation, count }| {
            let deviation = deviation.map_or(String::new(), |deviation| format!(" +- {deviation:.2}"));
            format!("\n{name}: {mean:.2}{deviation} % over {count}")
        })
    };
    let mean = line("test top-1", summary.test_top1) + &line("of the average", summary.test_ema_top1);
    let runs: Vec<String> = summary.seeds.iter().map(|seed| format!("seed{}", seed.seed)).collect();
    let mut files = vec![("report.html", "the seeds beside each other"), ("summary.json", "")];
    files.extend(runs.iter().map(|run| (run.as_str(), "")));
    format!("{table}{mean}\n\n{}", note_files(root, &files))
}
