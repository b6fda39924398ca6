//! The stream that hyper reads from and writes to: plain or TLS. It replays the bytes that the sniffing has read, notes
//! how the connection ends, and on HTTP/2 tracks the frames.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use roadrunner_values::TransportSettings;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::frames::{self, Inbound, Outbound};
use crate::h2c::Injection;
use crate::heads::{Heads, Verdict};
use crate::sniff::Start;
use crate::socket::Socket;
use crate::{Connection, Ending, Protocol, marks};

/// One connection's stream. It lives as long as something reads or writes it, including a tunnel.
pub(crate) struct Io {
    transport: Transport,
    start: Start,
    connection: Arc<Connection>,
    watch: Watch,
}

pub(crate) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// The tracker of the bytes that pass.
enum Watch {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
}

struct Http1 {
    heads: Heads,
    /// Bytes that were read and may not pass yet.
    held: Vec<u8>,
}

struct Http2 {
    inbound: Inbound,
    outbound: Outbound,
    /// The request that began the connection on HTTP/1, until it has passed.
    injection: Option<Injection>,
}

impl Io {
    pub(crate) fn new(
        transport: Transport,
        start: Start,
        connection: Arc<Connection>,
        settings: &TransportSettings,
    ) -> Io {
        connection.stats.open_by(connection.protocol).fetch_add(1, Relaxed);
        let watch = match connection.protocol {
            Protocol::Http1 => Watch::Http1(Box::new(Http1 { heads: Heads::new(), held: Vec::new() })),
            Protocol::Http2 | Protocol::Http3 => Watch::Http2(Box::new(Http2 {
                inbound: Inbound::new(settings.http2.control_frames_per_second, settings.http2.resets_per_second),
                outbound: Outbound::default(),
                injection: None,
            })),
        };
        Io { transport, start, connection, watch }
    }

    /// Makes the stream of a plain connection that has switched to HTTP/2, from its HTTP/1 stream, which hyper gave
    /// back together with bytes that it has read, and from the request as a frame to inject.
    pub(crate) fn upgraded(
        mut http1: Io,
        read: &[u8],
        request: Vec<u8>,
        connection: Arc<Connection>,
        settings: &TransportSettings,
    ) -> Option<Io> {
        let Transport::Plain(socket) = &http1.transport else {
            return None;
        };
        let mut waiting = read.to_vec();
        waiting.extend_from_slice(http1.start.take(usize::MAX));
        if let Watch::Http1(http1) = &mut http1.watch {
            waiting.append(&mut http1.held);
        }
        let mut io = Io::new(Transport::Plain(socket.clone()), Start::default(), connection, settings);
        if let Watch::Http2(http2) = &mut io.watch {
            http2.injection = Some(Injection::new(request, waiting));
        }
        Some(io)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Watch::Http1(http1) = &mut self.watch {
            if let Some(requests) = http1.heads.is_held() {
                let control = &self.connection.control;
                if control.is_upgrading() {
                    // The next bytes are HTTP/2.
                    return Poll::Pending;
                }
                if control.is_tunnel() {
                    http1.heads.become_tunnel();
                } else if control.requests() >= requests && control.in_flight() == 0 {
                    http1.heads.resume();
                } else {
                    // The connection's task polls again at the end of the exchange; a tunnel polls by itself.
                    marks::read_held();
                    return Poll::Pending;
                }
            }
            if http1.heads.is_refused() {
                if self.start.is_empty() {
                    return Poll::Pending;
                }
                buf.put_slice(self.start.take(buf.remaining()));
                return Poll::Ready(Ok(()));
            }
            if !http1.held.is_empty() {
                let taken = http1.held.len().min(buf.remaining());
                buf.put_slice(&http1.held[..taken]);
                http1.held.drain(..taken);
                if http1.held.is_empty() {
                    http1.held = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
        }
        if let Watch::Http2(http2) = &mut self.watch
            && http2.injection.is_some()
        {
            return poll_injected(http2, &mut self.transport, cx, buf);
        }
        let replayed = !self.start.is_empty();
        if replayed {
            buf.put_slice(self.start.take(buf.remaining()));
        }
        let polled = self.transport.poll_read(cx, buf);
        // The sniffed bytes are passed up together with the next bytes, so that a request that came in one piece is
        // parsed once, from one buffer. If there are no more bytes yet, or the stream has ended, the next read will
        // tell.
        if replayed { Poll::Ready(Ok(())) } else { polled }
    }

    /// Passes the allowed part of an HTTP/1 client's bytes. It replaces refused bytes with bytes that no parser
    /// accepts. hyper then answers 400, or fails the body that contains them, and closes.
    fn guard(&mut self, buf: &mut ReadBuf<'_>) {
        let Watch::Http1(http1) = &mut self.watch else {
            return;
        };
        if http1.heads.is_refused() {
            return;
        }
        let verdict = http1.heads.feed(buf.filled_mut());
        if let Some(request) = http1.heads.unsupported() {
            self.connection.control.note_unsupported(request);
        }
        match verdict {
            Verdict::Pass => {}
            Verdict::Hold(at) => {
                http1.held.splice(..0, buf.filled()[at..].iter().copied());
                buf.set_filled(at);
            }
            Verdict::Refuse(at) => {
                tracing::debug!(connection = self.connection.id, "refusing a request that is framed in two ways");
                http1.held = Vec::new();
                buf.set_filled(at);
                let (now, later) = POISON.split_at(POISON.len().min(buf.remaining()));
                buf.put_slice(now);
                self.start = Start::of(later);
            }
        }
    }

    /// Whether an HTTP/1 client has closed its side and may still wait for an answer. hyper would take that end for the
    /// client's departure, so it learns of it only after the answer.
    fn holds_end(&self, read: &io::Result<()>) -> bool {
        let Watch::Http1(http1) = &self.watch else {
            return false;
        };
        let is_end = read.as_ref().err().is_none_or(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        let control = &self.connection.control;
        let is_answered = control.in_flight() > 0 || marks::is_write_blocked();
        let holds =
            is_end && is_answered && http1.heads.is_between_requests() && !control.is_held() && !control.is_tunnel();
        if holds {
            marks::read_held();
        }
        holds
    }

    /// Notes the bytes that were read, and their meaning for the connection.
    fn note_read(&mut self, cx: &mut Context<'_>, read: &io::Result<&[u8]>) -> io::Result<()> {
        let bytes = match read {
            Ok([]) => {
                self.connection.control.end(Ending::PeerClosed);
                return Ok(());
            }
            Ok(bytes) => *bytes,
            // Many TLS clients close without `close_notify`; this is no attack on a protocol that frames its messages.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.connection.control.end(Ending::PeerClosed);
                return Ok(());
            }
            Err(_) => {
                self.connection.control.end(Ending::Lost);
                return Ok(());
            }
        };
        marks::read(bytes.len());
        let Watch::Http2(frames) = &mut self.watch else {
            return Ok(());
        };
        let verdict = frames.inbound.feed(bytes, frames.outbound.frames());
        marks::h2_progress(frames.inbound.settings_seen(), frames.inbound.in_head());
        if verdict.is_ok() {
            return Ok(());
        }
        self.connection.stats.floods.fetch_add(1, Relaxed);
        self.connection.control.end(Ending::Closed);
        self.connection.control.leave_unread();
        if frames.outbound.is_between_frames() {
            let goaway = frames::calm_down(frames.inbound.last_stream());
            // Best effort: a flooding client may not be reading either.
            let _ = Pin::new(&mut self.transport).poll_write(cx, &goaway);
            let _ = Pin::new(&mut self.transport).poll_flush(cx);
        }
        Err(io::Error::other("the client's frames exceed the budget of this connection"))
    }

    fn note_written(&mut self, bufs: &[IoSlice<'_>], written: &io::Result<usize>) {
        match written {
            Ok(written) => {
                let Watch::Http2(frames) = &mut self.watch else {
                    return;
                };
                let mut left = *written;
                for buf in bufs {
                    let part = buf.len().min(left);
                    frames.outbound.feed(&buf[..part]);
                    left -= part;
                    if left == 0 {
                        break;
                    }
                }
            }
            Err(_) => self.connection.control.end(Ending::Lost),
        }
    }
}

/// Reads while a frame of our own is still to be injected into the client's bytes.
fn poll_injected(
    http2: &mut Http2,
    transport: &mut Transport,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let Some(injection) = &mut http2.injection else {
        return transport.poll_read(cx, buf);
    };
    if !injection.has_passed()
        && let Some(piece) = injection.due(buf.remaining())
    {
        buf.put_slice(piece);
        return Poll::Ready(Ok(()));
    }
    if injection.waiting.is_empty() {
        if injection.has_passed() {
            http2.injection = None;
            return transport.poll_read(cx, buf);
        }
        ready!(transport.poll_read(cx, buf))?;
    } else {
        let taken = injection.waiting.len().min(buf.remaining());
        buf.put_slice(&injection.waiting[..taken]);
        injection.waiting.drain(..taken);
    }
    if !injection.has_passed() {
        let passes = injection.feed(buf.filled());
        injection.waiting.splice(..0, buf.filled()[passes..].iter().copied());
        buf.set_filled(passes);
    }
    Poll::Ready(Ok(()))
}

impl hyper::rt::Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        // SAFETY: `ReadBuf` never de-initialises the initialised part of the slice that it is given.
        let mut read = ReadBuf::uninit(unsafe { buf.as_mut() });
        let result = ready!(self.poll_fill(cx, &mut read));
        if read.filled().is_empty() {
            if self.holds_end(&result) {
                return Poll::Pending;
            }
        } else {
            self.guard(&mut read);
        }
        let filled = read.filled();
        let length = filled.len();
        self.note_read(cx, &result.as_ref().map(|()| filled).map_err(|error| error.kind().into()))?;
        // SAFETY: `ReadBuf` knows these bytes to be filled, and thus initialised.
        unsafe { buf.advance(length) };
        match result {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write(cx, buf));
        self.note_written(&[IoSlice::new(buf)], &written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write_vectored(cx, bufs));
        self.note_written(bufs, &written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.transport).poll_flush(cx));
        self.note_written(&[], &flushed.as_ref().map(|()| 0).map_err(|error| error.kind().into()));
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        marks::shut_down();
        // This fails if the client is already gone, which is no news.
        Pin::new(&mut self.transport).poll_shutdown(cx).map(|_| Ok(()))
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.connection.stats.open_by(self.connection.protocol).fetch_sub(1, Relaxed);
    }
}

impl Transport {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(socket) => socket.poll_send(cx, buf),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(socket) => socket.poll_send_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Plain(_) => true,
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(socket) => Poll::Ready(socket.shutdown_write()),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

/// A CR without its LF: invalid in a head, in a chunk's size and extensions, after a chunk, and in trailers.
const POISON: &[u8] = b"\r\0\r\n\r\n";
