//! File streams: a writer that goes through a disk, and the engine's own reader.

use std::fs::File;
use std::io;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use roadrunner_account::Charge;
use roadrunner_disk::{Disk, Place};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynInputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

/// The most bytes that a stream holds: one piece that is being read or written.
pub(super) const HOLDS: u64 = 64 << 10;

/// Reads a file.
pub(super) struct Reader {
    pub(super) inner: DynInputStream,
    pub(super) _charge: Charge,
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.inner.read(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.inner.blocking_read(size).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// Writes a file, piece by piece.
pub(super) struct Writer {
    disk: Disk,
    file: Arc<File>,
    place: Place,
    phase: Phase,
    _charge: Charge,
}

enum Phase {
    Ready,
    Writing(AbortOnDropJoinHandle<io::Result<usize>>),
    Failed(io::Error),
    Closed,
}

impl Writer {
    pub(super) fn new(disk: Disk, file: Arc<File>, place: Place, charge: Charge) -> Self {
        Self { disk, file, place, phase: Phase::Ready, _charge: charge }
    }

    /// Reports a failure, once.
    fn check(&mut self) -> StreamResult<()> {
        match &self.phase {
            Phase::Ready | Phase::Writing(_) => Ok(()),
            Phase::Closed => Err(StreamError::Closed),
            Phase::Failed(_) => match mem::replace(&mut self.phase, Phase::Closed) {
                Phase::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
                _ => Err(StreamError::Closed),
            },
        }
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        let Phase::Writing(task) = &mut self.phase else { return };
        self.phase = match task.await {
            Ok(written) => {
                if let Place::At(offset) = &mut self.place {
                    *offset += written as u64;
                }
                Phase::Ready
            }
            Err(error) => Phase::Failed(error),
        };
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.check()?;
        if !matches!(self.phase, Phase::Ready) || bytes.len() as u64 > HOLDS {
            return Err(StreamError::trap("more was written than check-write has allowed"));
        }
        let (disk, file, place) = (self.disk.clone(), self.file.clone(), self.place);
        self.phase = Phase::Writing(spawn(async move { disk.write(file, place, bytes).await }));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        Ok(match self.phase {
            Phase::Ready => HOLDS as usize,
            _ => 0,
        })
    }

    async fn cancel(&mut self) {
        // Accepted bytes are written first.
        self.ready().await;
        self.phase = Phase::Closed;
    }
}
