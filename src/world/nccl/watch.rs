//! A thread that asks NCCL now and then how it is: failures come while the CPU waits for a GPU that waits for another
//! rank.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::communicator::Shared;

const INTERVAL: Duration = Duration::from_millis(100);

/// The thread, until dropped.
pub(super) struct Watch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch, as long as the communicator is used.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let shared: Weak<Shared> = Arc::downgrade(shared);
        let (end, ended) = channel();
        let body = move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let Some(shared) = shared.upgrade() else { break };
                shared.inspect();
            }
        };
        let thread = thread::Builder::new().name("nccl watch".into()).spawn(body)?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
