//! Log lines of a guest: `log.log`, standard output and standard error; and the host's own lines about a guest, as far
//! as the guest can make them long.
//!
//! All of them share the limit `log-bytes` of the instance, and the quota of its tenant. Text over either is dropped
//! and counted. The first line over the instance's limit leaves a warning; the tenant's quota leaves at most one
//! warning a second.

use roadrunner_log::escaped;

use crate::meter::Meter;

/// The most bytes of one line; the rest is cut.
const MAX_LINE: usize = 8 << 10;

/// The smallest size that a line counts as: the host writes more than that in addition to the line.
const LEAST: u64 = 16;

/// The severity of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Every step.
    Trace,
    /// Facts for the search for a fault.
    Debug,
    /// Ordinary events.
    Info,
    /// Something is wrong, and the work goes on.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line to the host's log, if the instance may still log.
pub fn write(meter: &Meter, level: Level, message: &str) {
    let message = escaped(message, MAX_LINE);
    if admits(meter, &message) {
        emit(meter, level, &message);
    }
}

/// Whether an instance may still log this text. The text is charged to it.
pub fn admits(meter: &Meter, text: &str) -> bool {
    let first_drop = meter.log_dropped() == 0;
    let bytes = (text.len() as u64 + 1).max(LEAST);
    if meter.take_log(bytes) {
        return true;
    }
    if first_drop && meter.is_over_log(bytes) {
        let limit = meter.log_limit();
        emit(meter, Level::Warn, &format!("log-bytes ({limit}) is used up; further lines are dropped"));
    } else if let Some(tenant) = &meter.subject.tenant
        && !meter.is_over_log(bytes)
        && tenant.log_bytes.tells()
    {
        emit(meter, Level::Warn, "log-bytes-per-second of the tenant is used up; further lines are dropped");
    }
    false
}

fn emit(meter: &Meter, level: Level, message: &str) {
    let subject = &meter.subject;
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "guest",
                tracing::Level::$level,
                request = %subject.request,
                tenant = subject.tenant.as_ref().map(|tenant| &*tenant.name),
                component = %subject.component,
                route = %subject.route,
                instance = meter.id,
                "{message}"
            )
        };
    }
    match level {
        Level::Trace => event!(TRACE),
        Level::Debug => event!(DEBUG),
        Level::Info => event!(INFO),
        Level::Warn => event!(WARN),
        Level::Error => event!(ERROR),
    }
}
