//! NCCL's shared library: whether it can be used, and what its codes mean.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

use cudarc::nccl::result::{self, NcclError, NcclStatus};
use cudarc::nccl::sys;

/// Non-blocking communicators with all that is called here.
const OLDEST: NcclVersion = NcclVersion { major: 2, minor: 18, patch: 0 };
/// A symbol that stands for a library on host memory, made for tests of the order of calls; NVIDIA's has none.
const TEST_DOUBLE: &CStr = c"pdarts_nccl_test_double";
/// Bytes of the number by which ranks find each other.
pub(super) const ID_BYTES: usize = 128;

/// NCCL, loaded.
#[derive(Copy, Clone, Debug)]
pub struct NcclLibrary {
    /// Which.
    pub version: NcclVersion,
    /// Whether it is a stand-in for tests, on host memory.
    pub is_test_double: bool,
}

/// As in 2.29.7.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NcclVersion {
    major: i32,
    minor: i32,
    patch: i32,
}

/// Version and file of the NCCL that runs on GPUs would use, whether this machine has one or not.
///
/// # Errors
/// Why it cannot be used and what to do, in words.
pub fn nccl_library() -> Result<(String, PathBuf), String> {
    let library = NcclLibrary::load()?;
    Ok((library.version.to_string(), file_of_library()?))
}

impl NcclLibrary {
    /// Loads the library, once for the process.
    ///
    /// # Errors
    /// Why it cannot be used and what to do, in words.
    pub fn load() -> Result<Self, String> {
        // cudarc ends the process where the library is missing, so it is asked first.
        // SAFETY: loads the library, whose constructors have no preconditions.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "libnccl.so is not found; `make setup GPU=1` installs it, or name in LD_LIBRARY_PATH a folder that has it \
                 (a link of that name to libnccl.so.2 serves)"
                    .into(),
            );
        }
        let code = result::get_nccl_version().map_err(|NcclError(code)| message_of(code))?;
        let version = NcclVersion::from_code(code);
        if version < OLDEST || version.major != OLDEST.major {
            return Err(format!(
                "libnccl.so is NCCL {version}; {OLDEST} or newer is needed (libtorch's own is in its wheel nvidia-nccl-cu13)"
            ));
        }
        Ok(Self { version, is_test_double: has_symbol(TEST_DOUBLE) })
    }

    /// A number by which ranks find this process.
    ///
    /// # Errors
    /// NCCL's reason, in words.
    pub fn new_id(self) -> Result<[u8; ID_BYTES], String> {
        let id = result::get_uniqueid().map_err(|NcclError(code)| message_of(code))?;
        Ok(id.internal.map(|byte| byte.cast_unsigned()))
    }
}

impl NcclVersion {
    /// NCCL's number, as 22907.
    fn from_code(code: i32) -> Self {
        // Up to 2.8 the minor version had two digits.
        let minor_unit = if code < 10_000 { 1000 } else { 10_000 };
        Self { major: code / minor_unit, minor: code % minor_unit / 100, patch: code % 100 }
    }
}

impl fmt::Display for NcclVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether the library that cudarc has loaded has a symbol.
fn has_symbol(name: &CStr) -> bool {
    // SAFETY: cudarc has loaded the library; the symbol is only looked up, not used.
    unsafe { sys::culib().get::<*const c_char>(name.to_bytes_with_nul()).is_ok() }
}

/// The file that the loader took.
fn file_of_library() -> Result<PathBuf, String> {
    let unknown = || "the dynamic loader does not tell the file of libnccl.so".to_owned();
    // SAFETY: cudarc has loaded the library; the symbol is only looked up, not called.
    let symbol = unsafe { sys::culib().get::<*const c_void>(c"ncclGetVersion".to_bytes_with_nul()) };
    // SAFETY: the library stays loaded.
    let address = symbol.map(|symbol| unsafe { symbol.into_raw() }.as_raw_ptr()).map_err(|_| unknown())?;
    let mut place = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: a place for what is known of the address, which is filled where the outcome is not 0.
    let name = unsafe {
        if libc::dladdr(address, place.as_mut_ptr()) == 0 {
            return Err(unknown());
        }
        CStr::from_ptr(place.assume_init().dli_fname)
    };
    let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
    Ok(path.canonicalize().unwrap_or(path))
}

/// How a call went: not at all yet, or well.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    InProgress,
}

/// The outcome of a call, with the library's words for a failure.
pub(super) fn outcome(result: Result<NcclStatus, NcclError>) -> Result<Progress, String> {
    match result {
        Ok(NcclStatus::InProgress) => Ok(Progress::InProgress),
        Ok(NcclStatus::Success) => Ok(Progress::Done),
        Ok(NcclStatus::NumResults) => Err("a result that this version does not know".into()),
        Err(NcclError(code)) => Err(message_of(code)),
    }
}

/// The library's words for a failure, on one line: what the code means, then the details of the last failure.
pub(super) fn message_of(code: sys::ncclResult_t) -> String {
    // SAFETY: the library returns static strings, or the last failure's, which stays until the next one.
    let [meaning, details] =
        unsafe { [sys::ncclGetErrorString(code), sys::ncclGetLastError(ptr::null_mut())] }.map(text);
    let details = details.split_whitespace().collect::<Vec<_>>().join(" ");
    match details.is_empty() {
        true => meaning,
        false => format!("{meaning} ({details})"),
    }
}

fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: a terminated string of the library.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let version = |code| NcclVersion::from_code(code);
        assert_eq!(version(22907).to_string(), "2.29.7");
        assert_eq!(version(2708).to_string(), "2.7.8");
        assert!(version(21805) >= OLDEST && version(21703) < OLDEST && version(2708) < OLDEST);
    }
}
