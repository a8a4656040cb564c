//! Ranks whose GPUs talk to each other directly, by NVIDIA's NCCL.
//!
//! The library is loaded when it is first asked for, so that one program serves machines with and without it.
//! - `library`: is it there, which version, what do its codes mean
//! - `handle`: one communicator of the library: begun with a deadline, polled, aborted
//! - `timeline`: the stream on which it works, and how libtorch's stream waits for it
//! - `watch`: errors that come while nobody waits
//! - `gpus`: that every rank has a GPU of its own
//! - `communicator`: all of it behind the [`Communicator`](super::Communicator) trait
//!
//! NCCL is called by whichever thread begins an operation, one at a time. Communicators are non-blocking: no thread is
//! ever stuck inside the library, so that a communicator can be aborted when a rank does not come.

mod communicator;
mod gpus;
mod handle;
mod library;
mod timeline;
mod watch;

pub use communicator::NcclCommunicator;
pub use gpus::{VisibleGpu, visible_gpus};
pub use library::{NcclLibrary, NcclVersion, nccl_library};
