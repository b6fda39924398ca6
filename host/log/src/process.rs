//! The log of the process: one, which every line and every event reaches.

use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Level;

use crate::events;
use crate::line::{Format, Line};
use crate::queue::Owner;
use crate::writer::{Dropped, Log};

/// The log of the process.
static LOG: OnceLock<Log> = OnceLock::new();

/// Starts the log of the process, to standard error. `RUST_LOG` filters events (default: info). A second call, in a
/// test, returns the first one's log.
///
/// # Errors
/// When its thread cannot be started, or standard error is closed.
pub fn start(format: Format) -> io::Result<&'static Log> {
    if let Some(log) = LOG.get() {
        return Ok(log);
    }
    // Not through the library's handle, since others would wait for its lock.
    let reader = std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned()?;
    let log = LOG.get_or_init({
        let log = Log::to(format, std::fs::File::from(reader))?;
        || log
    });
    events::listen(log);
    Ok(log)
}

/// Writes a line to the log of the process, if it was started.
pub fn line(level: Level, target: &str, owner: Owner<'_>, write: impl FnOnce(&mut Line<'_>)) {
    if let Some(log) = LOG.get() {
        log.line(level, target, owner, write);
    }
}

/// Writes a line unchanged to the log of the process; to standard error if no log was started.
pub fn raw(owner: Owner<'_>, line: &[u8]) {
    match LOG.get() {
        Some(log) => log.raw(owner, line),
        // A failure cannot be reported anywhere.
        None => drop(io::stderr().write_all(line)),
    }
}

/// Waits at most this long until the log of the process is written. Returns whether it is.
pub fn flush(most: Duration) -> bool {
    LOG.get().is_none_or(|log| log.flush(most))
}

/// The lines that the log of the process has dropped.
pub fn dropped() -> Dropped {
    LOG.get().map(Log::dropped).unwrap_or_default()
}
