//! Stream sockets, listening and connected, TCP and Unix alike.
//!
//! Why not tokio's `TcpStream`: the task that drives a connection must be able to wait for the peer's departure while
//! hyper owns the reading side and does not read (a request body that the service leaves on the wire). Here the
//! descriptor is shared, so that one owner reads and another watches. Readiness is handled as in tokio's own sockets,
//! including short reads and writes, so that a request costs no extra system call.

use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags,
    SocketType, sockopt,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::admission::Permit;
use crate::{Address, Ending, ListenAddress, marks};

/// A connected stream socket. Clones share it; dropping the last clone closes the socket and releases its permit.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: AsyncFd<OwnedFd>,
    permit: Permit,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd, permit: Permit) -> io::Result<Socket> {
        Ok(Socket { inner: Arc::new(Inner { fd: watch(fd, Interest::READABLE | Interest::WRITABLE)?, permit }) })
    }

    /// Reads once the socket has bytes, and returns how many bytes at the start of `buf` are now initialised.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [MaybeUninit<u8>]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.inner.fd.poll_read_ready(cx))?;
            match rustix::net::recv(self.inner.fd.get_ref(), &mut *buf, RecvFlags::empty()) {
                Ok(((received, rest), _)) => {
                    // With edge-triggered epoll a short read means that the kernel's buffer is empty.
                    if !received.is_empty() && !rest.is_empty() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(received.len()));
                }
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Peeks at the available bytes once there are more than `had` of them, and returns how many there are.
    pub(crate) async fn peek(&self, buf: &mut [u8], had: usize) -> io::Result<usize> {
        loop {
            let mut guard = self.inner.fd.readable().await?;
            match rustix::net::recv(self.inner.fd.get_ref(), &mut *buf, RecvFlags::PEEK) {
                Ok((_, received)) if received > had => return Ok(received),
                // There are no more bytes, and none will come.
                Ok(_) if guard.ready().is_read_closed() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Consumes that many bytes, which [`Socket::peek`] has returned.
    pub(crate) async fn skip(&self, mut bytes: usize) -> io::Result<()> {
        let mut scratch = [MaybeUninit::uninit(); 256];
        while bytes > 0 {
            let piece = &mut scratch[..bytes.min(256)];
            match std::future::poll_fn(|cx| self.poll_recv(cx, piece)).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => bytes -= taken,
            }
        }
        Ok(())
    }

    /// The connection's place under the caps.
    pub(crate) fn permit(&self) -> &Permit {
        &self.inner.permit
    }

    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_with(cx, buf.len(), |fd| rustix::net::send(fd, buf, SendFlags::NOSIGNAL))
    }

    pub(crate) fn poll_send_vectored(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // The kernel refuses more than UIO_MAXIOV (1024) slices.
        let bufs = &bufs[..bufs.len().min(1024)];
        let total = bufs.iter().map(|buf| buf.len()).sum();
        if total <= GATHERED {
            let mut gathered = [0; GATHERED];
            let length = (&mut gathered[..]).write_vectored(bufs)?;
            return self.poll_send(cx, &gathered[..length]);
        }
        self.poll_send_with(cx, total, |fd| {
            rustix::net::sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
        })
    }

    fn poll_send_with(
        &self,
        cx: &mut Context<'_>,
        total: usize,
        send: impl Fn(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Poll::Ready(guard) = self.inner.fd.poll_write_ready(cx) else {
                marks::write_blocked();
                return Poll::Pending;
            };
            let mut guard = guard?;
            match send(self.inner.fd.get_ref()) {
                Ok(sent) => {
                    if sent > 0 && sent < total {
                        guard.clear_ready();
                    }
                    marks::write_moved();
                    return Poll::Ready(Ok(sent));
                }
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match rustix::net::shutdown(self.inner.fd.get_ref(), Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves when the peer is seen to leave, even if some of its bytes are unread. `after` is how it was seen to
    /// leave before.
    pub(crate) async fn gone(self, after: Option<Departure>) -> Departure {
        let interest = match after {
            None => Interest::PRIORITY | Interest::ERROR,
            Some(_) => Interest::ERROR,
        };
        loop {
            // tokio reports the end of the peer's side with `PRIORITY` as it does with `READABLE`, but `PRIORITY` is
            // not ready merely because there are bytes to read.
            let Ok(mut guard) = self.inner.fd.ready(interest).await else {
                return Departure::Whole(Ending::Lost);
            };
            if guard.ready().is_error() || guard.ready().is_write_closed() {
                return Departure::Whole(Ending::Lost);
            }
            if guard.ready().is_read_closed() {
                return match sockopt::socket_error(self.inner.fd.get_ref()) {
                    Ok(Ok(())) if self.is_hung_up() => Departure::Whole(Ending::PeerClosed),
                    Ok(Ok(())) => Departure::Half,
                    _ => Departure::Whole(Ending::Lost),
                };
            }
            guard.clear_ready();
        }
    }

    /// Whether the kernel knows that the other end is closed. TCP does not tell: there, a full close and a half close
    /// look alike.
    fn is_hung_up(&self) -> bool {
        let ready = self.inner.fd.ready(Interest::WRITABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(|guard| guard.ready().is_write_closed()))
    }

    /// Reads and drops bytes, up to `limit`, until the peer closes.
    pub(crate) async fn drain(&self, mut limit: usize) {
        // On the heap: only the few connections that linger need it.
        let mut scratch = vec![MaybeUninit::uninit(); 4096];
        while limit > 0 {
            match std::future::poll_fn(|cx| self.poll_recv(cx, &mut scratch)).await {
                Ok(received) if received > 0 => limit = limit.saturating_sub(received),
                _ => return,
            }
        }
    }

    /// Sends segments as soon as they are written: a stream of events would otherwise arrive in bursts. Makes the
    /// kernel probe a silent client, and drop it `lost` after it was last heard of. Does nothing for a Unix socket.
    pub(crate) fn set_tcp(&self, lost: Duration) -> io::Result<()> {
        /// The number of unanswered probes. They take as many sixths of `lost`, after a third before the first probe.
        const PROBES: u32 = 4;
        let fd = self.inner.fd.get_ref();
        // The kernel counts this time in whole seconds.
        let seconds = |time: Duration| Duration::from_secs(time.as_secs().max(1));
        sockopt::set_tcp_nodelay(fd, true)?;
        sockopt::set_tcp_keepidle(fd, seconds(lost / 3))?;
        sockopt::set_tcp_keepintvl(fd, seconds(lost / 6))?;
        sockopt::set_tcp_keepcnt(fd, PROBES)?;
        Ok(sockopt::set_socket_keepalive(fd, true)?)
    }

    pub(crate) fn local(&self) -> Address {
        rustix::net::getsockname(self.inner.fd.get_ref()).map_or(Address::Unix(None), to_address)
    }
}

/// How a peer was seen to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It sends nothing more, but may still read.
    Half,
    /// It neither sends nor reads.
    Whole(Ending),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // SAFETY: `poll_recv` only writes initialised bytes into the slice.
        let received = ready!(self.poll_recv(cx, unsafe { buf.unfilled_mut() }))?;
        // SAFETY: `poll_recv` has initialised the first `received` bytes.
        unsafe { buf.assume_init(received) };
        buf.advance(received);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}

/// A listening stream socket.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    fd: AsyncFd<OwnedFd>,
    pub(crate) local: Address,
}

impl ListenSocket {
    /// Binds a socket. `mode` is that of a Unix socket's file; if absent, the process's umask decides.
    pub(crate) fn bind(address: ListenAddress, mode: Option<u32>) -> io::Result<ListenSocket> {
        let fd = match address {
            ListenAddress::Inherited(fd) => {
                rustix::io::ioctl_fionbio(&fd, true)?;
                fd
            }
            ListenAddress::Tcp(address) => bind_tcp(address)?,
            ListenAddress::Unix(path) => {
                let address = SocketAddrUnix::new(&path)?;
                match bind_unix(&address, mode) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(&address) => {
                        std::fs::remove_file(&path)?;
                        bind_unix(&address, mode)?
                    }
                    result => result?,
                }
            }
        };
        let local = to_address(rustix::net::getsockname(&fd)?);
        Ok(ListenSocket { fd: watch(fd, Interest::READABLE)?, local })
    }

    pub(crate) async fn accept(&self) -> io::Result<(OwnedFd, Address)> {
        loop {
            let mut guard = self.fd.readable().await?;
            match rustix::net::acceptfrom_with(self.fd.get_ref(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((fd, peer)) => return Ok((fd, peer.map_or(Address::Unix(None), to_address))),
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns a connection that the kernel has already accepted, if there is one.
    pub(crate) fn accepted(&self) -> Option<(OwnedFd, Address)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, peer) = rustix::net::acceptfrom_with(self.fd.get_ref(), flags).ok()?;
        Some((fd, peer.map_or(Address::Unix(None), to_address)))
    }
}

fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and `AsyncFd` drops it after it has
    // taken it out of epoll.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|error| error.into_parts().1)
}

fn bind_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = stream_socket(family)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd)
}

fn bind_unix(address: &SocketAddrUnix, mode: Option<u32>) -> io::Result<OwnedFd> {
    let fd = stream_socket(AddressFamily::UNIX)?;
    if let Some(mode) = mode {
        // The file gets its mode from the socket when it is made, so there is no moment at which others could connect.
        rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(mode))?;
    }
    rustix::net::bind(&fd, address)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd)
}

/// Whether a socket file exists on which no process listens.
fn is_abandoned(address: &SocketAddrUnix) -> bool {
    stream_socket(AddressFamily::UNIX)
        .is_ok_and(|fd| rustix::net::connect(&fd, address) == Err(rustix::io::Errno::CONNREFUSED))
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

fn to_address(any: SocketAddrAny) -> Address {
    if let Ok(address) = SocketAddr::try_from(any.clone()) {
        return Address::Ip(address);
    }
    let path = SocketAddrUnix::try_from(any).ok().and_then(|unix| {
        let path = unix.path_bytes()?;
        Some(std::path::PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path)))
    });
    Address::Unix(path)
}

/// The most bytes of slices that are copied into one buffer before sending: for few bytes, the copy costs less than
/// passing the slices to the kernel.
const GATHERED: usize = 512;

/// Connections that the kernel queues until they are accepted; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
