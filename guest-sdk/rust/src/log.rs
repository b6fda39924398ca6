//! Log lines, written by the host with the request's id, route and component. Lines beyond the route's limit are
//! dropped and counted. A panic writes a line at [`Level::Error`].
//!
//! With the feature `log` (on by default) the macros of the `log` crate write here too, both a guest's own and those of
//! the crates it uses: `roadrunner_guest::log::info!("{count} left")`. With the feature `tracing` the events of the
//! `tracing` crate become such lines, too, with their fields after the message, unless the guest has set its own
//! subscriber.

#[cfg(target_family = "wasm")]
use std::panic::PanicHookInfo;

use crate::bindings::roadrunner::handler::log as wit;

#[cfg(feature = "log")]
pub use ::log::{debug, error, info, trace, warn};

/// The severity of a line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Everything.
    Trace,
    /// For the developer.
    Debug,
    /// For the operator.
    Info,
    /// Unexpected, handled.
    Warn,
    /// Failed.
    Error,
}

/// Writes one line.
pub fn write(level: Level, message: &str) {
    let level = match level {
        Level::Trace => wit::Level::Trace,
        Level::Debug => wit::Level::Debug,
        Level::Info => wit::Level::Info,
        Level::Warn => wit::Level::Warn,
        Level::Error => wit::Level::Error,
    };
    wit::log(level, message);
}

/// Sends panics here, a line each, and the lines of the `log` crate.
#[cfg(target_family = "wasm")]
pub(crate) fn install() {
    std::panic::set_hook(Box::new(report));
    bridge();
}

/// Makes this the logger of the `log` crate unless there is one. The host filters lines, so every level passes.
pub(crate) fn bridge() {
    #[cfg(feature = "log")]
    if ::log::set_logger(&HostLogger).is_ok() {
        ::log::set_max_level(::log::LevelFilter::Trace);
    }
}

#[cfg(target_family = "wasm")]
fn report(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("a panic without a message");
    let line = match panic.location() {
        Some(place) => format!("panicked at {place}: {message}"),
        None => format!("panicked: {message}"),
    };
    write(Level::Error, &line);
}

#[cfg(feature = "log")]
struct HostLogger;

#[cfg(feature = "log")]
impl ::log::Log for HostLogger {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        let level = match record.level() {
            ::log::Level::Trace => Level::Trace,
            ::log::Level::Debug => Level::Debug,
            ::log::Level::Info => Level::Info,
            ::log::Level::Warn => Level::Warn,
            ::log::Level::Error => Level::Error,
        };
        match record.args().as_str() {
            Some(message) => write(level, message),
            None => write(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
