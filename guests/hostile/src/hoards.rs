//! Takes what the host has to keep for it, and gives nothing back.

use std::mem;
use std::time::Duration;

use roadrunner_guest::{Event, EventLoop, Next, bus};

/// So many clocks' pollables.
pub fn pollables(n: u64) -> String {
    for _ in 0..n {
        mem::forget(wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX / 2));
    }
    format!("took {n}\n")
}

/// So many handles of standard output.
pub fn streams(n: u64) -> String {
    for _ in 0..n {
        mem::forget(wasip2::cli::stdout::get_stdout());
    }
    format!("took {n}\n")
}

/// So many topics, in a session that stays; its first line tells how many there are and why there are no more.
pub fn subscriptions(n: u64) -> EventLoop {
    let mut end = "all".to_owned();
    let mut granted = 0;
    while granted < n {
        if let Err(error) = bus::subscribe(&format!("topic-{granted}")) {
            end = error.to_string();
            break;
        }
        granted += 1;
    }
    let said = format!("subscribed {granted}: {end}\n");
    roadrunner_guest::timers::after(Duration::ZERO);
    EventLoop::new(move |event, out| {
        if let Event::Timer(_) = event {
            out.write(&said)?;
        }
        Ok(Next::Continue)
    })
}

/// So many timers of a millisecond, in a session that stays and tells each hundredth firing.
pub fn timers(n: u64) -> EventLoop {
    for _ in 0..n {
        roadrunner_guest::timers::every(Duration::from_millis(1));
    }
    let mut fired: u64 = 0;
    EventLoop::new(move |event, out| {
        if let Event::Timer(_) = event {
            fired += 1;
            if fired.is_multiple_of(100) {
                writeln!(out, "fired {fired}")?;
            }
        }
        Ok(Next::Continue)
    })
}
