//! NVIDIA's driver, and whether libtorch's CUDA runs on it.

use std::fs;

const FILE: &str = "/proc/driver/nvidia/version";

/// The loaded driver's version, as `580.65.06`.
///
/// # Errors
/// Why there is none, in words.
pub fn version() -> Result<String, String> {
    let text = fs::read_to_string(FILE).map_err(|_| format!("no NVIDIA driver is loaded (no {FILE})"))?;
    parse(&text).ok_or_else(|| format!("{FILE} does not state the driver's version"))
}

/// # Errors
/// What to do about a driver that is too old for the CUDA that libtorch was built for.
pub fn check(version: &str, cuda_major: u32) -> Result<(), String> {
    let Some(oldest) = oldest_for(cuda_major) else { return Ok(()) };
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major < oldest => Err(format!(
            "NVIDIA's driver {version} is too old, libtorch's CUDA {cuda_major} needs {oldest} or newer: update the \
             driver, or build pdarts with LIBTORCH naming a wheel of the same libtorch for an older CUDA"
        )),
        _ => Ok(()),
    }
}

/// The oldest major version of the driver on Linux. Source: NVIDIA, CUDA compatibility, minor version compatibility.
fn oldest_for(cuda_major: u32) -> Option<u32> {
    match cuda_major {
        11 => Some(450),
        12 => Some(525),
        13 => Some(580),
        _ => None,
    }
}

/// The first word that looks like a version, in a text whose words around it depend on the kind of driver.
fn parse(text: &str) -> Option<String> {
    let is_version = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_both_kinds_of_driver() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n";
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build\nGCC version: 13.2.0";
        assert_eq!(parse(closed).as_deref(), Some("535.183.01"));
        assert_eq!(parse(open).as_deref(), Some("580.82.07"));
        assert_eq!(parse("NVRM version: none\nGCC version: 13.2.0"), None);
    }

    #[test]
    fn old_driver_is_refused_with_what_to_do() {
        check("580.65.06", 13).unwrap();
        check("575.10", 12).unwrap();
        check("999.1", 99).unwrap();
        let message = check("575.57.08", 13).unwrap_err();
        assert!(message.contains("575.57.08") && message.contains("580") && message.contains("LIBTORCH"), "{message}");
    }
}
