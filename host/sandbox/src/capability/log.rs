//! Lines that a guest writes: `log.log`, standard output and standard error.
//!
//! All three share the limit `log-bytes` of the instance, and the quota of its tenant. What goes over either is dropped
//! and counted; the first line that is dropped leaves one warning, of a tenant one in a second.

use crate::meter::Meter;

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
pub(crate) fn write(meter: &Meter, limit: u64, level: Level, message: &str) {
    let first_drop = meter.log_dropped() == 0;
    let bytes = message.len() as u64 + 1;
    if !meter.take_log(bytes, limit) {
        if first_drop && meter.is_over_log(bytes, limit) {
            emit(meter, Level::Warn, &format!("log-bytes ({limit}) is used up; further lines are dropped"));
        } else if let Some(tenant) = &meter.subject.tenant
            && !meter.is_over_log(bytes, limit)
            && tenant.log_bytes.tells()
        {
            emit(meter, Level::Warn, "log-bytes-per-second of the tenant is used up; further lines are dropped");
        }
        return;
    }
    emit(meter, level, message);
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
                "{}",
                Line(message)
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

/// A guest's text on one line: control characters are written as escapes, so that no guest can forge a line.
pub(crate) struct Line<'a>(pub(crate) &'a str);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        for character in self.0.chars() {
            match character {
                '\t' => f.write_char(character)?,
                control if control.is_control() => write!(f, "{}", control.escape_default())?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_forge_a_line() {
        assert_eq!(Line("a\r\nb\u{1b}[2J\u{85}\tü").to_string(), "a\\r\\nb\\u{1b}[2J\\u{85}\tü");
    }
}
