//! What ran where: one row for each start of a run.

use maud::{Markup, html};

use super::run::ReportedRun;
use crate::run::Environment;

pub fn place(run: &ReportedRun) -> Markup {
    html! {
        section {
            h2 { "Where it ran" }
            @if run.starts.is_empty() { p.muted { "No start is recorded." } }
            @for (index, start) in run.starts.iter().enumerate() {
                @if run.starts.len() > 1 { h3 { "Start " (index + 1) } }
                (environment(start))
            }
        }
    }
}

fn environment(start: &Environment) -> Markup {
    let gib = start.memory_mib as f64 / 1024.0;
    let rows = [
        ("started", start.started_at.replace('T', " ").replace('Z', " UTC")),
        ("computed on", computed_on(start)),
        ("machine", format!("{}: {}, {} cores, {gib:.0} GiB", start.hostname, start.cpu_model, start.cores)),
        ("system", format!("{}, Linux {}", start.os, start.kernel)),
        ("program", format!("pdarts {} ({}), libtorch {}", start.version, start.commit, start.libtorch)),
        ("kernels", start.kernels.clone()),
        ("in", start.working_directory.clone()),
    ];
    html! {
        div.table tabindex="0" { table { tbody {
            @for (name, value) in rows { tr { th { (name) } td.text { (value) } } }
            tr { th { "call" } td.text { code { (start.command_line.join(" ")) } } }
        } } }
    }
}

/// `2 ranks on cpu, 4 threads each`.
fn computed_on(start: &Environment) -> String {
    let Environment { device, threads, ranks, .. } = start;
    // Ranks have devices of different numbers.
    let device = if *ranks > 1 { device.split(':').next().unwrap_or_default() } else { device };
    let threads = if *threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
    match ranks {
        0 | 1 => format!("{device}, {threads}"),
        _ => format!("{ranks} ranks on {device}, {threads} each"),
    }
}
