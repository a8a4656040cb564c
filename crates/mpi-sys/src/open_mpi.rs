//! Open MPI 3 to 5: handles are pointers.

use std::ffi::{c_int, c_void};

macro_rules! handles {
    ($($name:ident),*) => {$(
        #[repr(transparent)]
        #[derive(Copy, Clone, Debug, PartialEq)]
        pub struct $name(pub *mut c_void);
    )*};
}

handles!(MPI_Comm, MPI_Datatype, MPI_Errhandler, MPI_Group, MPI_Info, MPI_Message, MPI_Op, MPI_Request);

#[repr(C)]
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct MPI_Status {
    pub MPI_SOURCE: c_int,
    pub MPI_TAG: c_int,
    pub MPI_ERROR: c_int,
    cancelled: c_int,
    count: usize,
}

pub const MPI_MAX_OBJECT_NAME: c_int = 64;
pub const MPI_APPNUM: c_int = 4;
pub const MPI_UNIVERSE_SIZE: c_int = 6;
