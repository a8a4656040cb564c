//! What the program tells on stderr while it works, through `tracing`.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Instant;

use anyhow::{Context, anyhow};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::prelude::*;

use super::error::UsageError;

const DEFAULT_FILTER: &str = "info";

/// Starts logging what `filter` (the argument of `--log`) lets through, else `RUST_LOG`, else `info`.
///
/// # Errors
/// [`UsageError`] for a filter that cannot be read.
pub fn init(filter: Option<&str>) -> anyhow::Result<()> {
    let filter = match (filter, env::var("RUST_LOG")) {
        (Some(filter), _) => parse(filter).context("--log"),
        (None, Ok(filter)) if !filter.is_empty() => EnvFilter::try_new(filter).context("RUST_LOG"),
        (None, _) => parse(DEFAULT_FILTER),
    };
    let wants_colour = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(wants_colour && io::stderr().is_terminal())
        .with_target(false)
        .with_timer(SinceStart(Instant::now()));
    tracing_subscriber::registry().with(filter.map_err(UsageError::new)?).with(lines).try_init()?;
    Ok(())
}

/// A filter as `EnvFilter` reads it, except that a bare word must be a level: taken as the name of a target, a
/// misspelt level would silence everything.
fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let is_directive = |text: &str| text.contains(['=', '[']) || text.parse::<LevelFilter>().is_ok();
    match filter.split(',').find(|text| !is_directive(text)) {
        Some(word) => Err(anyhow!(
            "`{word}` is no level: name off, error, warn, info, debug or trace, or set one for a module, as in \
             info,pdarts::data=debug"
        )),
        None => Ok(EnvFilter::try_new(filter)?),
    }
}

/// Time of a line as hours, minutes and seconds since the program started.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let seconds = self.0.elapsed().as_secs();
        write!(writer, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_by_module_are_read() {
        for filter in ["off", "debug", "INFO", "info,pdarts::data=debug", "warn,pdarts[step]=trace"] {
            parse(filter).unwrap();
        }
    }

    #[test]
    fn misspelt_level_is_refused() {
        for filter in ["verbose", "info,degub", "pdarts=loud"] {
            parse(filter).unwrap_err();
        }
    }
}
