//! A wrong result that tests inject: `PDARTS_FAULT=numerics@OPERATION` changes what a device computes of one operation, the
//! CPU too.

use std::sync::OnceLock;

/// The operation that is to come out wrong.
fn planned() -> Option<&'static str> {
    static PLANNED: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(std::env::var("PDARTS_FAULT").ok()?.strip_prefix("numerics@")?.to_owned());
    PLANNED.get_or_init(read).as_deref()
}

/// Whether one is: then the CPU is checked, too.
pub fn is_planned() -> bool {
    planned().is_some()
}

/// Whether it is this one.
pub(super) fn strikes(operation: &str) -> bool {
    planned() == Some(operation)
}
