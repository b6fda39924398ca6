//! The stream of a session's CONNECT: capsules in both directions, and how the session ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::close::{CLOSE, Close, DRAIN, MAX_REASON};
use crate::capsule::{Capsule, CapsuleReader};
use crate::code::Fault;
use crate::tunnel::Tunnel;

/// The tunnel of a session.
#[derive(Debug)]
pub(super) struct Connect {
    /// `None` once it is over in both directions.
    tunnel: Option<Tunnel>,
    capsules: CapsuleReader,
    input: Bytes,
    /// Bytes still to be written: a few capsules.
    outgoing: BytesMut,
}

/// A message of the client.
#[derive(Debug)]
pub(super) enum Said {
    Drain,
    End(End),
}

/// How a client ended its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed it cleanly.
    Closed(Close),
    /// The connection is gone.
    Lost,
    /// The client reset the stream of the CONNECT.
    Reset,
    /// The client broke a rule, and its stream was reset for it.
    Violation(Fault),
}

impl Connect {
    pub(super) fn new(tunnel: Tunnel) -> Connect {
        let capsules = CapsuleReader::new(&[CLOSE, DRAIN], 4 + MAX_REASON as u64);
        Connect { tunnel: Some(tunnel), capsules, input: Bytes::new(), outgoing: BytesMut::new() }
    }

    /// Sends a capsule when the tunnel is next polled.
    pub(super) fn queue(&mut self, capsule: &Capsule) {
        capsule.write(&mut self.outgoing);
    }

    /// Writes the queued bytes and reads the next relevant message.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Said> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Said::End(self.broken(&error)));
        }
        loop {
            match self.next_capsule() {
                Ok(Some(said)) => return Poll::Ready(said),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Said::End(self.violated(fault))),
            }
            let Some(tunnel) = &mut self.tunnel else { return Poll::Pending };
            let mut buffer = [0; 1024];
            let mut read = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(tunnel).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => self.input = Bytes::copy_from_slice(read.filled()),
                // draft-ietf-webtrans-http3-02 section 5: an end without a capsule is a close with code 0.
                Ok(()) => {
                    return Poll::Ready(Said::End(match self.capsules.finish() {
                        Ok(()) => End::Closed(Close::default()),
                        Err(fault) => self.violated(fault),
                    }));
                }
                Err(error) => return Poll::Ready(Said::End(self.broken(&error))),
            }
        }
    }

    /// Writes the queued bytes, and then finishes the stream.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let written = ready!(self.poll_write(cx));
        if let (Ok(()), Some(tunnel)) = (written, &mut self.tunnel) {
            // This fails for a client that has left.
            let _ = ready!(Pin::new(tunnel).poll_shutdown(cx));
        }
        self.tunnel = None;
        Poll::Ready(())
    }

    fn next_capsule(&mut self) -> Result<Option<Said>, Fault> {
        let Some(capsule) = self.capsules.next(&mut self.input)? else { return Ok(None) };
        if capsule.kind == DRAIN {
            return Ok(Some(Said::Drain));
        }
        let close = Close::read(capsule.value)?;
        // draft-ietf-webtrans-http3-02 section 5: nothing may follow it.
        if !self.input.is_empty() {
            return Err(Fault::malformed("bytes behind CLOSE_WEBTRANSPORT_SESSION"));
        }
        Ok(Some(Said::End(End::Closed(close))))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tunnel) = &mut self.tunnel else { return Poll::Ready(Ok(())) };
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut *tunnel).poll_write(cx, &self.outgoing))?;
            self.outgoing.advance(written);
        }
        Pin::new(tunnel).poll_flush(cx)
    }

    fn broken(&mut self, error: &io::Error) -> End {
        self.tunnel = None;
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()) {
            Some(fault) => End::Violation(fault.clone()),
            None if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            None => End::Lost,
        }
    }

    fn violated(&mut self, fault: Fault) -> End {
        if let Some(tunnel) = self.tunnel.take() {
            tunnel.abort(fault.code());
        }
        End::Violation(fault)
    }
}
