//! The end of a process.

use std::io::{self, Write};

/// Ends the process with exit code `code` once what it has printed is out.
///
/// Without the destructors of libraries: those of libtorch take a tenth of a second to undo what the system takes back at once, and
/// run beside threads that still use it.
pub fn end_process(code: u8) -> ! {
    // What cannot be written has nobody to read it.
    let _ = io::stdout().flush();
    // SAFETY: libraries in C have buffers of their own, which this writes; `_exit` has no preconditions.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(i32::from(code))
    }
}
