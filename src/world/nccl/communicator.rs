//! Collectives between GPUs by NCCL.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cudarc::nccl::result::{self, NcclError, NcclStatus};
use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclDataType_t, ncclRedOp_t};
use tch::{Device, Kind, Tensor};

use super::gpus::{self, Gpu};
use super::handle::{CallError, Handle};
use super::library::{ID_BYTES, NcclLibrary, outcome};
use super::timeline::{Mark, Timeline};
use super::watch::Watch;
use crate::torch::TorchError;
use crate::trace;
use crate::world::progress::{Library, Operation, PROGRESS, UnderWay};
use crate::world::stall::LEEWAY;
use crate::world::{
    Communicator, CommunicatorError, CommunicatorOptions, Label, Pending, Ranks, ReduceOp, WorldError, hostname,
};

const NAME: &str = "nccl";
const SETTLING_PAUSE: Duration = Duration::from_micros(200);

/// Queues operations on a stream of their own.
///
/// The tensors are where this rank computes: on its GPU, or on the host with a library that is a test double.
pub struct NcclCommunicator {
    // Dropped first: the library is left by the thread that drops the rest.
    _watch: Watch,
    shared: Arc<Shared>,
}

/// What the thread that watches looks at.
pub(super) struct Shared {
    device: Device,
    timeline: Timeline,
    /// How long an operation may take where no watch ends it sooner.
    patience: Duration,
    state: Mutex<State>,
}

/// The communicator until it fails, and what is under way.
struct State {
    handle: Result<Handle, String>,
    /// In the order in which they were queued.
    queued: Vec<Queued>,
}

/// An operation that may not be complete.
struct Queued {
    mark: Mark,
    under_way: UnderWay,
}

impl NcclCommunicator {
    /// Joins all ranks, which call this together. `device` becomes this thread's GPU.
    ///
    /// # Errors
    /// [`WorldError::NoCommunicator`] when the library is missing or refuses, or a rank does not come in time;
    /// [`WorldError::SharedGpu`] when two ranks have the same GPU.
    pub fn join(ranks: &Ranks, device: Device, options: &CommunicatorOptions) -> Result<Self, WorldError> {
        let library = agree_on_library(ranks, device)?;
        let id = id_of_rank_0(ranks, library)?;
        let timeline = Timeline::new(device).map_err(|error| refused(format!("no stream on {device:?}: {error}")))?;
        let handle = Handle::join(id, ranks.rank, ranks.size, options.join_timeout).map_err(|error| match error {
            CallError::Failed(message) => {
                refused(format!("ncclCommInitRankConfig: {message}; NCCL_DEBUG=INFO shows more"))
            }
            CallError::TimedOut => {
                let seconds = options.join_timeout.as_secs();
                refused(format!(
                    "its ranks have not found each other within {seconds} s (parallel.nccl_timeout_seconds): look for \
                     errors of other ranks, and with NCCL_DEBUG=INFO at the network it chooses (NCCL_SOCKET_IFNAME)"
                ))
            }
        })?;
        tracing::debug!("NCCL {} joins {} ranks", library.version, ranks.size);
        let state = Mutex::new(State { handle: Ok(handle), queued: Vec::new() });
        let shared = Arc::new(Shared { device, timeline, patience: options.patience, state });
        let watch = Watch::start(&shared).map_err(|error| refused(format!("no thread to watch it: {error}")))?;
        Ok(Self { shared, _watch: watch })
    }

    /// Queues `call`, which reads and writes `tensor`, behind all that this thread has had computed.
    fn begin(
        &self,
        tensor: &Tensor,
        name: &'static str,
        label: Label,
        call: impl FnOnce(*mut c_void, ncclComm_t, cudaStream_t) -> Result<NcclStatus, NcclError>,
    ) -> Result<Pending, CommunicatorError> {
        let _span = trace::span("communication", label);
        self.check_place(tensor, label)?;
        let mut state = self.shared.lock();
        let State { handle, queued } = &mut *state;
        let handle = handle.as_ref().map_err(|failure| failed(name, label, failure))?;
        let under_way = PROGRESS.begin(Library::Nccl, label);
        self.shared.timeline.follow_current().map_err(|error| failed(name, label, &error.to_string()))?;
        let begun = outcome(call(tensor.data_ptr(), handle.raw(), self.shared.timeline.stream().cast()));
        let patience = self.shared.patience();
        // Operations that are complete meanwhile are none that another rank is waited for. The thread that watches finds
        // their failures.
        let forget = || drop(forget_complete(queued));
        if let Err(error) = handle.settle(begun, patience, forget) {
            let message = match error {
                CallError::Failed(message) => message,
                CallError::TimedOut => too_late(patience),
            };
            state.fail(&message);
            return Err(failed(name, label, &message));
        }
        let mark = self.shared.timeline.mark().map_err(|error| failed(name, label, &error.to_string()))?;
        queued.push(Queued { mark: mark.clone(), under_way });
        let mut in_flight = InFlight { mark: Some(mark), _tensor: tensor.shallow_clone() };
        let shared = Arc::clone(&self.shared);
        Ok(Pending::new(move || {
            in_flight.wait().map_err(|error| failed(name, label, &error.to_string()))?;
            shared.lock().handle.as_ref().map(drop).map_err(|failure| failed(name, label, failure))
        }))
    }

    fn check_place(&self, tensor: &Tensor, label: Label) -> Result<(), CommunicatorError> {
        let problem = if tensor.device() != self.shared.device {
            format!("NCCL works on {:?} here, the tensor is on {:?}", self.shared.device, tensor.device())
        } else if !tensor.is_contiguous() {
            "the tensor is not contiguous".to_owned()
        } else {
            return Ok(());
        };
        Err(CommunicatorError::Tensor { problem, label })
    }
}

/// What an operation uses; whoever lets go of it waits for the operation on the current stream, so that memory which is
/// freed then is not written to.
struct InFlight {
    mark: Option<Mark>,
    _tensor: Tensor,
}

impl InFlight {
    fn wait(&mut self) -> Result<(), TorchError> {
        self.mark.take().map_or(Ok(()), |mark| mark.make_current_wait())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // After a failure there is nothing left to wait for.
        let _ = self.wait();
    }
}

impl Communicator for NcclCommunicator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn all_reduce(&self, tensor: &Tensor, op: ReduceOp, label: Label) -> Result<Pending, CommunicatorError> {
        let (datatype, op) = (datatype(tensor.kind(), label)?, operation(op));
        let count = tensor.numel();
        self.begin(tensor, "ncclAllReduce", label, |buffer, comm, stream| {
            // SAFETY: `buffer` has `count` elements of `datatype` in a contiguous tensor, which lives until the
            // operation is complete; `comm` and `stream` are live and on the tensor's device.
            unsafe { result::all_reduce(buffer, buffer, count, datatype, op, comm, stream) }
        })
    }

    fn broadcast(&self, tensor: &Tensor, root: usize, label: Label) -> Result<Pending, CommunicatorError> {
        let (bytes, root) = (tensor.numel() * tensor.kind().elt_size_in_bytes(), i32::try_from(root).unwrap_or(-1));
        self.begin(tensor, "ncclBroadcast", label, |buffer, comm, stream| {
            // SAFETY: `buffer` has `bytes` bytes in a contiguous tensor, otherwise as above.
            unsafe { result::broadcast(buffer, buffer, bytes, ncclDataType_t::ncclUint8, root, comm, stream) }
        })
    }

    fn settle(&self) -> Result<(), CommunicatorError> {
        loop {
            self.shared.inspect();
            let state = self.shared.lock();
            let failure = state.handle.as_ref().err();
            if let Some(failure) = failure {
                return Err(failed("ncclCommGetAsyncError", Label::new("operations so far"), failure));
            } else if state.queued.is_empty() {
                return Ok(());
            }
            drop(state);
            thread::sleep(SETTLING_PAUSE);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Aborts the communicator if it has failed or an operation takes too long; otherwise forgets the operations that
    /// are complete.
    pub(super) fn inspect(&self) {
        let mut state = self.lock();
        let Ok(handle) = &state.handle else { return };
        let asked = handle.state().map(drop);
        let inspected = asked.and_then(|()| forget_complete(&mut state.queued).map_err(|error| error.to_string()));
        if let Err(message) = inspected {
            return state.fail(&message);
        }
        let patience = self.patience();
        let oldest = state.queued.first().map(|oldest| oldest.under_way.operation);
        if let Some(Operation { label, .. }) = oldest.filter(|oldest| oldest.since.elapsed() > patience) {
            state.fail(&format!("the {label}: {}", too_late(patience)));
        }
    }

    /// How long an operation may take.
    fn patience(&self) -> Duration {
        if PROGRESS.is_watched() { self.patience + LEEWAY } else { self.patience }
    }
}

impl State {
    /// Ends the communicator; from now on every operation fails with `message`.
    fn fail(&mut self, message: &str) {
        if let Ok(handle) = std::mem::replace(&mut self.handle, Err(message.to_owned())) {
            tracing::debug!("NCCL is aborted: {message}");
            drop(handle.abort());
        }
        self.queued.clear();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Ok(handle) = std::mem::replace(&mut self.handle, Err("it has ended".into())) {
            handle.finish();
        }
    }
}

fn forget_complete(queued: &mut Vec<Queued>) -> Result<(), TorchError> {
    let mut num_complete = 0;
    for Queued { mark, .. } in queued.iter() {
        if !mark.is_reached()? {
            break;
        }
        num_complete += 1;
    }
    queued.drain(..num_complete);
    Ok(())
}

fn failed(call: &'static str, label: Label, message: &str) -> CommunicatorError {
    CommunicatorError::Library { call, label, message: message.to_owned() }
}

fn too_late(patience: Duration) -> String {
    format!("not complete after {} s (parallel.stall_abort_seconds): has another rank stopped?", patience.as_secs())
}

fn datatype(kind: Kind, label: Label) -> Result<ncclDataType_t, CommunicatorError> {
    match kind {
        Kind::Float => Ok(ncclDataType_t::ncclFloat32),
        Kind::Double => Ok(ncclDataType_t::ncclFloat64),
        Kind::BFloat16 => Ok(ncclDataType_t::ncclBfloat16),
        Kind::Int64 => Ok(ncclDataType_t::ncclInt64),
        _ => Err(CommunicatorError::Kind { library: "NCCL", kind, label }),
    }
}

fn operation(op: ReduceOp) -> ncclRedOp_t {
    match op {
        ReduceOp::Sum => ncclRedOp_t::ncclSum,
        ReduceOp::Average => ncclRedOp_t::ncclAvg,
        ReduceOp::Max => ncclRedOp_t::ncclMax,
    }
}

/// What a rank has: the library's version and its GPU, or why it cannot use the library.
type Told = Result<(String, Option<Gpu>), String>;

/// The library, if every rank can use its own on its device, and each has a GPU for itself. All ranks find the same.
fn agree_on_library(ranks: &Ranks, device: Device) -> Result<NcclLibrary, WorldError> {
    let own = usable_library(device).and_then(|library| Ok((library, Gpu::of(device)?)));
    let told: Told =
        own.as_ref().map(|(library, gpu)| (library.version.to_string(), gpu.clone())).map_err(String::clone);
    let all: Vec<(String, Told)> = ranks.gather(&(hostname(), told), Label::new("exchange about NCCL"))?;
    let name = |rank: usize| format!("rank {rank} on {}", all[rank].0);
    let mut gpus: Vec<(String, Option<Gpu>)> = Vec::new();
    let mut version_of_root = None;
    for (rank, (hostname, told)) in all.iter().enumerate() {
        let (version, gpu) = told.as_ref().map_err(|reason| {
            let is_common = all.iter().all(|(_, other)| other.as_ref().err() == Some(reason));
            refused(if is_common { reason.clone() } else { format!("{}: {reason}", name(rank)) })
        })?;
        let expected = version_of_root.get_or_insert(version);
        if version != *expected {
            return Err(refused(format!("{} has version {expected} of it, {} has {version}", name(0), name(rank))));
        }
        gpus.push((hostname.clone(), gpu.clone()));
    }
    gpus::check(&gpus)?;
    own.map(|(library, _)| library).map_err(refused)
}

fn refused(reason: String) -> WorldError {
    WorldError::NoCommunicator { communicator: NAME, reason }
}

/// The library, if it works on the memory of `device`.
fn usable_library(device: Device) -> Result<NcclLibrary, String> {
    let library = NcclLibrary::load();
    let on_host = |library: &NcclLibrary| library.is_test_double;
    match (device.is_cuda(), library) {
        (true, Ok(library)) if on_host(&library) => {
            Err("libnccl.so is the tests' double, which works on host memory: remove it from LD_LIBRARY_PATH".into())
        }
        (true, library) => library,
        (false, Ok(library)) if on_host(&library) => {
            tracing::warn!("NCCL is a test double on host memory: results are right, times mean nothing");
            Ok(library)
        }
        (false, _) => Err("it works on GPUs, and this run computes on the CPU; use \"mpi\" or \"auto\"".into()),
    }
}

/// The number by which all ranks find rank 0.
fn id_of_rank_0(ranks: &Ranks, library: NcclLibrary) -> Result<[u8; ID_BYTES], WorldError> {
    let own = ranks.is_root().then(|| library.new_id().map(Vec::from));
    let of_root = ranks.gather(&own, Label::new("broadcast of NCCL's id"))?.swap_remove(0);
    let id = of_root.unwrap_or_else(|| Err("rank 0 made none".into()));
    let id = id.map_err(|message| refused(format!("ncclGetUniqueId: {message}")))?;
    id.try_into().map_err(|_| refused("ncclGetUniqueId: rank 0 sent another number of bytes".into()))
}
