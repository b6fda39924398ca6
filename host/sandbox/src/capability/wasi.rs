//! What a guest's language runtime needs of WASI 0.2: clocks, random numbers, standard output and error (to the
//! log), and the environment that the manifest gives it. No sockets, no names, no arguments, no current directory, and
//! nothing of the host's own environment; directories are `filesystem`'s.
//!
//! The context is built when a guest first calls into WASI and not before: most never do.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::log::{self, Level};
use crate::meter::Meter;

/// Bytes that one call of `wasi:random` brings. WASI 0.2 promises as many as were asked for, so that a call for more is a
/// trap; that of WASI 0.3 brings so many.
const RANDOM: u64 = 64 << 10;

/// The longest line; a longer one is cut in two.
const MAX_LINE: usize = 4096;

/// On whose account a guest prints. Guests keep their handles on standard output; in an instance that is reused, what
/// goes through them must count for the request at hand.
#[derive(Clone)]
pub(crate) struct Account(Arc<Mutex<Arc<Meter>>>);

impl Account {
    pub(crate) fn new(meter: &Arc<Meter>) -> Self {
        Self(Arc::new(Mutex::new(meter.clone())))
    }

    /// From now on it is this request's.
    pub(crate) fn set(&self, meter: &Arc<Meter>) {
        *self.0.lock() = meter.clone();
    }
}

/// A context that grants an environment and nothing else.
pub(crate) fn context(account: &Account, log_bytes: u64, environment: &[(String, String)]) -> WasiCtx {
    let log = |level| LineLog { account: account.clone(), limit: log_bytes, level, line: Vec::new() };
    WasiCtxBuilder::new()
        .stdout(log(Level::Info))
        .stderr(log(Level::Warn))
        .envs(environment)
        .allow_blocking_current_thread(false)
        .max_random_size(RANDOM)
        .build()
}

/// Cuts what a guest prints into lines and logs them.
#[derive(Clone)]
struct LineLog {
    account: Account,
    limit: u64,
    level: Level,
    line: Vec<u8>,
}

impl LineLog {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(MAX_LINE) {
                self.line.extend_from_slice(part);
                if self.line.ends_with(b"\n") || self.line.len() >= MAX_LINE {
                    self.end_line();
                }
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
        if !text.is_empty() {
            let meter = self.account.0.lock().clone();
            log::write(&meter, self.limit, self.level, &text);
        }
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        self.end_line();
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
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
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
