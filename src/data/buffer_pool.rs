//! Memory for the bytes of images, used again from batch to batch.
//!
//! Pages that are given back to the system and asked for again are zeroed by it each time. A buffer returns when it is
//! dropped, on whatever thread; there are never more than were in use at once.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
}

/// Bytes that go back to their pool.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    /// A buffer of `len` bytes, whatever they are.
    pub fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let mut bytes = self.free().pop().unwrap_or_default();
        bytes.resize(len, 0);
        Buffer { bytes, pool: Arc::clone(self) }
    }

    /// Buffers that nobody uses.
    #[cfg(test)]
    pub fn num_free(&self) -> usize {
        self.free().len()
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // No code that can panic runs while it is locked.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.free().push(std::mem::take(&mut self.bytes));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_are_used_again() {
        let pool = Arc::new(BufferPool::default());
        let (first, second) = (pool.take(1000), pool.take(10));
        let places = [first.as_ptr(), second.as_ptr()];
        drop(second);
        std::thread::spawn(move || drop(first)).join().unwrap();
        let again = pool.take(900);
        assert_eq!((again.len(), again.as_ptr()), (900, places[0]));
        assert_eq!(pool.take(5).as_ptr(), places[1]);
        drop(again);
        assert_eq!(pool.num_free(), 2);
    }
}
