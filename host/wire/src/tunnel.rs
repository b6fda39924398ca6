//! A connection or a stream that has stopped carrying HTTP: after an HTTP/1.1 `Upgrade` (RFC 9110, 7.8) or an HTTP/2
//! extended CONNECT (RFC 8441) it is one stream of bytes in each direction.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Version, header};
use hyper::{
    ext::Protocol as ExtendedProtocol,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Connection, Ending, RequestBody, control::Command};

/// A request to become a tunnel. Answer the exchange first: 101 with `Connection` and `Upgrade` fields for
/// [`TunnelKind::Upgrade`], 200 for [`TunnelKind::ExtendedConnect`]; then [`TunnelRequest::accept`] resolves. Any other
/// answer refuses, and dropping this is all there is to do.
#[derive(Debug)]
pub struct TunnelRequest {
    kind: TunnelKind,
    protocol: Box<str>,
    on_upgrade: OnUpgrade,
    connection: Arc<Connection>,
}

/// How a tunnel is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// HTTP/2 CONNECT with `:protocol`.
    ExtendedConnect,
    /// HTTP/1.1 with `Upgrade` and `Connection: upgrade`.
    Upgrade,
}

impl TunnelRequest {
    pub(crate) fn take(request: &mut Request<RequestBody>, connection: &Arc<Connection>) -> Option<TunnelRequest> {
        let (kind, protocol) = if request.method() == Method::CONNECT {
            let protocol = request.extensions().get::<ExtendedProtocol>()?;
            (TunnelKind::ExtendedConnect, protocol.as_str().into())
        } else if request.version() == Version::HTTP_11 {
            let asks = request
                .headers()
                .get_all(header::CONNECTION)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
            if !asks {
                return None;
            }
            let protocol = request.headers().get(header::UPGRADE)?.to_str().ok()?;
            (TunnelKind::Upgrade, protocol.into())
        } else {
            return None;
        };
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(TunnelRequest { kind, protocol, on_upgrade, connection: Arc::clone(connection) })
    }

    /// How it is asked for.
    pub fn kind(&self) -> TunnelKind {
        self.kind
    }

    /// The protocol, as the client wrote it: `websocket`.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The tunnel, once the answer is on its way.
    ///
    /// # Errors
    ///
    /// The answer refused, or the client has left.
    pub async fn accept(self) -> io::Result<Tunnel> {
        let upgraded = self.on_upgrade.await.map_err(io::Error::other)?;
        Ok(Tunnel { stream: TokioIo::new(upgraded), connection: self.connection })
    }
}

/// Bytes in both directions, without a deadline of the transport. On HTTP/1 it owns the connection, which closes with it; on HTTP/2 it is one stream.
#[derive(Debug)]
pub struct Tunnel {
    stream: TokioIo<Upgraded>,
    connection: Arc<Connection>,
}

impl Tunnel {
    /// The connection under it.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The server's cut reaches a tunnel on HTTP/1 here, since no task of the transport is left to obey it. It wakes
    /// whoever reads; whoever writes sees it at the next write.
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(None)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(None)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
