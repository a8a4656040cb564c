//! The declarations of MPI that rsmpi (the `mpi` crate) uses, in place of the `mpi-sys` crate of rsmpi, whose build
//! needs libclang to translate MPI's header.
//!
//! Functions are those of the MPI-3 standard. What libraries choose for themselves (handles, `MPI_Status`, a few
//! constants) is the same in each of two families, Open MPI and MPICH (with Intel MPI, MVAPICH and Cray MPICH, which
//! keep MPICH's binary interface); `rsmpi.c` has the compiler check it against the library's header.
//! Derived from mpi-sys 0.2.4, <https://github.com/rsmpi/rsmpi>, MIT or Apache-2.0.
#![allow(non_camel_case_types, non_snake_case, clippy::upper_case_acronyms)]

mod functions;
#[cfg(not(open_mpi))]
#[path = "mpich.rs"]
mod library;
#[cfg(open_mpi)]
#[path = "open_mpi.rs"]
mod library;

use std::ffi::{c_int, c_void};

pub use functions::*;
pub use library::*;

/// An address, or a difference of two.
pub type MPI_Aint = isize;

/// Combines two arrays of the elements of an operation.
pub type MPI_User_function = Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int, *mut MPI_Datatype)>;

/// Copies an attribute of a communicator.
pub type MPI_Comm_copy_attr_function =
    Option<unsafe extern "C" fn(MPI_Comm, c_int, *mut c_void, *mut c_void, *mut c_void, *mut c_int) -> c_int>;

/// Deletes an attribute of a communicator.
pub type MPI_Comm_delete_attr_function =
    Option<unsafe extern "C" fn(MPI_Comm, c_int, *mut c_void, *mut c_void) -> c_int>;

pub const MPI_SUCCESS: c_int = 0;
pub const MPI_UNDEFINED: c_int = -32766;
