//! What it is for.

use std::process::Command;

/// `peak_rss_mib` of a benchmark.
fn peak_mib(arguments: &[&str]) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdarts"));
    let output = command.arg("bench").args(arguments).args(["--threads=1", "--repeats=1", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["peak_rss_mib"].as_f64().unwrap()
}

#[test]
fn steps_need_less_memory() {
    for arguments in
        [["supernet", "--stage=3", "--global-batch=8"], ["train-step", "--network=cifar", "--global-batch=8"]]
    {
        let without = peak_mib(&arguments);
        let with = peak_mib(&[&arguments[..], &["--checkpoint-cells"]].concat());
        println!("{arguments:?}: {with:.0} MiB instead of {without:.0}");
        assert!(with < without - 100.0, "{arguments:?}: {with} MiB, {without} without");
    }
}
