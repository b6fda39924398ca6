//! The parts of WASI 0.2 that a guest's language runtime needs: clocks, random numbers, standard output and error (to
//! the log), and the environment that the manifest sets. Guests get no sockets, no name lookups, no arguments, no
//! current directory, and nothing of the host's own environment; directories are in `filesystem`.
//!
//! The context is built when a guest first calls into WASI: most guests never do.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use roadrunner_account::{LogLevel, Meter, write};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

/// The most bytes that one call of `wasi:random` returns. WASI 0.2 promises as many as requested, so a call for more
/// traps; a call of WASI 0.3 returns this many.
const RANDOM: u64 = 64 << 10;

/// The longest line; a longer line is split in two.
const MAX_LINE: usize = 4096;

/// A guest's printed output, and its account. Guests open standard output once for all or for each piece of a line, and
/// keep their handles in a reused instance. So a line belongs to the instance, and counts for the current request.
#[derive(Clone)]
pub(crate) struct Printer(Arc<Mutex<Printed>>);

struct Printed {
    meter: Arc<Meter>,
    output: Vec<u8>,
    error: Vec<u8>,
}

impl Printer {
    pub(crate) fn new(meter: &Arc<Meter>) -> Self {
        Self(Arc::new(Mutex::new(Printed { meter: meter.clone(), output: Vec::new(), error: Vec::new() })))
    }

    /// Charges further output to this request.
    pub(crate) fn set(&self, meter: &Arc<Meter>) {
        let mut printed = self.0.lock();
        printed.end();
        printed.meter = meter.clone();
    }

    /// Ends unfinished lines.
    pub(crate) fn end(&self) {
        self.0.lock().end();
    }
}

impl Printed {
    fn push(&mut self, place: Place, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(MAX_LINE) {
                let line = self.line(place);
                line.extend_from_slice(part);
                if line.ends_with(b"\n") || line.len() >= MAX_LINE {
                    self.end_line(place);
                }
            }
        }
    }

    fn end(&mut self) {
        self.end_line(Place::Output);
        self.end_line(Place::Error);
    }

    fn end_line(&mut self, place: Place) {
        let line = std::mem::take(self.line(place));
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text));
        if !text.is_empty() {
            write(&self.meter, place.level(), &text);
        }
    }

    fn line(&mut self, place: Place) -> &mut Vec<u8> {
        match place {
            Place::Error => &mut self.error,
            Place::Output => &mut self.output,
        }
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        self.end();
    }
}

/// The stream that a guest prints to.
#[derive(Clone, Copy)]
enum Place {
    Error,
    Output,
}

impl Place {
    fn level(self) -> LogLevel {
        match self {
            Self::Error => LogLevel::Warn,
            Self::Output => LogLevel::Info,
        }
    }
}

/// Builds a context that grants an environment and nothing else.
pub(crate) fn context(printer: &Printer, environment: &[(String, String)]) -> WasiCtx {
    let log = |place| LineLog { printer: printer.clone(), place };
    WasiCtxBuilder::new()
        .stdout(log(Place::Output))
        .stderr(log(Place::Error))
        .envs(environment)
        .allow_blocking_current_thread(false)
        .max_random_size(RANDOM)
        .build()
}

/// A guest's handle on standard output or standard error.
#[derive(Clone)]
struct LineLog {
    printer: Printer,
    place: Place,
}

impl LineLog {
    fn push(&self, bytes: &[u8]) {
        self.printer.0.lock().push(self.place, bytes);
    }
}

impl IsTerminal for LineLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineLog {
    async fn ready(&mut self) {}
}

impl OutputStream for LineLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

impl AsyncWrite for LineLog {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
