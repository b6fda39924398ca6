//! Memory that the process no longer needs goes back to the kernel.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The shortest time between two collections of a thread.
const EVERY: Duration = Duration::from_secs(10);

/// Collects memory of this thread that others have freed, when it has nothing to do.
///
/// A session is made on one thread and may be dropped on another. The allocator keeps such memory for the first thread,
/// until that thread allocates again: after a burst, it would stay for good.
pub(crate) fn tidy() {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    if LAST.get().is_some_and(|last| now < last + EVERY) {
        return;
    }
    LAST.set(Some(now));
    // SAFETY: the function can be called at any time, on any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
