//! HTTP datagrams (RFC 9297 section 2.1): datagrams of the connection, sorted by their stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use quinn::SendDatagramError;

use crate::code::{Code, Fault};
use crate::datagram_queue::Queue;
use crate::shared::Shared;
use crate::varint;

/// Splits a datagram of the connection into its stream and its payload.
///
/// # Errors
/// `H3_DATAGRAM_ERROR` when there is no identifier, or an identifier that no stream can have.
pub fn parse(mut datagram: Bytes) -> Result<(u64, Bytes), Fault> {
    match varint::read(&mut datagram) {
        Some(quarter) if quarter <= varint::MAX / 4 => Ok((quarter * 4, datagram)),
        Some(_) => Err(Fault::connection(Code::DATAGRAM_ERROR, "a quarter stream identifier above 2^60")),
        None => Err(Fault::connection(Code::DATAGRAM_ERROR, "a datagram without a quarter stream identifier")),
    }
}

/// The datagrams of one stream.
#[derive(Debug)]
pub struct Datagrams {
    shared: Arc<Shared>,
    stream: u64,
    queue: Arc<Queue>,
}

impl Datagrams {
    pub(crate) fn new(shared: Arc<Shared>, stream: u64) -> Datagrams {
        let queue = shared.datagrams.open(stream);
        Datagrams { shared, stream, queue }
    }

    /// Receives the next datagram; `None` once the connection has ended.
    ///
    /// Datagrams that come faster than they are read are dropped, oldest first, above
    /// [`WebTransportCaps::datagram_queue`](roadrunner_values::WebTransportCaps::datagram_queue). May be cancelled.
    pub async fn recv(&self) -> Option<Bytes> {
        tokio::select! {
            biased;
            datagram = std::future::poll_fn(|cx| self.poll_recv(cx)) => Some(datagram),
            _ = self.shared.quic.closed() => None,
        }
    }

    /// Polls as [`Datagrams::recv`], for one task; it stays pending once the connection has ended.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.queue.arrived.register(cx.waker());
        self.queue.datagrams.lock().pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// The bytes that wait to be read.
    pub fn buffered(&self) -> usize {
        self.queue.datagrams.lock().iter().map(Bytes::len).sum()
    }

    /// Lowers the number of waiting datagrams below
    /// [`WebTransportCaps::datagram_queue`](roadrunner_values::WebTransportCaps::datagram_queue).
    pub(crate) fn set_limit(&self, limit: usize) {
        self.queue.limit.fetch_min(limit.max(1), Ordering::AcqRel);
    }

    /// Sends a datagram. It may be lost, and displaces older datagrams that wait to be sent.
    ///
    /// # Errors
    /// See [`DatagramError`].
    pub fn send(&self, payload: &[u8]) -> Result<(), DatagramError> {
        // RFC 9297 section 2.1.1: not before the client's SETTINGS allow it.
        if !self.shared.peer().is_some_and(|settings| settings.h3_datagram) {
            return Err(DatagramError::Unsupported);
        }
        let quarter = self.stream / 4;
        let mut datagram = BytesMut::with_capacity(varint::size(quarter) + payload.len());
        varint::write(quarter, &mut datagram);
        datagram.extend_from_slice(payload);
        self.shared.quic.send_datagram(datagram.freeze()).map_err(|error| match error {
            SendDatagramError::ConnectionLost(_) => DatagramError::ConnectionLost,
            SendDatagramError::TooLarge => DatagramError::TooLarge,
            SendDatagramError::Disabled | SendDatagramError::UnsupportedByPeer => DatagramError::Unsupported,
        })
    }

    /// The most bytes that [`Datagrams::send`] takes now; it changes with the path. `None` if it takes none.
    pub fn max_size(&self) -> Option<usize> {
        self.shared.quic.max_datagram_size()?.checked_sub(varint::size(self.stream / 4))
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.shared.datagrams.close(self.stream);
    }
}

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// The connection has ended.
    #[error("the connection was lost")]
    ConnectionLost,
    /// It is larger than [`Datagrams::max_size`].
    #[error("the datagram is too large for the path")]
    TooLarge,
    /// The client has not announced that it accepts datagrams.
    #[error("the client does not take datagrams")]
    Unsupported,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9297_section_2_1() {
        assert_eq!(parse(Bytes::from_static(b"\x02abc")), Ok((8, Bytes::from_static(b"abc"))));
        assert_eq!(parse(Bytes::from_static(b"\0")), Ok((0, Bytes::new())));
        for bad in [&b""[..], b"\x40", &[0xd0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(parse(Bytes::copy_from_slice(bad)).map_err(|fault| fault.code()), Err(Code::DATAGRAM_ERROR));
        }
    }
}
