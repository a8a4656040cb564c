//! The same cases on libtorch's operations in place of the fused kernels. The choice is the process's, so a second process
//! runs them.

use std::env;
use std::process::Command;

use pdarts::torch::{self, Kernels};

const REFERENCE: &str = "PDARTS_TEST_REFERENCE_KERNELS";

/// The kernels of this process: the same for all of its tests.
pub fn choose_kernels() {
    torch::choose_kernels(if env::var_os(REFERENCE).is_some() { Kernels::Reference } else { Kernels::Fused });
}

#[test]
fn reference_kernels_pass_every_case() {
    let mut command = Command::new(env::current_exe().unwrap());
    // Every case; this test has another name.
    let output = command.args(["parity_", "--test-threads=1"]).env(REFERENCE, "").output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let passed =
        stdout.split_once("test result: ok. ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
    assert!(output.status.success() && passed.is_some_and(|passed| passed >= 14), "{stdout}\n{stderr}");
}
