//! How much is tried: samples of seconds in `make test`, the long versions in `make soak`, which sets `PDARTS_SOAK` to a
//! share of them (1: all) and gathers what they report in the file `PDARTS_SOAK_REPORT`.
#![allow(dead_code)]

use std::fs::File;
use std::io::Write;

/// The share of the long versions that a soak asks for; `None` without one.
fn share() -> Option<f64> {
    let share = std::env::var("PDARTS_SOAK").ok().filter(|share| !share.is_empty())?;
    Some(share.parse().unwrap_or_else(|_| panic!("PDARTS_SOAK={share}: give a share, as in 0.1 or 1")))
}

pub fn is_long() -> bool {
    share().is_some()
}

/// `short`, in a soak its share of `long` if that is more.
pub fn amount(short: usize, long: usize) -> usize {
    share().map_or(short, |share| short.max((share * long as f64) as usize))
}

/// One number chooses everything that is drawn: `PDARTS_SOAK_SEED`, else 1.
pub fn seed() -> u64 {
    std::env::var("PDARTS_SOAK_SEED").map_or(1, |seed| seed.parse().expect("PDARTS_SOAK_SEED is a number"))
}

/// Prints a line of the soak's report and keeps it.
pub fn report(line: &str) {
    println!("{line}");
    if let Some(path) = std::env::var_os("PDARTS_SOAK_REPORT") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
