//! `pdarts doctor --numerics`: a row for each operation.

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use crate::cli::output;
use crate::cli::ranks::agree;
use crate::cli::table::Table;
use crate::config::DeviceChoice;
use crate::numerics::{Extent, Row, check, verdict};
use crate::torch::libtorch_version;
use crate::world::{DeviceName, Label, Ranks};

/// What a rank's device computed.
#[derive(Debug, Serialize, Deserialize)]
struct DeviceReport {
    rank: usize,
    hostname: String,
    device: String,
    rows: Vec<Row>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    libtorch: &'a str,
    right: bool,
    ranks: &'a [DeviceReport],
}

/// Every rank compares its own device with the CPU. All ranks call this together.
///
/// # Errors
/// The first operation that is wrong, after all have been printed.
pub(super) fn run(ranks: &Ranks, choice: DeviceChoice, json: bool) -> anyhow::Result<()> {
    let device = agree(ranks, ranks.choose_device(choice).map_err(Into::into))?;
    let rows = agree(ranks, check(device, Extent::Full).map_err(Into::into))?;
    let own_verdict = verdict(&rows, device);
    let own = DeviceReport {
        rank: ranks.rank,
        hostname: crate::world::hostname(),
        device: DeviceName(device).to_string(),
        rows,
    };
    let reports: Vec<DeviceReport> = ranks.gather(&own, Label::new("numbers of the devices"))?;
    let printed = if ranks.is_root() { print(&reports, json) } else { Ok(()) };
    agree(ranks, printed)?;
    agree(ranks, own_verdict.map_err(|error| anyhow!(error)))
}

fn print(reports: &[DeviceReport], json: bool) -> anyhow::Result<()> {
    if json {
        let right = reports.iter().flat_map(|report| &report.rows).all(Row::is_right);
        return output::print_json(&Report { libtorch: libtorch_version(), right, ranks: reports });
    }
    let mut table = Table::new(&[&["operation", "precision", "error", "limit", ""]]);
    for (index, report) in reports.iter().enumerate() {
        // Of further ranks only what is wrong.
        for row in report.rows.iter().filter(|row| index == 0 || !row.is_right()) {
            let rank =
                if index == 0 { String::new() } else { format!(" (rank {} on {})", report.rank, report.hostname) };
            table.row([
                format!("{}{rank}", row.operation),
                row.precision.name().to_owned(),
                row.error.map_or("no number".into(), |error| format!("{error:.1e}")),
                format!("{:.0e}", row.limit),
                if row.is_right() { "ok" } else { "WRONG" }.to_owned(),
            ]);
        }
    }
    let devices: Vec<&str> = reports.iter().map(|report| report.device.as_str()).collect();
    let (computed, wrong) = reports
        .iter()
        .flat_map(|report| &report.rows)
        .fold((0, 0), |(computed, wrong), row| (computed + 1, wrong + usize::from(!row.is_right())));
    Ok(output::print(format!(
        "libtorch {} on {}, against the CPU in double precision: relative errors of outputs and gradients\n\n{table}\n{computed} computations, \
         {wrong} wrong",
        libtorch_version(),
        devices.join(", ")
    ))?)
}
