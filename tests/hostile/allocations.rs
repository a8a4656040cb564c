//! How much memory a thread takes: the allocator of this test binary counts it, so that a header that asks for more than
//! its file can hold shows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// No input here needs as much: what asks for more is refused, as by a machine whose memory is full.
const MOST_BYTES: usize = 4 << 30;

thread_local! {
    /// Bytes that are taken now, less than none where another thread has taken them.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    /// The most there were.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

fn count(bytes: isize) {
    // A thread that ends has no counters any more.
    let _ = TAKEN.try_with(|taken| {
        taken.set(taken.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(taken.get())));
    });
}

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST_BYTES {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST_BYTES {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > MOST_BYTES {
            return std::ptr::null_mut();
        }
        // Old and new may both be there while one is copied to the other.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// The most bytes that this thread had taken at a time during `work`, beyond those of before.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = TAKEN.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let result = work();
    (result, (PEAK.with(Cell::get) - before).max(0) as usize)
}

#[test]
fn memory_is_counted() {
    let (_, bytes) = peak_bytes(|| drop(vec![1_u8; 1 << 20]));
    assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
    let claimed = std::hint::black_box(1_usize << 60);
    assert!(Vec::<u8>::new().try_reserve(claimed).is_err());
}
