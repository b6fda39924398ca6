//! The guest's actions in its session: each call goes to the session itself, where the stream's own back-pressure holds
//! it up. The port also counts traffic, and notes since when a call has waited for the client.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use roadrunner_sandbox::{Waits, WebTransport, WebTransportError};
use roadrunner_wire::webtransport::{Close, DatagramError, Session, StreamError};

/// The bytes of a guest's data that must be sent to count as progress.
const STEP: usize = 64 << 10;

/// The session, shared by its guest and its pump.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) session: Session,
    closed: AtomicBool,
    sent: AtomicU64,
    streams: AtomicU64,
    datagrams: AtomicU64,
    /// The time since which a call has waited for the client without progress.
    waits: Mutex<Option<Instant>>,
}

impl Port {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            closed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            waits: Mutex::new(None),
        }
    }

    /// Whether the guest has closed the session.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// The time since which a call of the guest has waited for the client.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        *self.waits.lock()
    }

    /// Bytes sent on streams and in datagrams.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Streams that the guest has opened, and datagrams that it has sent.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.streams.load(Relaxed), self.datagrams.load(Relaxed))
    }

    /// Runs a part of a call that may have to wait, and lets the pump see the wait.
    async fn watched<T>(&self, part: impl Future<Output = Result<T, StreamError>>) -> Result<T, WebTransportError> {
        let mut part = pin!(part);
        let _over = Over(self);
        poll_fn(|context| {
            let polled = part.as_mut().poll(context);
            if polled.is_pending() {
                self.waits.lock().get_or_insert_with(Instant::now);
            }
            match polled {
                Poll::Ready(result) => Poll::Ready(result.map_err(refusal)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// A guard that ends a wait when its call has gone on, or was dropped.
struct Over<'a>(&'a Port);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        *self.0.waits.lock() = None;
    }
}

impl WebTransport for Port {
    fn open(&self, bidirectional: bool) -> Waits<'_, u64> {
        Box::pin(async move {
            let id = self.watched(self.session.open(bidirectional)).await?;
            self.streams.fetch_add(1, Relaxed);
            Ok(id)
        })
    }

    fn send(&self, id: u64, mut bytes: Bytes) -> Waits<'_, ()> {
        Box::pin(async move {
            loop {
                let step = bytes.split_to(bytes.len().min(STEP));
                let length = step.len();
                self.watched(self.session.send(id, step)).await?;
                self.sent.fetch_add(length as u64, Relaxed);
                if bytes.is_empty() {
                    return Ok(());
                }
            }
        })
    }

    fn finish(&self, id: u64) {
        self.session.finish(id);
    }

    fn reset(&self, id: u64, code: u32) {
        self.session.reset(id, code);
    }

    fn stop(&self, id: u64, code: u32) {
        self.session.stop(id, code);
    }

    fn send_datagram(&self, bytes: &[u8]) -> Result<(), WebTransportError> {
        match self.session.send_datagram(bytes) {
            Ok(()) => {
                self.datagrams.fetch_add(1, Relaxed);
                self.sent.fetch_add(bytes.len() as u64, Relaxed);
                Ok(())
            }
            Err(DatagramError::ConnectionLost) => Err(WebTransportError::Closed),
            Err(DatagramError::TooLarge) => {
                let limit = self.session.max_datagram_size().unwrap_or(0);
                Err(WebTransportError::TooLarge(limit as u64))
            }
            Err(DatagramError::Unsupported) => Err(WebTransportError::Refused("the client takes no datagrams")),
        }
    }

    fn close(&self, code: u32, reason: &str) {
        self.closed.store(true, Relaxed);
        self.session.close(&Close::new(code, reason));
    }
}

fn refusal(error: StreamError) -> WebTransportError {
    match error {
        StreamError::Closed => WebTransportError::Closed,
        StreamError::TooMany { .. } => WebTransportError::Refused("webtransport.streams"),
    }
}
