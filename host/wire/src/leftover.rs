//! The part of an HTTP/1 request body that a service leaves unread. The next request comes after it. So it is read and
//! dropped within bounds, or the client is told that the connection closes (RFC 9112, 9.3).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Version, header};
use hyper::body::{Body, Incoming};

use crate::control::Control;

/// The treatment of a body that is dropped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// The connection closes anyway, or the protocol needs no help.
    Closes,
    /// The body is read to its end.
    Drained,
    /// The client waits for `100 Continue`, and may or may not send the body without it (RFC 9110, 10.1.1).
    Expected,
}

impl Leftover {
    pub(crate) fn of(version: Version, headers: &HeaderMap) -> Leftover {
        let has = |name, wanted: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(wanted))
        };
        let closes = match version {
            Version::HTTP_11 => has(header::CONNECTION, "close"),
            Version::HTTP_10 => !has(header::CONNECTION, "keep-alive"),
            _ => true,
        };
        if closes {
            Leftover::Closes
        } else if has(header::EXPECT, "100-continue") {
            Leftover::Expected
        } else {
            Leftover::Drained
        }
    }

    /// Takes the rest of a body.
    pub(crate) fn take(self, body: Incoming, control: &Control) {
        let fits = body.size_hint().exact().is_none_or(|left| left <= MOST);
        if self == Leftover::Drained && fits {
            control.drain_body(body);
        } else {
            control.leave_unread();
        }
    }
}

/// Reads the rest, in the task of the connection.
#[derive(Default)]
pub(crate) struct Drain {
    /// Resolves to whether the end was reached.
    reading: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
}

impl Drain {
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Whether there was a rest to read and it has been read, so that the protocol below can go on.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, control: &Control, patience: Duration) -> bool {
        if !control.is_draining() {
            return false;
        }
        if self.reading.is_none() {
            let Some(body) = control.body_to_drain() else { return false };
            let reading = tokio::time::timeout(patience, read(body));
            self.reading = Some(Box::pin(async { reading.await.unwrap_or(false) }));
        }
        let Some(reading) = &mut self.reading else { return false };
        let Poll::Ready(ended) = reading.as_mut().poll(cx) else { return false };
        self.reading = None;
        control.has_drained(ended);
        true
    }
}

async fn read(mut body: Box<Incoming>) -> bool {
    let mut left = MOST;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else { return false };
        left = rest;
    }
    true
}

/// The most bytes of a body that are read and dropped; beyond it, a new connection costs a client less than sending the
/// rest.
const MOST: u64 = 256 * 1024;
