//! What has to be settled before the libraries of this program start: how long OpenMP's threads spin, and that there is
//! a current folder.
//!
//! libgomp's threads spin for milliseconds while they wait for each other. Beside other programs, one of them is now and
//! then put aside, all others spin meanwhile, and steps take twenty times as long. libgomp reads its settings when it is
//! loaded, so the program starts itself once more with the setting. MKL ends the process in its own words when the
//! current folder has been removed.
//!
//! The system runs the functions of `.preinit_array` after it has loaded the libraries and before it initialises them:
//! libtorch has not yet spent its quarter of a second, no thread runs, and nothing has touched the signals, descriptors
//! and variables that launchers of ranks rely on. As libc is not initialised either, all is done by system calls.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

/// Rounds of waiting before a thread sleeps: on an idle machine as fast as libgomp's own 300,000 to a few percent, beside
/// other programs a fair share of the processor.
const SPIN_COUNT: &CStr = c"GOMP_SPINCOUNT=10000";
/// If the user has set one of them, that stays.
const USERS: [&CStr; 2] = [c"GOMP_SPINCOUNT=", c"OMP_WAIT_POLICY="];
const NO_FOLDER: &str = "error: the current folder has been removed: change to one that exists\n";
/// A call that cannot work as given.
const USAGE: c_int = 2;
/// More variables than anybody has.
const MOST_VARIABLES: usize = 8192;
/// As the kernel limits paths.
const LONGEST_PATH: usize = 4096;

type Strings = *const *const c_char;

#[used]
#[unsafe(link_section = ".preinit_array")]
static BEFORE_LIBRARIES: unsafe extern "C" fn(c_int, Strings, Strings) = before_libraries;

/// # Safety
/// Called once, by the system's loader, with the process's arguments and variables.
unsafe extern "C" fn before_libraries(_: c_int, arguments: Strings, variables: Strings) {
    require_folder();
    // SAFETY: the loader's lists end with null pointers; nothing else runs.
    unsafe { start_with_bounded_spinning(arguments, variables) };
}

fn require_folder() {
    let mut path = [0u8; LONGEST_PATH];
    // SAFETY: buffers of the lengths given; the loader has made the thread's `errno` before it calls anybody.
    unsafe {
        if libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) < 0
            && *libc::__errno_location() == libc::ENOENT
        {
            libc::syscall(libc::SYS_write, 2, NO_FOLDER.as_ptr(), NO_FOLDER.len());
            libc::syscall(libc::SYS_exit_group, USAGE);
        }
    }
}

/// Does not return, unless that has been done, the user has decided, or the system does not start the program, which
/// then goes on as it is.
///
/// # Safety
/// Both lists end with a null pointer.
unsafe fn start_with_bounded_spinning(arguments: Strings, variables: Strings) {
    let mut ours: [*const c_char; MOST_VARIABLES] = [ptr::null(); MOST_VARIABLES];
    let mut len = 0;
    // SAFETY: up to the null pointer, these are strings that end with a zero. `ours` keeps a null pointer at its end,
    // and `path` a zero, as one less than its length is read into it.
    unsafe {
        let mut next = variables;
        while !(*next).is_null() {
            let [spin_count, wait_policy] = USERS.map(|name| value_of(*next, name));
            if [spin_count, wait_policy].iter().any(|value| value.is_some_and(|first| first != 0)) {
                return;
            }
            // Room for ours and for the null pointer. What is set to nothing counts as not set.
            if len + 2 >= MOST_VARIABLES {
                return;
            }
            if spin_count.is_none() {
                ours[len] = *next;
                len += 1;
            }
            next = next.add(1);
        }
        ours[len] = SPIN_COUNT.as_ptr();
        // By its own name, which `top` and `pkill` show; the link serves where the file has been replaced.
        let mut path = [0 as c_char; LONGEST_PATH];
        let link = c"/proc/self/exe".as_ptr();
        libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, link, path.as_mut_ptr(), LONGEST_PATH - 1);
        for path in [path.as_ptr(), link] {
            libc::syscall(libc::SYS_execve, path, arguments, ours.as_ptr());
        }
    }
}

/// The first character after `name` (with its `=`) in the variable `text`, 0 at its end; none of another variable.
///
/// # Safety
/// `text` ends with a zero.
unsafe fn value_of(text: *const c_char, name: &CStr) -> Option<c_char> {
    let name = name.to_bytes();
    for (index, &expected) in name.iter().enumerate() {
        // SAFETY: all characters before were those of the name, so the text goes on.
        if unsafe { *text.add(index) } as u8 != expected {
            return None;
        }
    }
    // SAFETY: as above.
    Some(unsafe { *text.add(name.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_whole_name() {
        // SAFETY: literals that end with a zero.
        let value = |text: &CStr| unsafe { value_of(text.as_ptr(), c"OMP_WAIT_POLICY=") };
        assert_eq!(value(c"OMP_WAIT_POLICY=active"), Some(b'a' as c_char));
        assert_eq!(value(c"OMP_WAIT_POLICY="), Some(0));
        for other in [c"OMP_WAIT_POLICY", c"OMP_WAIT", c"OMP_WAIT_POLICY_=1", c"", c"XOMP_WAIT_POLICY=1"] {
            assert_eq!(value(other), None);
        }
    }
}
