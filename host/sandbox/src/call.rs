//! Calls into a guest: its account, its turn, its deadline, and the meaning of an error.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use roadrunner_account::{Failure, Meter, Outcome, Pause, Turns};
use roadrunner_log::{Quoted, shortened};
use tokio::time::Sleep;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::guest::core::Stop;
use crate::sandbox::Sandbox;
use crate::state::State;

/// The maximum number of bytes of an error that are read to summarize it.
const SUMMARY: usize = 4 << 10;

/// Runs a call into the guest under its account, when its turn comes. Only calls that wait have a timer for the
/// deadline.
///
/// The call is pinned: by value, it would take its size twice in the future of each request.
pub(crate) async fn guarded<T>(
    meter: &Meter,
    turns: &Turns,
    deadline: Option<Instant>,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Outcome> {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut pause = Pause::default();
    poll_fn(|context| {
        if meter.is_killed() {
            return Poll::Ready(Err(Outcome::Killed));
        }
        if pause.poll(meter.subject.tenant.as_ref(), turns, meter.is_busy(), context).is_ready() {
            meter.enter();
            let polled = call.as_mut().poll(context);
            meter.leave();
            pause.end(false);
            meter.set_in_line(false);
            if let Poll::Ready(value) = polled
                && !meter.is_over_budget()
            {
                return Poll::Ready(Ok(value));
            }
        } else {
            meter.set_in_line(pause.is_in_line());
        }
        // The epoch interrupts the guest itself. This check is for CPU time that the host used for it, in or beside a
        // host call.
        if meter.is_over_budget() {
            return Poll::Ready(Err(Outcome::CpuExceeded));
        }
        meter.register(context);
        if let Some(deadline) = deadline {
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Outcome::DeadlineExceeded));
            }
        }
        Poll::Pending
    })
    .await
}

/// Classifies an error of the engine. A trap that follows a refused growth is the guest's out-of-memory abort.
pub(crate) fn classify(sandbox: &Sandbox, store: &Store<State>, error: &wasmtime::Error) -> Failure {
    if let Some(Stop(outcome)) = error.downcast_ref() {
        return (*outcome).into();
    }
    if let Some(empty) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return sandbox.exhaustion().found(empty, &sandbox.accounts().instances);
    }
    if is_out_of_maps(error) {
        sandbox.restored().give_back();
        let reason = "the kernel gives this process no more memory, or no more than vm.max_map_count maps of it";
        return sandbox.exhaustion().found(&reason, &sandbox.accounts().instances);
    }
    if let Some(outcome) = store.data().core.memory.denied() {
        return Failure::new(outcome, summary(error));
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Outcome::HandlesExceeded.into();
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Failure::new(Outcome::Trapped, format!("{trap}; {}", summary(error)));
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Failure::new(Outcome::Trapped, format!("the guest exited with code {}", exit.0));
    }
    let cause = Quoted::display(error.root_cause()).to_string();
    // The engine's errors for these limits are private types, or plain texts.
    if cause.contains("fuel allocated for hostcalls") || cause.starts_with("\"requested len ") {
        return Failure::new(Outcome::HostCallExceeded, cause);
    }
    if cause.contains("cannot allocate another handle") || cause.contains("store handle limit exceeded") {
        return Failure::new(Outcome::HandlesExceeded, cause);
    }
    Failure::new(Outcome::Trapped, format!("{cause}; {}", summary(error)))
}

/// Whether the kernel has refused memory to the engine. Growth that it refuses fails in the guest instead.
fn is_out_of_maps(error: &wasmtime::Error) -> bool {
    let cause = error.root_cause();
    let is_memory = |error: &std::io::Error| error.kind() == std::io::ErrorKind::OutOfMemory;
    cause.downcast_ref() == Some(&rustix::io::Errno::NOMEM) || cause.downcast_ref().is_some_and(is_memory)
}

/// Summarizes the error and where it happened in the guest, without the long tail of a deep stack. Names come from the
/// guest.
fn summary(error: &wasmtime::Error) -> Quoted {
    let text = shortened(format_args!("{error:#}"), SUMMARY);
    Quoted::text(&text.lines().take(12).map(str::trim).collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    /// Names in a backtrace come from the guest, and may be as long as its component.
    #[test]
    fn a_backtrace_is_short_and_on_one_line() {
        let name = format!("outcome=ok\\n{}", "\\u{1b}x".repeat(1 << 14));
        let text = format!("(module (func (export \"run\") call $a) (func $a (@name \"{name}\") unreachable))");
        let engine = Engine::default();
        let module = Module::new(&engine, wat::parse_str(text).expect("a module")).expect("it compiles");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("it starts");
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").expect("a function");
        let error = run.call(&mut store, ()).expect_err("it traps");
        let summary = summary(&error).to_string();
        assert!(summary.contains("outcome=ok"), "the name is there: {summary}");
        assert!(summary.len() < 600 && summary.starts_with('"') && !summary.contains(['\n', '\u{1b}']), "{summary}");
    }
}
