//! Computes a list of jobs ahead on threads and hands the results over in the order of the jobs.
//!
//! Thread `t` of `T` does jobs `t`, `t + T`, ... and has a small bounded queue of its own; the consumer takes from the
//! queues in turn. So the order is fixed without any sorting, memory is bounded, and a thread that ends early closes
//! its queue, which the consumer sees at once.

use std::{
    any::Any,
    num::NonZeroUsize,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::DataError;

/// Results that each thread may have ready beyond the one it is working on, where nothing else is asked for.
pub(super) const QUEUE_LENGTH: usize = 2;

/// The results of a list of jobs, in order. Ends after the first error; dropping it stops and joins the threads.
pub(super) struct Prefetch<T> {
    workers: Vec<Worker<T>>,
    next: usize,
    end: usize,
}

struct Worker<T> {
    results: Receiver<Result<T, DataError>>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `num_threads` threads, or fewer if there are fewer jobs, that call `work` for each of `jobs`.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn start<J: Send + 'static>(
        jobs: Vec<J>,
        num_threads: NonZeroUsize,
        work: impl Fn(J) -> Result<T, DataError> + Send + Sync + 'static,
    ) -> Result<Prefetch<T>, DataError> {
        let work = Arc::new(work);
        Self::with_workers(jobs, num_threads, QUEUE_LENGTH, || {
            let work = Arc::clone(&work);
            move |job| work(job)
        })
    }

    /// The same where each thread has a function of its own from `worker`, and may have `queue_length` results ready
    /// beyond the one it is working on.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn with_workers<J: Send + 'static, W: FnMut(J) -> Result<T, DataError> + Send + 'static>(
        jobs: Vec<J>,
        num_threads: NonZeroUsize,
        queue_length: usize,
        worker: impl Fn() -> W,
    ) -> Result<Prefetch<T>, DataError> {
        let num_threads = num_threads.get().min(jobs.len());
        let mut prefetch = Prefetch { workers: Vec::with_capacity(num_threads), next: 0, end: jobs.len() };
        let mut shares: Vec<Vec<J>> = (0..num_threads).map(|_| Vec::new()).collect();
        for (number, job) in jobs.into_iter().enumerate() {
            shares[number % num_threads].push(job);
        }
        for share in shares {
            let (sender, results) = sync_channel(queue_length);
            let work = worker();
            let thread = thread::Builder::new()
                .name("data-loader".to_owned())
                .spawn(move || run(share, work, &sender))
                .map_err(DataError::Thread)?;
            prefetch.workers.push(Worker { results, thread });
        }
        Ok(prefetch)
    }

    /// Stops all threads and says why the one that should have had the next result has none.
    fn fail(&mut self) -> DataError {
        let number = self.next % self.workers.len();
        let Worker { results, thread } = self.workers.swap_remove(number);
        drop(results);
        let reason = match thread.join() {
            Ok(()) => "it ended early".to_owned(),
            Err(panic) => panic_text(&*panic).to_owned(),
        };
        DataError::Worker(reason)
    }
}

fn run<J, T>(jobs: Vec<J>, mut work: impl FnMut(J) -> Result<T, DataError>, sender: &SyncSender<Result<T, DataError>>) {
    for job in jobs {
        if sender.send(work(job)).is_err() {
            return; // the consumer is gone
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

impl<T: Send + 'static> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let worker = &self.workers[self.next % self.workers.len()];
        let result = worker.results.recv().unwrap_or_else(|_| Err(self.fail()));
        match result {
            Ok(_) => self.next += 1,
            Err(_) => self.next = self.end,
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Fewer if one fails.
        (0, Some(self.end - self.next))
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        for Worker { results, thread } in self.workers.drain(..) {
            drop(results); // wakes a thread that waits for room in its queue
            // A panic that was not reached in the order of results concerns nobody any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn threads(num: usize) -> NonZeroUsize {
        NonZeroUsize::new(num).unwrap()
    }

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads() {
        for num_threads in [1, 2, 3, 8] {
            let squares = Prefetch::start((0u64..50).collect(), threads(num_threads), |job| {
                thread::sleep(Duration::from_micros(job * 37 % 11 * 50));
                Ok(job * job)
            });
            let squares: Result<Vec<_>, _> = squares.unwrap().collect();
            assert_eq!(squares.unwrap(), (0..50).map(|job| job * job).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_jobs_give_no_results() {
        assert!(Prefetch::start(Vec::<u8>::new(), threads(2), Ok).unwrap().next().is_none());
    }

    #[test]
    fn an_error_comes_in_its_place_and_ends_the_results() {
        let mut results =
            Prefetch::start(
                (0..9).collect(),
                threads(2),
                |job| {
                    if job == 4 { Err(DataError::NoSamples) } else { Ok(job) }
                },
            )
            .unwrap();
        assert_eq!(results.by_ref().take(4).map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(matches!(results.next(), Some(Err(DataError::NoSamples))));
        assert!(results.next().is_none());
    }

    #[test]
    fn a_panic_comes_as_an_error_with_its_text() {
        let mut results = Prefetch::start((0..9).collect(), threads(3), |job: usize| {
            assert!(job != 5, "no image {job}");
            Ok(job)
        })
        .unwrap();
        assert_eq!(results.by_ref().take(5).map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let error = results.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "a thread that loads images stopped: no image 5");
        assert!(results.next().is_none());
    }

    #[test]
    fn dropping_early_joins_threads_that_wait_for_room() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut results = Prefetch::start((0..1000).collect(), threads(3), move |job: usize| {
            let _held = &held;
            Ok(job)
        })
        .unwrap();
        assert!(results.next().is_some());
        drop(results);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
