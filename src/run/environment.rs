//! What a run ran on: enough to explain its numbers, and to repeat it.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::world::hostname;

const UNKNOWN: &str = "unknown";

/// The commit that this program was built from, `unknown` outside a git checkout.
pub const COMMIT: &str = match option_env!("PDARTS_COMMIT") {
    Some(commit) => commit,
    None => UNKNOWN,
};

/// One start of a run. What the machine does not tell is `unknown` or 0.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// When this process started the run, UTC, RFC 3339.
    pub started_at: String,
    /// Version of this program.
    pub version: String,
    /// Commit it was built from.
    pub commit: String,
    pub libtorch: String,
    /// What computed the program's own operations.
    pub kernels: String,
    pub device: String,
    /// Threads per rank.
    pub threads: usize,
    pub ranks: usize,
    pub hostname: String,
    /// Name and version of the distribution.
    pub os: String,
    pub kernel: String,
    pub cpu_model: String,
    /// Cores that this process may use.
    pub cores: usize,
    pub memory_mib: u64,
    pub command_line: Vec<String>,
    pub working_directory: String,
}

impl Environment {
    /// Looks at this process and its machine now; the arguments are what only the caller knows.
    pub fn capture(libtorch: &str, kernels: &str, device: &str, threads: usize, ranks: usize) -> Self {
        Self {
            started_at: rfc3339(SystemTime::now()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: COMMIT.to_owned(),
            libtorch: libtorch.to_owned(),
            kernels: kernels.to_owned(),
            device: device.to_owned(),
            threads,
            ranks,
            hostname: hostname(),
            os: field("/etc/os-release", '=', "PRETTY_NAME").trim_matches('"').to_owned(),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu_model: field("/proc/cpuinfo", ':', "model name"),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_mib(&field("/proc/meminfo", ':', "MemTotal")),
            command_line: env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            working_directory: env::current_dir()
                .map_or_else(|_| UNKNOWN.to_owned(), |path| path.to_string_lossy().into_owned()),
        }
    }
}

/// Seconds since 1970.
pub(super) fn since_epoch() -> Duration {
    // A clock before 1970 is not worth an error.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| UNKNOWN.to_owned(), |text| text.trim().to_owned())
}

/// The value of the first line `key <separator> value` in the file `path`.
fn field(path: &str, separator: char, key: &str) -> String {
    fs::read_to_string(path)
        .ok()
        .as_deref()
        .and_then(|text| {
            text.lines().filter_map(|line| line.split_once(separator)).find(|(name, _)| name.trim() == key)
        })
        .map_or_else(|| UNKNOWN.to_owned(), |(_, value)| value.trim().to_owned())
}

/// Of a size as in /proc/meminfo, `16384 kB`.
fn memory_mib(size: &str) -> u64 {
    size.strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// `2026-03-01T12:00:00Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Now as part of a file name: `20260301T120000Z`.
pub fn compact_utc() -> String {
    rfc3339(SystemTime::now()).replace(['-', ':'], "")
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last of its year, and days from
    // 0000-03-01, so that a cycle of 400 years (146097 days) starts at 0.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Five months from March, and from August, have 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_rfc3339() {
        // Reference: `date --utc --date=@SECONDS --iso-8601=seconds`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut previous = civil_date(0);
        for days in 1..146_097 {
            let (year, month, day) = civil_date(days);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let lengths = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let expected = match previous {
                (year, 12, 31) => (year + 1, 1, 1),
                (year, month, day) if day == lengths[month as usize - 1] => (year, month + 1, 1),
                (year, month, day) => (year, month, day + 1),
            };
            assert_eq!((year, month, day), expected);
            previous = expected;
        }
    }

    #[test]
    fn environment_describes_this_process() {
        let environment = Environment::capture("2.13.0", "fused", "cpu", 2, 1);
        println!("{}", serde_json::to_string_pretty(&environment).unwrap());
        assert_eq!(environment.version, env!("CARGO_PKG_VERSION"));
        assert!(environment.cores > 0 && environment.memory_mib > 0);
        assert!(!environment.command_line.is_empty());
        for known in [&environment.hostname, &environment.kernel, &environment.working_directory] {
            assert_ne!(known, UNKNOWN);
        }
    }

    #[test]
    fn what_the_machine_does_not_tell_is_unknown() {
        assert_eq!(field("/proc/none", ':', "model name"), UNKNOWN);
        assert_eq!(field("/proc/meminfo", ':', "none"), UNKNOWN);
        assert_eq!(memory_mib(UNKNOWN), 0);
        assert_eq!(memory_mib("16384 kB"), 16);
    }
}
