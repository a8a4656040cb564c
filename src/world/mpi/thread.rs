//! The one thread that calls MPI.
//!
//! It takes jobs in order. Before each it waits until all ranks have come to theirs, asking now and then instead of
//! spinning as MPI's own blocking calls do: the core stays free for the backward pass, a rank that does not come can be
//! named, and the run can be aborted meanwhile. The transfer itself is then a blocking call that waits for nobody.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::calls::Mpi;
use crate::trace;
use crate::world::progress::{Library, PROGRESS};
use crate::world::{CommunicatorError, Label, Pending};

/// How long the thread asks without pause whether the other ranks have come.
const EAGER_WAIT: Duration = Duration::from_micros(30);
/// Longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_micros(200);
/// How long an abort may take before the process ends itself, which the launcher notices.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
const NO_ABORT: i32 = -1;

type Work = Box<dyn FnOnce(&Mpi) -> Result<(), CommunicatorError> + Send>;

enum Command {
    Run {
        label: Label,
        meets: bool,
        work: Work,
        reply: std::sync::mpsc::SyncSender<Result<(), CommunicatorError>>,
    },
    /// Wakes the thread to look at the request to abort.
    Wake,
    Finish,
}

/// A handle on the thread.
pub struct MpiThread {
    /// This rank.
    pub rank: usize,
    /// Number of ranks.
    pub size: usize,
    /// This rank's number among those of its node.
    pub local_rank: usize,
    /// Ranks of its node.
    pub local_size: usize,
    /// Name and version of the MPI library, and the thread level it provides.
    pub library: String,
    commands: Mutex<Sender<Command>>,
    abort_code: Arc<AtomicI32>,
    handle: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Start {
    rank: usize,
    size: usize,
    local_rank: usize,
    local_size: usize,
    library: String,
}

impl MpiThread {
    /// Starts the thread and MPI on it.
    ///
    /// # Errors
    /// When the system refuses a thread, or MPI cannot be initialised.
    pub fn start() -> Result<Self, String> {
        let (commands, received) = channel();
        let (started, start) = sync_channel(1);
        let abort_code = Arc::new(AtomicI32::new(NO_ABORT));
        let handle = {
            let abort_code = Arc::clone(&abort_code);
            let body = move || match Mpi::initialize() {
                Ok(mpi) => {
                    let [rank, size, local_rank, local_size] = mpi.place();
                    let start = Start { rank, size, local_rank, local_size, library: mpi.library() };
                    if started.send(Ok(start)).is_ok() {
                        serve(&mpi, &received, &abort_code);
                    }
                }
                Err(error) => drop(started.send(Err(error))),
            };
            thread::Builder::new().name("mpi".into()).spawn(body).map_err(|error| error.to_string())?
        };
        let start = start.recv().map_err(|_| "its thread ended at once".to_owned())??;
        let Start { rank, size, local_rank, local_size, library } = start;
        let (commands, handle) = (Mutex::new(commands), Mutex::new(Some(handle)));
        Ok(Self { rank, size, local_rank, local_size, library, commands, abort_code, handle })
    }

    /// Queues `work`, which all ranks do together; the thread waits for all of them before it begins.
    pub(super) fn submit(
        &self,
        label: Label,
        work: impl FnOnce(&Mpi) -> Result<(), CommunicatorError> + Send + 'static,
    ) -> Pending {
        self.enqueue(label, true, Box::new(work))
    }

    /// Queues `work` that does its own waiting.
    pub(super) fn submit_unmet(
        &self,
        label: Label,
        work: impl FnOnce(&Mpi) -> Result<(), CommunicatorError> + Send + 'static,
    ) -> Pending {
        self.enqueue(label, false, Box::new(work))
    }

    fn enqueue(&self, label: Label, meets: bool, work: Work) -> Pending {
        let (reply, result) = sync_channel(1);
        // If the thread has ended, so has the reply's other end.
        let _ = self.send(Command::Run { label, meets, work, reply });
        Pending::new(move || result.recv().unwrap_or(Err(CommunicatorError::Ended(label))))
    }

    /// Ends all ranks with exit code `code`: does not return.
    pub fn abort(&self, code: u8) -> ! {
        self.abort_code.store(i32::from(code), Ordering::Relaxed);
        let _ = self.send(Command::Wake);
        thread::sleep(ABORT_PATIENCE);
        // The thread hangs in MPI. A process that ends without finalising ends the others too.
        // SAFETY: `_exit` has no preconditions.
        unsafe { libc::_exit(i32::from(code)) }
    }

    /// Finalises MPI, which waits for the other ranks to do so too.
    pub fn finish(&self) {
        let _ = self.send(Command::Finish);
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle {
            // A panic of the thread has been reported by the hook.
            let _ = handle.join();
        }
    }

    fn send(&self, command: Command) -> Result<(), std::sync::mpsc::SendError<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).send(command)
    }
}

fn serve(mpi: &Mpi, commands: &Receiver<Command>, abort_code: &AtomicI32) {
    while let Ok(command) = commands.recv() {
        abort_if_asked(mpi, abort_code);
        match command {
            Command::Run { label, meets, work, reply } => {
                let under_way = PROGRESS.begin(Library::Mpi, label);
                let met = if meets { wait_for_all_ranks(mpi, abort_code, label) } else { Ok(()) };
                let result = met.and_then(|()| {
                    let _span = trace::span("communication", label);
                    work(mpi)
                });
                drop(under_way);
                // Nobody may be interested in the result.
                let _ = reply.send(result);
            }
            Command::Wake => {}
            Command::Finish => break,
        }
    }
}

fn wait_for_all_ranks(mpi: &Mpi, abort_code: &AtomicI32, label: Label) -> Result<(), CommunicatorError> {
    let mut arrival = mpi.begin_arrival(label)?;
    let start = Instant::now();
    while !arrival.is_complete()? {
        abort_if_asked(mpi, abort_code);
        let waited = start.elapsed();
        if waited < EAGER_WAIT {
            thread::yield_now();
        } else {
            thread::sleep((waited / 8).min(LONGEST_PAUSE));
        }
    }
    Ok(())
}

fn abort_if_asked(mpi: &Mpi, abort_code: &AtomicI32) {
    let code = abort_code.load(Ordering::Relaxed);
    if code != NO_ABORT {
        mpi.abort(code);
    }
}
