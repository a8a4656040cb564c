//! What this process was told of signals by whoever started it.

use std::mem::MaybeUninit;
use std::ptr;

/// Whether `signal` is ignored now: before a handler is set, as the process that started this one has decided (nohup, a
/// background job of a script).
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null pointer changes nothing, and `action` has room for what is in force.
    let code = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: filled where the call succeeded.
    code == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// From now on a file that reaches the limit on sizes (`ulimit -f`) is an error of whoever writes it, as a full disk is, and
/// does not end the process.
pub fn outlive_file_size_limit() {
    // SAFETY: to ignore a signal has no preconditions.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_told_from_others() {
        // Rust's start-up code ignores SIGPIPE; the other keeps what it always has.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGSEGV));
        assert!(!is_ignored(12345));
        outlive_file_size_limit();
        assert!(is_ignored(libc::SIGXFSZ));
    }
}
