//! Uses the processor, or the stack.

use std::hint::black_box;
use std::time::{Duration, Instant};

use roadrunner_guest::{EventLoop, Stream, timers};

/// Never returns.
pub fn forever() -> ! {
    let mut rounds: u64 = 0;
    loop {
        rounds = black_box(rounds.wrapping_add(1));
    }
}

/// Answers with a head, and never returns from the first callback.
pub fn callback() -> EventLoop {
    timers::after(Duration::ZERO);
    EventLoop::new(|_, out| {
        out.write("before\n")?;
        forever()
    })
}

/// Answers with a head and a chunk, and then with nothing.
pub fn stream() -> Stream {
    Stream::new(|out| -> roadrunner_guest::Result<()> {
        out.write("before\n")?;
        forever()
    })
}

/// Uses the processor for so long, and answers how many rounds that were.
pub fn for_a_while(time: Duration) -> String {
    let start = Instant::now();
    let mut rounds: u64 = 0;
    while start.elapsed() < time {
        rounds = black_box(rounds + 1);
    }
    format!("{rounds}\n")
}

/// Recursion whose frames hold nothing in the memory: it fills the engine's stack.
#[inline(never)]
pub fn recursion(depth: u64) -> u64 {
    if depth == 0 {
        return 1;
    }
    // Neither a tail call nor an accumulator, so that the compiler cannot make a loop of it.
    recursion(depth - 1).wrapping_mul(31).rotate_left(depth as u32 & 7) ^ depth
}

/// Recursion with a frame of 1 KiB in the memory: it fills the guest's own stack.
#[inline(never)]
pub fn stack_recursion(depth: u64) -> u64 {
    let mut frame = [depth; 128];
    black_box(&mut frame);
    if depth == 0 {
        return frame[0];
    }
    stack_recursion(depth - 1).wrapping_add(black_box(&frame)[64])
}
