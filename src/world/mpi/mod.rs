//! Ranks that MPI launched.
//!
//! `thread` owns MPI: it initialises the library, makes every call and finalises it. `calls` is what it does there.
//! Any MPI-3 library serves; no extension of a vendor is used.

mod calls;
mod communicator;
mod thread;

pub use calls::library_name;
pub use communicator::MpiCommunicator;
pub use thread::MpiThread;
