//! The configuration of a run where it differs from the defaults.

use maud::{Markup, html};

use super::PageError;
use super::run::ReportedRun;
use crate::config::Change;

pub fn settings(run: &ReportedRun) -> Result<Markup, PageError> {
    let changes = run.changes()?;
    Ok(html! {
        section {
            h2 { "Settings that are not the defaults" }
            @if changes.is_empty() { p.muted { "None: every setting has its default." } }
            @else {
                div.table tabindex="0" { table {
                    thead { tr { th { "key" } th { "here" } th { "default" } th { "meaning" } } }
                    tbody {
                        @for Change { key, value, default, meaning } in &changes {
                            tr {
                                td { code { (key) } }
                                td { (shown(value.as_deref())) }
                                td.muted { (shown(default.as_deref())) }
                                td.text.muted { (meaning) }
                            }
                        }
                    }
                } }
            }
        }
    })
}

/// A value as TOML, or that there is none.
pub fn shown(value: Option<&str>) -> Markup {
    match value {
        Some(value) => html! { code { (value) } },
        None => html! { span.muted { "none" } },
    }
}
