//! MPICH 3 and later, and what keeps its binary interface: handles are numbers.

use std::ffi::c_int;

macro_rules! handles {
    ($($name:ident),*) => {$(
        #[repr(transparent)]
        #[derive(Copy, Clone, Debug, PartialEq)]
        pub struct $name(pub c_int);
    )*};
}

handles!(MPI_Comm, MPI_Datatype, MPI_Errhandler, MPI_Group, MPI_Info, MPI_Message, MPI_Op, MPI_Request);

#[repr(C)]
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct MPI_Status {
    count_low: c_int,
    count_high_and_cancelled: c_int,
    pub MPI_SOURCE: c_int,
    pub MPI_TAG: c_int,
    pub MPI_ERROR: c_int,
}

pub const MPI_MAX_OBJECT_NAME: c_int = 128;
pub const MPI_APPNUM: c_int = 0x6440_000d;
pub const MPI_UNIVERSE_SIZE: c_int = 0x6440_0009;
