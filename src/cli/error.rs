//! From whatever went wrong to one line on stderr and an exit code: 2 when the user can repair the call, else 1.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo, UnwindSafe};

use super::output::OutputError;
use super::ranks::{Agreed, ReportedElsewhere};
use crate::config::ConfigError;
use crate::data::DataError;
use crate::run::RunError;
use crate::torch::MemoryRefusal;
use crate::trainer::{SearchDataError, TrainError};
use crate::world::{self, WorldError};

pub const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const USAGE: u8 = 2;

/// Something that the user named or typed cannot be used, whatever type of error found that out.
#[derive(Debug, thiserror::Error)]
#[error("{}", one_line(.0))]
pub struct UsageError(anyhow::Error);

impl UsageError {
    pub fn new(error: impl Into<anyhow::Error>) -> Self {
        Self(error.into())
    }
}

/// Runs the program, which returns its exit code; a failure or a panic becomes one line on stderr, and ends all ranks of the run.
pub fn guard(program: impl FnOnce() -> anyhow::Result<u8> + UnwindSafe) -> u8 {
    panic::set_hook(Box::new(report_panic));
    match panic::catch_unwind(program) {
        Ok(Ok(code)) => {
            world::leave();
            code
        }
        Ok(Err(error)) if error.downcast_ref().is_some_and(OutputError::is_closed_pipe) => {
            world::leave();
            SUCCESS
        }
        Ok(Err(error)) => fail(&error),
        // The hook has reported it.
        Err(_) => FAILURE,
    }
}

/// Reports `error` and leaves the other ranks, or takes them along if they do not know of it.
fn fail(error: &anyhow::Error) -> u8 {
    let code = exit_code(error);
    if error.is::<ReportedElsewhere>() || error.is::<Agreed>() {
        if error.is::<Agreed>() {
            report(&one_line(error));
        }
        world::leave();
    } else {
        report(&format!("{}{}", rank_prefix(), one_line(error)));
        world::abort_all(code);
    }
    code
}

/// `rank 3 on node7: ` where there are others.
fn rank_prefix() -> String {
    world::joined_rank().map_or_else(String::new, |rank| format!("rank {rank} on {}: ", world::hostname()))
}

/// The exit code that `error` ends the program with.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(Agreed { code, .. }) = error.downcast_ref() {
        return *code;
    }
    if let Some(ReportedElsewhere { code }) = error.downcast_ref() {
        return *code;
    }
    let is_usage = error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.is::<ConfigError>()
            || cause.is::<SearchDataError>()
            || cause.downcast_ref::<DataError>().is_some_and(DataError::is_usage)
            || cause.downcast_ref::<RunError>().is_some_and(RunError::is_usage)
            || cause.downcast_ref::<WorldError>().is_some_and(WorldError::is_usage)
            || matches!(cause.downcast_ref(), Some(TrainError::NoCells))
    });
    if is_usage { USAGE } else { FAILURE }
}

/// Says what helps where `error` is a lack of memory, in a command with a `--global-batch`.
pub fn advise_on_memory(error: anyhow::Error) -> anyhow::Error {
    match MemoryRefusal::find(&one_line(&error)) {
        Some(refusal) => anyhow::anyhow!("{refusal}: a smaller --global-batch needs less"),
        None => error,
    }
}

/// An error and its causes, outermost first, fit for a terminal: what it quotes of a file may be anything.
///
/// A cause that the message already states is not repeated, and of what libtorch says, which goes on with the stack of its
/// C++, only the first line counts.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let line = without_stack(cause.trim());
        if message.is_empty() {
            message.push_str(line);
        } else if !message.contains(line) {
            message = format!("{message}: {line}");
        }
    }
    printable(&message)
}

/// The first line of what libtorch says; whole what anybody else says, for a line break may stand in what it quotes.
fn without_stack(cause: &str) -> &str {
    const NEXT_LINES: [&str; 4] =
        ["\nException raised from", "\nframe #", "\nCUDA kernel errors might be", "\nSearch for `cuda"];
    match NEXT_LINES.iter().any(|start| cause.contains(start)) {
        true => cause.lines().next().unwrap_or_default(),
        false => cause,
    }
}

/// `text` with control characters escaped, and its middle left out if it is longer than anybody reads.
pub fn printable(text: &str) -> String {
    const LONGEST: usize = 2000;
    let mut shown = String::new();
    let (length, half) = (text.chars().count(), LONGEST / 2);
    for (place, letter) in text.chars().enumerate() {
        match place {
            _ if length > LONGEST && place == half => shown.push_str(" ... "),
            _ if length > LONGEST && (half..length - half).contains(&place) => {}
            _ => push_escaped(&mut shown, letter),
        }
    }
    shown
}

/// `text` with control characters escaped, line breaks too: as one line, whatever names are in it.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|letter| push_escaped(&mut shown, letter));
    shown
}

fn push_escaped(shown: &mut String, letter: char) {
    match letter.is_control() {
        true => shown.extend(letter.escape_debug()),
        false => shown.push(letter),
    }
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
    // libtorch appends the stack of its C++, with the line ends escaped where tch unwraps an error.
    if let Some(refusal) = text.and_then(MemoryRefusal::find) {
        report(&format!("{}{refusal}: a smaller batch needs less", rank_prefix()));
        world::abort_all(FAILURE);
        return;
    }
    let message = text.and_then(|text| text.lines().next()?.split("\\nframe #").next()).unwrap_or("no message");
    report(&format!(
        "{}internal error{place}: {message} (a bug in pdarts: RUST_BACKTRACE=1 shows where it came from)",
        rank_prefix()
    ));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        // As in `report`.
        let _ = write!(io::stderr(), "{backtrace}");
    }
    // Unwinding would let go of MPI, which waits for ranks that wait for this one.
    world::abort_all(FAILURE);
}

fn report(message: &str) {
    // `eprintln!` would panic; without a stderr there is nobody to tell.
    // In one piece, for ranks share it.
    let _ = io::stderr().write_all(format!("error: {message}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use anyhow::{Context, anyhow};

    use super::*;
    use crate::config::{SearchConfig, Settings};
    use crate::data::{DatasetKind, Split, open};
    use crate::genotype::Genotype;

    fn run_error(is_usage: bool) -> RunError {
        let root = PathBuf::from("runs/first");
        let error = match is_usage {
            true => RunError::NoSuchRun { root },
            false => RunError::InUse { root, holder: "process 7".to_owned() },
        };
        assert_eq!(error.is_usage(), is_usage);
        error
    }

    #[test]
    fn what_the_user_can_repair_exits_with_2_under_any_context() {
        let overridden = SearchConfig::from_overrides(&["search.epochs".to_owned()]).unwrap_err();
        assert_eq!(exit_code(&overridden.into()), 2);
        assert_eq!(exit_code(&UsageError::new(anyhow!("no such cell")).into()), 2);
        assert_eq!(exit_code(&anyhow::Error::from(run_error(true)).context("search")), 2);
        assert_eq!(exit_code(&WorldError::NoCuda("no driver is loaded".to_owned()).into()), 2);
    }

    #[test]
    fn data_that_cannot_be_opened_exits_with_2_and_a_bad_image_with_1() {
        let nowhere = Path::new("no/such/folder");
        for kind in [DatasetKind::Cifar10, DatasetKind::Cifar100, DatasetKind::Images] {
            let error = open(kind, nowhere, Split::Test).unwrap_err();
            assert_eq!(exit_code(&anyhow::Error::from(error).context("eval")), 2, "{kind}");
        }
        assert_eq!(exit_code(&DataError::NoSamples.into()), 2);
        let image = DataError::Image { location: "a.png".to_owned(), reason: "it is empty".to_owned() };
        assert_eq!(exit_code(&image.into()), 1);
    }

    #[test]
    fn other_failures_exit_with_1() {
        assert_eq!(exit_code(&anyhow!("libtorch: out of memory")), 1);
        assert_eq!(exit_code(&run_error(false).into()), 1);
        assert_eq!(exit_code(&WorldError::Mpi("no shared memory".to_owned()).into()), 1);
        assert_eq!(exit_code(&WorldError::MoreRanksThanGpus { ranks: 8, gpus: 7 }.into()), 1);
    }

    #[test]
    fn panic_is_a_failure() {
        let empty: [u8; 0] = [];
        let code = guard(|| Err(anyhow!("{}", std::hint::black_box(&empty[..])[1])));
        // The other tests want the usual report.
        let _ = panic::take_hook();
        assert_eq!(code, FAILURE);
    }

    #[test]
    fn chain_is_one_line_and_states_each_cause_once() {
        let genotype = "{".parse::<Genotype>().context("cell.json").unwrap_err();
        assert_eq!(one_line(&genotype), "cell.json: genotype text, line 1, column 2: expected a value, found the end");
        let torch = anyhow!("shapes differ\nframe #0: at::native\n").context("stage 2").context("search");
        assert_eq!(one_line(&torch), "search: stage 2: shapes differ");
        let set = SearchConfig::from_overrides(&["a\nb=1".to_owned()]).unwrap_err();
        assert!(one_line(&set.into()).starts_with("--set a\\nb=1: unknown key `a\\nb`; "));
        let quoted = anyhow!("a file named \u{1b}[2J\u{7}").context("x".repeat(3000));
        let line = one_line(&quoted);
        assert!(line.ends_with("x: a file named \\u{1b}[2J\\u{7}") && line.len() < 2100, "{line}");
    }
}
