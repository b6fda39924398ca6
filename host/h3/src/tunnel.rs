//! Request streams that no longer carry a message: CONNECT (RFC 9114 section 4.4) and extended CONNECT (RFC 9220). The
//! DATA frames carry one stream of bytes in each direction.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::Bytes;
use http::Request;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::code::Code;
use crate::datagram::Datagrams;
use crate::frame::FrameType;
use crate::head::Protocol;
use crate::message::Event;
use crate::receive::{End, Receiver};
use crate::send::Sender;
use crate::shared::{Activity, Shared};
use crate::webtransport::Offered;

/// A request to become a tunnel. Answer it with 2xx; then [`TunnelRequest::accept`] resolves. Any other answer refuses;
/// then dropping this is enough.
#[derive(Debug)]
pub struct TunnelRequest {
    protocol: Option<Protocol>,
    reader: Reader,
    datagrams: Option<Datagrams>,
    webtransport: Option<Offered>,
    opened: oneshot::Receiver<(Sender, Activity)>,
}

/// Where the tunnel waits for the answer.
#[derive(Debug)]
pub(crate) struct TunnelSlot(oneshot::Sender<(Sender, Activity)>);

/// Extensions are cloned with their request; a tunnel goes to the first that takes it.
#[derive(Clone)]
struct Offer(Arc<Mutex<Option<TunnelRequest>>>);

impl TunnelRequest {
    /// Takes the tunnel that a CONNECT asks for. `None` for any other method, and from the second call on.
    pub fn take<B>(request: &mut Request<B>) -> Option<TunnelRequest> {
        request.extensions_mut().remove::<Offer>()?.0.lock().take()
    }

    /// `:protocol`, which is also among the extensions of the request; `None` for a plain CONNECT.
    pub fn protocol(&self) -> Option<&Protocol> {
        self.protocol.as_ref()
    }

    /// Whether the client asks for a WebTransport session, and the server offers them: the tunnel will be one.
    pub fn is_webtransport(&self) -> bool {
        self.webtransport.is_some() && self.datagrams.is_some()
    }

    /// The tunnel, once the head of the answer is on its way.
    ///
    /// # Errors
    /// The answer refused, or the client has left.
    pub async fn accept(self) -> io::Result<Tunnel> {
        let (sender, activity) = self.opened.await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
        Ok(Tunnel {
            reader: self.reader,
            sender,
            datagrams: self.datagrams,
            webtransport: self.webtransport,
            finished: false,
            activity: Some(activity),
        })
    }

    /// Puts the offer of a tunnel into a request.
    pub(crate) fn offer<B>(
        request: &mut Request<B>,
        protocol: Option<Protocol>,
        receiver: Arc<Receiver>,
        shared: Arc<Shared>,
        id: u64,
        first: Option<Result<Event, End>>,
        webtransport: Option<Offered>,
    ) -> TunnelSlot {
        let unread = match first {
            Some(Ok(Event::Data(data))) => data,
            // The next read finds an end again; a tunnel has no other events.
            _ => Bytes::new(),
        };
        let (open, opened) = oneshot::channel();
        if let Some(protocol) = &protocol {
            request.extensions_mut().insert(protocol.clone());
        }
        // RFC 9297 section 2: datagrams belong to requests whose protocol gives them a meaning.
        let datagrams = (protocol.is_some() && shared.config.http3.datagram_buffer > 0)
            .then(|| Datagrams::new(Arc::clone(&shared), id));
        let reader = Reader { receiver, shared, unread, on_drop: Code::NO_ERROR };
        let tunnel = TunnelRequest { protocol, reader, datagrams, webtransport, opened };
        request.extensions_mut().insert(Offer(Arc::new(Mutex::new(Some(tunnel)))));
        TunnelSlot(open)
    }
}

impl TunnelSlot {
    pub(crate) fn open(self, mut sender: Sender, activity: Activity) {
        // RFC 9220 section 3: the equivalent of a TCP reset is H3_REQUEST_CANCELLED.
        sender.set_on_drop(Code::REQUEST_CANCELLED);
        // If a service answers 2xx and drops the tunnel, the stream is reset.
        let _ = self.0.send((sender, activity));
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offer")
    }
}

/// Bytes in both directions, without a deadline of the transport.
///
/// Shutting the writing side down finishes the stream; dropping the tunnel before that resets it with
/// `H3_REQUEST_CANCELLED`.
#[derive(Debug)]
pub struct Tunnel {
    reader: Reader,
    sender: Sender,
    pub(crate) datagrams: Option<Datagrams>,
    pub(crate) webtransport: Option<Offered>,
    finished: bool,
    activity: Option<Activity>,
}

#[derive(Debug)]
struct Reader {
    receiver: Arc<Receiver>,
    shared: Arc<Shared>,
    unread: Bytes,
    on_drop: Code,
}

/// The largest DATA frame that a write makes, in bytes. A write copies, so that it can take bytes at once.
const MAX_WRITE: usize = 16 * 1024;

impl Tunnel {
    /// Takes the datagrams of this stream (RFC 9297), once; `None` if the server does not offer them or the CONNECT has
    /// no `:protocol`.
    pub fn take_datagrams(&mut self) -> Option<Datagrams> {
        self.datagrams.take()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.reader.shared
    }

    /// Ends both directions with an error.
    pub(crate) fn abort(mut self, code: Code) {
        self.sender.reset(code);
        self.reader.receiver.stop(code);
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let reader = &mut self.reader;
        while reader.unread.is_empty() {
            match ready!(reader.receiver.poll_event(cx)) {
                Ok(Event::Data(data)) => reader.unread = data,
                // In a tunnel, MessageReader gives no other events.
                Ok(_) => {}
                Err(End::Finished) => return Poll::Ready(Ok(())),
                Err(End::Reset) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Err(End::Fault(fault)) => {
                    // The stream's task is over, so the tunnel has to act on the fault.
                    reader.shared.fail(&fault);
                    reader.on_drop = fault.code();
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
                Err(End::Lost | End::Stopped) => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
        let take = reader.unread.len().min(buf.remaining());
        buf.put_slice(&reader.unread.split_to(take));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.sender.poll_flush(cx))?;
        let take = buf.len().min(MAX_WRITE);
        if take > 0 {
            self.sender.queue_frame(FrameType::DATA, Bytes::copy_from_slice(&buf[..take]));
            // The bytes that flow control holds back go with the next write or flush.
            if let Poll::Ready(Err(error)) = self.sender.poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
        }
        Poll::Ready(Ok(take))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sender.poll_flush(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.sender.poll_flush(cx))?;
        self.sender.finish();
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !self.finished {
            self.reader.on_drop = Code::REQUEST_CANCELLED;
            return;
        }
        // The connection must not be closed before the client has the last bytes.
        if let Ok(runtime) = Handle::try_current() {
            let (stopped, activity) = (self.sender.stopped(), self.activity.take());
            runtime.spawn(async move {
                // Any result means that it has ended.
                let _ = stopped.await;
                drop(activity);
            });
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.receiver.stop(self.on_drop);
    }
}
