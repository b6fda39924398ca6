//! Uses memory.

use std::arch::wasm32::memory_grow;
use std::hint::black_box;
use std::time::Duration;

use roadrunner_guest::{EventLoop, Next, timers};

/// Takes and touches so many KiB in one piece.
pub fn allocate(kib: usize) -> &'static str {
    black_box(vec![1_u8; kib * 1024]);
    "allocated\n"
}

/// Takes 1 MiB more in each callback, ten milliseconds apart, and never gives any back.
pub fn callback() -> EventLoop {
    timers::every(Duration::from_millis(10));
    EventLoop::new(|_, out| {
        black_box(vec![1_u8; 1024 * 1024].leak());
        out.write("more\n")?;
        Ok(Next::Continue)
    })
}

/// Grows the memory page by page until the host says no, and answers how many pages it got.
pub fn grow() -> String {
    let mut pages = 0;
    while memory_grow(0, 1) != usize::MAX {
        pages += 1;
    }
    format!("grew {pages} pages\n")
}

/// An idle session that holds so many KiB.
pub fn hold(kib: usize) -> EventLoop {
    let held = vec![1_u8; kib * 1024];
    EventLoop::new(move |_, _| {
        black_box(&held);
        Ok(Next::Continue)
    })
}

/// Takes 64 KiB again and again.
pub fn many() -> ! {
    loop {
        black_box(vec![1_u8; 64 * 1024].leak());
    }
}

/// Asks for 2 GiB less a page in one piece, without an abort if there is none.
pub fn one() -> &'static str {
    let mut memory: Vec<u8> = Vec::new();
    match memory.try_reserve_exact(i32::MAX as usize - 64 * 1024) {
        Ok(()) => {
            black_box(&mut memory);
            "granted\n"
        }
        Err(_) => "refused\n",
    }
}
