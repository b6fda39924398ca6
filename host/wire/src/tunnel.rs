//! Connections and streams that no longer carry HTTP: after an HTTP/1.1 `Upgrade` (RFC 9110, 7.8) or an extended
//! CONNECT of HTTP/2 (RFC 8441) or HTTP/3 (RFC 9220), they carry one stream of bytes in each direction.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Version, header};
use hyper::ext::Protocol as ExtendedProtocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use roadrunner_h3::webtransport::{Session, SessionLimits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::control::Command;
use crate::{Connection, Ending, RequestBody};

/// A request to become a tunnel. Answer the exchange first: 101 with `Connection` and `Upgrade` fields for
/// [`TunnelKind::Upgrade`], 200 for [`TunnelKind::ExtendedConnect`]; then [`TunnelRequest::accept`] resolves. Any other
/// answer refuses; then dropping this is enough.
#[derive(Debug)]
pub struct TunnelRequest {
    kind: TunnelKind,
    protocols: Box<str>,
    promise: Promise,
    connection: Arc<Connection>,
}

#[derive(Debug)]
enum Promise {
    Hyper(OnUpgrade),
    Http3(Box<roadrunner_h3::TunnelRequest>),
}

/// How a client asks for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// CONNECT with `:protocol`, on HTTP/2 and HTTP/3.
    ExtendedConnect,
    /// HTTP/1.1 with `Upgrade` and `Connection: upgrade`.
    Upgrade,
}

impl TunnelRequest {
    pub(crate) fn take(request: &mut Request<RequestBody>, connection: &Arc<Connection>) -> Option<TunnelRequest> {
        if request.version() == Version::HTTP_3 {
            let tunnel = roadrunner_h3::TunnelRequest::take(request)?;
            let protocols = tunnel.protocol()?.as_str().into();
            let (kind, promise) = (TunnelKind::ExtendedConnect, Promise::Http3(Box::new(tunnel)));
            return Some(TunnelRequest { kind, protocols, promise, connection: Arc::clone(connection) });
        }
        let (kind, protocols) = if request.method() == Method::CONNECT {
            let protocol = request.extensions().get::<ExtendedProtocol>()?;
            (TunnelKind::ExtendedConnect, protocol.as_str().into())
        } else if request.version() == Version::HTTP_11 {
            let list = |name| request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
            let options = list(header::CONNECTION).flat_map(|value| value.split(','));
            if !options.map(str::trim).any(|option| option.eq_ignore_ascii_case("upgrade")) {
                return None;
            }
            (TunnelKind::Upgrade, list(header::UPGRADE).collect::<Vec<_>>().join(",").into())
        } else {
            return None;
        };
        let promise = Promise::Hyper(request.extensions_mut().remove::<OnUpgrade>()?);
        Some(TunnelRequest { kind, protocols, promise, connection: Arc::clone(connection) })
    }

    /// How the client asks for the tunnel.
    pub fn kind(&self) -> TunnelKind {
        self.kind
    }

    /// Whether the client offers this protocol, in any version: an Upgrade lists all protocols that the client would
    /// switch to (RFC 9110, 7.8).
    pub fn names(&self, protocol: &str) -> bool {
        let name =
            |element: &str| element.split('/').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(protocol));
        self.protocols.split(',').any(name)
    }

    /// Whether the client asks for a WebTransport session, and the server offers them. The tunnel then becomes a
    /// session with [`Tunnel::into_webtransport`].
    pub fn is_webtransport(&self) -> bool {
        matches!(&self.promise, Promise::Http3(request) if request.is_webtransport())
    }

    /// The tunnel, once the answer is on its way.
    ///
    /// # Errors
    ///
    /// The answer refused, or the client has left.
    pub async fn accept(self) -> io::Result<Tunnel> {
        let stream = match self.promise {
            Promise::Hyper(upgrade) => Stream::Hyper(TokioIo::new(upgrade.await.map_err(io::Error::other)?)),
            Promise::Http3(request) => Stream::Http3(Box::new(request.accept().await?)),
        };
        Ok(Tunnel { stream, connection: self.connection })
    }
}

/// Bytes in both directions, without a deadline of the transport. On HTTP/1 the tunnel owns the connection, which
/// closes with it; on HTTP/2 and HTTP/3 it is one stream.
#[derive(Debug)]
pub struct Tunnel {
    stream: Stream,
    connection: Arc<Connection>,
}

#[derive(Debug)]
enum Stream {
    Hyper(TokioIo<Upgraded>),
    Http3(Box<roadrunner_h3::Tunnel>),
}

impl Tunnel {
    /// The connection that carries the tunnel.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Turns the tunnel into its WebTransport session. `None` if [`TunnelRequest::is_webtransport`] was false.
    pub fn into_webtransport(self, limits: SessionLimits) -> Option<Session> {
        match self.stream {
            Stream::Http3(tunnel) => tunnel.into_webtransport(limits).ok(),
            Stream::Hyper(_) => None,
        }
    }

    /// Checks for the server's cut, which reaches a tunnel on HTTP/1 here, since no task of the transport is left to
    /// obey it. The cut wakes the reader; a writer sees it at the next write.
    fn check(&self, reader: Option<&mut Context<'_>>) -> io::Result<()> {
        let control = &self.connection.control;
        if !control.is_tunnel() {
            return Ok(());
        }
        if let Some(cx) = reader {
            control.register_reader(cx.waker());
        }
        if control.command() == Command::Cut {
            control.end(Ending::Closed);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(Some(cx))?;
        match &mut self.stream {
            Stream::Hyper(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Http3(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(None)?;
        match &mut self.stream {
            Stream::Hyper(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Http3(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(None)?;
        match &mut self.stream {
            Stream::Hyper(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Http3(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Hyper(stream) => stream.is_write_vectored(),
            Stream::Http3(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Hyper(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Http3(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Hyper(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Http3(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
