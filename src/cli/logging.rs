//! What the program tells on stderr while it works, through `tracing`.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow};
use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::prelude::*;

use super::error::{UsageError, escaped};
use super::ranks::is_first_of_launch;
use crate::run::RotatingLog;
use crate::world::joined_rank;

/// Whether another rank tells how the run goes.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

const DEFAULT_FILTER: &str = "info";
/// What the targets of all modules begin with.
const PROGRAM: &str = "pdarts";
const LEVELS: &str =
    "name off, error, warn, info, debug or trace, or set one for a module, as in info,pdarts::data=debug";

/// The log under way, and the progress bars that stand below it on a terminal.
pub struct Logging {
    bars: MultiProgress,
    record: Arc<Mutex<Option<RotatingLog>>>,
}

impl Logging {
    /// Starts logging what `filter` (the argument of `--log`) lets through, else `RUST_LOG`, else `info`. A `RUST_LOG` that may
    /// not mean what it says is told of.
    ///
    /// # Errors
    /// [`UsageError`] for a filter that cannot be read.
    pub fn start(filter: Option<&str>) -> anyhow::Result<Self> {
        let mut doubtful = None;
        let filter = match (filter, env::var("RUST_LOG")) {
            (Some(filter), _) => parse(filter).context("--log"),
            (None, Ok(filter)) if !filter.is_empty() => {
                doubtful = doubtful_word(&filter).map(str::to_owned);
                parse_variable(&filter).context("RUST_LOG")
            }
            (None, _) => parse(DEFAULT_FILTER),
        };
        let logging = Self { bars: MultiProgress::new(), record: Arc::default() };
        let wants_colour = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let bars = logging.bars.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || AboveBars(bars.clone()))
            .with_ansi(wants_colour && io::stderr().is_terminal())
            .with_target(false)
            .with_timer(SinceStart(Instant::now()));
        let record = Arc::clone(&logging.record);
        let objects = tracing_subscriber::fmt::layer().json().with_writer(move || Record(Arc::clone(&record)));
        let speaks =
            dynamic_filter_fn(|metadata, _| metadata.level() <= &Level::WARN || !IS_QUIET.load(Ordering::Relaxed));
        let filter = filter.map_err(UsageError::new)?;
        tracing_subscriber::registry().with(speaks).with(filter).with(lines).with(objects).try_init()?;
        if let Some(word) = doubtful.filter(|_| is_first_of_launch()) {
            tracing::warn!("RUST_LOG: `{word}` is no level: logging as by {DEFAULT_FILTER}; {LEVELS}");
        }
        Ok(logging)
    }

    /// From now on this process, one of several ranks, tells warnings and errors only.
    pub fn quieten(&self) {
        IS_QUIET.store(true, Ordering::Relaxed);
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// From now on also logs to `path`, one JSON object a line, and no longer to an earlier one.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn record_to(&self, path: &Path) -> anyhow::Result<()> {
        let file = RotatingLog::open(path, RotatingLog::MOST_BYTES);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    /// Where progress bars belong; hidden unless stderr is a terminal.
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}

/// Writes to stderr while the progress bars step aside.
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = one_line(&String::from_utf8_lossy(bytes));
        self.0.suspend(|| io::stderr().write_all(line.as_bytes()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The line `logged` with line breaks in it escaped, as names of files can have them, and other control characters but for
/// the escapes of colours, which its writer puts around the message and escapes in it.
fn one_line(logged: &str) -> String {
    const COLOUR: &str = "\u{1b}";
    let line = logged.strip_suffix('\n').unwrap_or(logged);
    line.split(COLOUR).map(escaped).collect::<Vec<_>>().join(COLOUR) + &logged[line.len()..]
}

/// Writes to the file of [`Logging::record_to`], or nowhere before that.
struct Record(Arc<Mutex<Option<RotatingLog>>>);

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            file.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A filter as `EnvFilter` reads it, except that a bare word must be a level: taken as the name of a target, a
/// misspelt level would silence everything.
fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let is_directive = |text: &str| text.contains(['=', '[']) || text.parse::<LevelFilter>().is_ok();
    match filter.split(',').find(|text| !is_directive(text)) {
        Some(word) => Err(anyhow!("`{word}` is no level: {LEVELS}")),
        None => read(filter),
    }
}

fn read(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| anyhow!("`{filter}` cannot be read ({error}): {LEVELS}"))
}

/// A filter as `EnvFilter` reads it, for this program and others: where it names modules of others alone, this one logs as without
/// it.
fn parse_variable(filter: &str) -> anyhow::Result<EnvFilter> {
    let parsed = read(filter)?;
    Ok(match directives(filter).any(is_about_this_program) {
        true => parsed,
        false => parsed.add_directive(format!("{PROGRAM}={DEFAULT_FILTER}").parse()?),
    })
}

/// What may be a misspelt level or a module of another program, where nothing of the filter is about this one.
fn doubtful_word(filter: &str) -> Option<&str> {
    let is_word = |text: &&str| !text.contains(['=', '[']);
    directives(filter).find(is_word).filter(|_| !directives(filter).any(is_about_this_program))
}

fn directives(filter: &str) -> impl Iterator<Item = &str> {
    filter.split(',').map(str::trim).filter(|text| !text.is_empty())
}

/// Whether a directive is a level, or names spans of any module or a part of this program.
fn is_about_this_program(directive: &str) -> bool {
    let target = directive.split(['=', '[']).next().unwrap_or_default();
    directive.parse::<LevelFilter>().is_ok() || target.starts_with(PROGRAM) || PROGRAM.starts_with(target)
}

/// Time of a line as hours, minutes and seconds since the program started.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let seconds = self.0.elapsed().as_secs();
        if let Some(rank) = joined_rank().filter(|rank| *rank > 0) {
            write!(writer, "rank {rank} ")?;
        }
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
        for filter in ["verbose", "info,degub", "pdarts=loud", "[["] {
            let error = parse(filter).unwrap_err().to_string();
            assert!(error.contains(LEVELS) && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn names_with_line_breaks_stay_in_their_line() {
        assert_eq!(
            one_line("\u{1b}[32m INFO\u{1b}[0m training in a\nb\r\n"),
            "\u{1b}[32m INFO\u{1b}[0m training in a\\nb\\r\n"
        );
        assert_eq!(one_line("no end"), "no end");
    }

    #[test]
    fn variable_that_is_not_about_this_program_leaves_it_its_log() {
        for (filter, doubtful, gets_default) in [
            ("wran", Some("wran"), true),
            ("hyper=debug", None, true),
            ("hyper=debug,degub", Some("degub"), true),
            ("warn,hyper", None, false),
            ("off", None, false),
            ("pdarts::data=debug", None, false),
            ("[step]=trace", None, false),
        ] {
            assert_eq!(doubtful_word(filter), doubtful, "{filter}");
            let parsed = parse_variable(filter).unwrap().to_string();
            assert_eq!(parsed.contains("pdarts=info"), gets_default, "{filter}: {parsed}");
        }
        parse_variable("pdarts=loud").unwrap_err();
    }
}
