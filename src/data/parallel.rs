//! The same work on many things at once, where the order of results is that of the things.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{DataError, prefetch::Prefetch};

/// Threads that wait for a file system more than they compute: more than this many bring nothing.
const MOST_READERS: usize = 16;

/// As many threads as there are cores to wait for a file system on.
pub(super) fn readers() -> NonZeroUsize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores.min(MOST_READERS)).unwrap_or(NonZeroUsize::MIN)
}

/// `work` of each of `0..len`, in order.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn map<R: Send>(
    len: usize,
    num_threads: NonZeroUsize,
    work: impl Fn(usize) -> R + Sync,
) -> Result<Vec<R>, DataError> {
    let num_threads = num_threads.get().min(len);
    if num_threads <= 1 {
        return Ok((0..len).map(work).collect());
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(len));
    thread::scope(|scope| {
        let run = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= len {
                    return;
                }
                let result = work(index);
                results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
            }
        };
        for _ in 0..num_threads {
            thread::Builder::new().name("data-files".to_owned()).spawn_scoped(scope, run).map_err(DataError::Thread)?;
        }
        Ok(())
    })?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// `work` of each of `jobs` on threads, a few ahead of who takes the results, which come in order.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn stream<J: Send + 'static, R: Send + 'static>(
    jobs: Vec<J>,
    num_threads: NonZeroUsize,
    work: impl Fn(J) -> Result<R, DataError> + Send + Sync + 'static,
) -> Result<impl Iterator<Item = Result<R, DataError>>, DataError> {
    Prefetch::start(jobs, num_threads, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_work() {
        for threads in [1, 3, 64] {
            let squares = map(50, NonZeroUsize::new(threads).unwrap(), |index| index * index).unwrap();
            assert_eq!(squares, (0..50).map(|index| index * index).collect::<Vec<_>>());
        }
        assert!(map(0, NonZeroUsize::MIN, |index| index).unwrap().is_empty());
    }
}
