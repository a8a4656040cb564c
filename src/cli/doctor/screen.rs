//! The findings of all ranks as text: what they have in common once, then a row for each rank.

use super::together::Sum;
use super::{Check, RankReport, num_nodes};
use crate::cli::table::Table;

/// Shown for more ranks than fit on a screen.
const MAX_ROWS: usize = 64;

pub fn render(reports: &[RankReport]) -> String {
    let facts: [(&str, Vec<String>); 11] = [
        ("pdarts", collect(reports, |report| report.machine.pdarts.clone())),
        ("libtorch", collect(reports, |report| verdict(&report.machine.libtorch))),
        ("driver", collect(reports, |report| verdict(&report.machine.driver))),
        ("CUDA", collect(reports, |report| verdict(&report.machine.cuda))),
        ("kernels", collect(reports, |report| verdict(&report.machine.gpu_kernels))),
        ("GPUs", collect(reports, gpus)),
        ("NCCL", collect(reports, |report| verdict(&report.machine.nccl))),
        ("MPI", collect(reports, |report| verdict(&report.launch.mpi))),
        ("launcher", collect(reports, |report| report.launch.launcher.clone().unwrap_or("none (a shell)".into()))),
        ("SLURM", collect(reports, slurm)),
        ("threads", collect(reports, threads)),
    ];
    let mut text: String = facts.iter().map(|(name, values)| fact(name, values)).collect();
    text.push_str(&fact("launch", &[format!("{} rank(s) on {} node(s)", reports.len(), num_nodes(reports))]));
    text.push_str(&fact("sum", &slowest_sums(reports)));
    format!("{text}\n{}", table(reports))
}

/// Each communicator's sum on the rank where it failed or took longest, for times differ between ranks.
fn slowest_sums(reports: &[RankReport]) -> Vec<String> {
    let Some(first) = reports.first() else { return Vec::new() };
    if first.launch.sums.is_empty() {
        return vec!["nothing to sum on a single rank".into()];
    }
    let slowest = |index: usize| {
        let sums = reports.iter().filter_map(|report| report.launch.sums.get(index));
        let cost = |sum: &Sum| sum.seconds.unwrap_or(f64::INFINITY);
        sums.max_by(|one, other| cost(one).total_cmp(&cost(other))).map(|sum| verdict(&sum.check))
    };
    vec![(0..first.launch.sums.len()).filter_map(slowest).collect::<Vec<_>>().join("; ")]
}

fn collect(reports: &[RankReport], value: impl Fn(&RankReport) -> String) -> Vec<String> {
    reports.iter().map(value).collect()
}

/// A line for each different value, with the ranks that have it where they differ.
fn fact(name: &str, values: &[String]) -> String {
    let mut distinct: Vec<(&String, Vec<String>)> = Vec::new();
    for (rank, value) in values.iter().enumerate() {
        match distinct.iter_mut().find(|(known, _)| *known == value) {
            Some((_, ranks)) => ranks.push(rank.to_string()),
            None => distinct.push((value, vec![rank.to_string()])),
        }
    }
    let is_common = distinct.len() == 1;
    let line = |(value, ranks): (&String, Vec<String>)| match is_common {
        true => format!("{name:<9} {value}\n"),
        false => format!("{name:<9} rank {}: {value}\n", ranks.join(", ")),
    };
    distinct.into_iter().map(line).collect()
}

fn verdict(check: &Check) -> String {
    let mark = if check.works { "ok " } else { "no " };
    format!("{mark} {}", check.text)
}

fn gpus(report: &RankReport) -> String {
    let gpus = &report.machine.gpus;
    if gpus.is_empty() {
        return "none".into();
    }
    let describe = |(index, gpu): (usize, &crate::world::VisibleGpu)| {
        format!("{index}: {}, {:.1} GiB", gpu.model, gpu.memory_mib as f64 / 1024.0)
    };
    gpus.iter().enumerate().map(describe).collect::<Vec<_>>().join("; ")
}

fn slurm(report: &RankReport) -> String {
    let variables = &report.machine.slurm;
    if variables.is_empty() {
        return "not in a job".into();
    }
    variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// How many a run would take, and why no more.
fn threads(report: &RankReport) -> String {
    format!("{}, bounded by {}", report.launch.threads, report.launch.thread_bound)
}

fn table(reports: &[RankReport]) -> String {
    let mut table = Table::new(&[&["rank", "node", "on node", "device", "cores", "threads"]]);
    for RankReport { machine, launch } in reports.iter().take(MAX_ROWS) {
        table.row([
            launch.rank.to_string(),
            launch.hostname.clone(),
            format!("{} of {}", launch.local_rank, launch.local_size),
            launch.device.clone(),
            machine.cores.to_string(),
            launch.threads.to_string(),
        ]);
    }
    match reports.len().checked_sub(MAX_ROWS) {
        None | Some(0) => table.to_string(),
        Some(more) => format!("{table}and {more} more ranks (all with --json)\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ranks_have_in_common_is_told_once() {
        let values = |values: [&str; 3]| values.map(str::to_owned);
        assert_eq!(fact("driver", &values(["580.1"; 3])), "driver    580.1\n");
        let differing = fact("driver", &values(["580.1", "535.2", "580.1"]));
        assert_eq!(differing, "driver    rank 0, 2: 580.1\ndriver    rank 1: 535.2\n");
    }
}
