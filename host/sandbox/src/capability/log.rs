//! Lines that a guest writes: `log.log`, standard output and standard error; and what the host says of a guest in its
//! own lines, as far as the guest can make it long.
//!
//! All of them share the limit `log-bytes` of the instance, and the quota of its tenant. What goes over either is dropped
//! and counted; the first line that is dropped leaves one warning, of a tenant one in a second.

use roadrunner_log::escaped;

use crate::meter::Meter;

/// The most bytes of one line; what is behind them is cut.
const MAX_LINE: usize = 8 << 10;

/// What a line counts at least: the host writes more beside it than that.
const LEAST: u64 = 16;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes one line to the host's log, if the instance may still log.
pub(crate) fn write(meter: &Meter, level: Level, message: &str) {
    let message = escaped(message, MAX_LINE);
    if admits(meter, &message) {
        emit(meter, level, &message);
    }
}

/// Whether an instance may still have this text in the log. It is charged for it.
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
