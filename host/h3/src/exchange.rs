//! One request stream, from its first byte to the acknowledgment of its last.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use quinn::{RecvStream, SendStream, StoppedError, VarInt};

use crate::body::RequestBody;
use crate::code::{Code, Fault};
use crate::frame::FrameType;
use crate::head::{Protocol, RequestHead, read_request, regular_fields, response_fields};
use crate::message::{Event, MessageReader};
use crate::receive::{End, Receiver};
use crate::send::Sender;
use crate::service::{BoxError, Notice, Service};
use crate::shared::{Activity, Blocked, Section, Shared};
use crate::tunnel::{TunnelRequest, TunnelSlot};
use crate::webtransport::{Arrival, Offered};

/// Serves one request. In every case, the stream ends with FIN after a whole response, or with a reset.
pub(crate) async fn serve<S: Service>(
    shared: Arc<Shared>,
    service: &S,
    send: SendStream,
    recv: RecvStream,
    activity: Activity,
    admits: Admits,
) {
    let id = u64::from(VarInt::from(recv.id()));
    let mut message = MessageReader::new(u64::from(shared.config.http3.max_header_list));
    if shared.webtransport.is_offered() {
        message.allow_webtransport();
    }
    let receiver = Receiver::new(recv, message);
    let sender = Sender::new(send, Code::REQUEST_CANCELLED);
    let stopped = pin!(sender.stopped());
    let mut exchange = Exchange { id, admits, shared, service, receiver, sender, stopped };
    let ended = match (exchange.run().await, exchange.receiver.found_fault()) {
        // A response that echoes a malformed request fails with it, and the fault is the client's.
        (Err(_), Some(fault)) => Err(Abort::Fault(fault)),
        (ended, _) => ended,
    };
    match ended {
        Ok(Outcome::Sent) => {
            exchange.shared.request_ended();
            exchange.receiver.task_is_over();
        }
        Ok(Outcome::Tunnel(slot)) => slot.open(exchange.sender, activity),
        Ok(Outcome::WebTransport { session }) => {
            let Exchange { shared, receiver, sender, .. } = exchange;
            // This is the only holder: no body was made of it.
            let Some((recv, first)) = receiver.into_stream() else { return };
            let arrival = Arrival::new(Some(sender.into_half()), recv, first);
            if let Err(fault) = shared.webtransport.deliver(session, arrival) {
                shared.fail(&fault);
            }
        }
        Err(Abort::Gone) => {
            exchange.abandon(Code::REQUEST_CANCELLED);
            if exchange.shared.request_left() {
                service.notice(Notice::Flooded);
            }
        }
        Err(Abort::Fault(fault)) => {
            tracing::debug!(stream = id, %fault, "request refused");
            service.notice(Notice::Refused);
            exchange.shared.fail(&fault);
            exchange.abandon(fault.code());
        }
        Err(Abort::Response(error)) => {
            tracing::debug!(stream = id, error, "response aborted");
            // RFC 9114 section 8.1.
            exchange.abandon(Code::INTERNAL_ERROR);
        }
    }
}

/// The streams that are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admits {
    /// A request or a stream of a WebTransport session.
    Everything,
    /// No further requests, since the last GOAWAY excludes them.
    WebTransportStreams,
}

struct Exchange<'a, S, F> {
    id: u64,
    admits: Admits,
    shared: Arc<Shared>,
    service: &'a S,
    receiver: Arc<Receiver>,
    sender: Sender,
    /// Resolves when the client asks to stop, when it has the whole response, or when the connection is gone.
    stopped: Pin<&'a mut F>,
}

/// A successful end of an exchange.
enum Outcome {
    /// The client has the whole response.
    Sent,
    /// The client has the head of the response, and the stream goes to a tunnel.
    Tunnel(TunnelSlot),
    /// The stream was not a request: it belongs to this session.
    WebTransport { session: u64 },
}

/// Why the client did not get the whole response.
enum Abort {
    /// The client broke a rule.
    Fault(Fault),
    /// The client reset or stopped the stream, or the connection is gone.
    Gone,
    /// The service's response cannot be sent completely.
    Response(String),
}

/// The content of the front of a stream.
enum Head {
    /// A refusal that is answered without the service.
    Refused(StatusCode),
    /// The stream belongs to this WebTransport session.
    WebTransport { session: u64 },
    /// The head, and the part of the body that came with it.
    Request(Box<RequestHead>, Option<Result<Event, End>>),
}

/// The field by which a client of draft-ietf-webtrans-http3-02 names its draft (section 3.2 there); the server agrees
/// with the other field.
const DRAFT_02_OFFER: &str = "sec-webtransport-http3-draft02";
const DRAFT: &str = "sec-webtransport-http3-draft";

/// The queue length in bytes above which no more of a response body is requested.
const WRITE_AHEAD: usize = 16 * 1024;

impl<S: Service, F: Future<Output = Result<Option<VarInt>, StoppedError>>> Exchange<'_, S, F> {
    async fn run(&mut self) -> Result<Outcome, Abort> {
        let deadline = self.shared.config.timeouts.request_head;
        let (mut head, first) = match tokio::time::timeout(deadline, self.read_head()).await {
            Ok(Ok(Head::Request(head, first))) => (head, first),
            Ok(Ok(Head::Refused(status))) => {
                self.service.notice(Notice::Refused);
                return self.refuse(status).await;
            }
            Ok(Ok(Head::WebTransport { session })) => return Ok(Outcome::WebTransport { session }),
            Ok(Err(abort)) => return Err(abort),
            Err(_) => {
                // RFC 9204 section 2.2.2.2: the section may be waiting for table entries.
                self.shared.cancel_decoding(self.id);
                self.service.notice(Notice::HeadTimedOut);
                return self.refuse(StatusCode::REQUEST_TIMEOUT).await;
            }
        };
        if self.receiver.is_0rtt() {
            // RFC 8470 section 5.2: the request may be a replay.
            if !head.method.is_safe() {
                return self.refuse(StatusCode::TOO_EARLY).await;
            }
            // RFC 8470 section 5.1: the service may want to refuse the request too.
            head.headers.insert("early-data", HeaderValue::from_static("1"));
        }
        let limit = self.shared.config.http3.max_body.unwrap_or(u64::MAX);
        if head.content_length.is_some_and(|length| length > limit) {
            return self.refuse(StatusCode::PAYLOAD_TOO_LARGE).await;
        }

        let is_head = head.method == Method::HEAD;
        let webtransport = match self.webtransport(&head) {
            Some(session) => {
                let session = session?;
                // draft-ietf-webtrans-http3-07 section 3.2: wait for the client's SETTINGS, which say whether it takes
                // datagrams. They come on a separate stream, and may be later.
                let shared = Arc::clone(&self.shared);
                if self.respond(tokio::time::timeout(deadline, shared.settled())).await?.is_err() {
                    return self.refuse(StatusCode::REQUEST_TIMEOUT).await;
                }
                Some(session)
            }
            None => None,
        };
        let draft_02 = webtransport.is_some() && head.headers.contains_key(DRAFT_02_OFFER);
        let (request, slot) = self.request(head, first, webtransport);
        let call = AssertUnwindSafe(self.service.call(request, Arc::clone(&self.shared.info))).catch_unwind();
        let response = self.respond(call).await?;
        match (response, slot) {
            (Ok(mut response), Some(slot)) if response.status().is_success() => {
                if draft_02 {
                    response.headers_mut().insert(DRAFT, HeaderValue::from_static("draft02"));
                }
                self.open_tunnel(response, slot).await
            }
            (Ok(response), _) => self.send(response, is_head).await,
            // The hook of the host has already logged the panic itself.
            (Err(_), _) => self.refuse(StatusCode::INTERNAL_SERVER_ERROR).await,
        }
    }

    async fn read_head(&mut self) -> Result<Head, Abort> {
        let event = poll_fn(|cx| {
            self.poll_gone(cx)?;
            self.receiver.poll_event(cx).map_err(Abort::from)
        })
        .await?;
        let section = match event {
            Event::Headers(section) => section,
            // RFC 9114 section 4.2.2. The section was not read, which the encoder must learn.
            Event::TooLarge { .. } => {
                self.shared.cancel_decoding(self.id);
                return Ok(Head::Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
            }
            Event::WebTransport { session } => return Ok(Head::WebTransport { session }),
            Event::Data(_) | Event::Trailers(_) => {
                return Err(Abort::Fault(Fault::connection(Code::FRAME_UNEXPECTED, "a message without HEADERS")));
            }
        };
        // RFC 9114 section 5.2: the client may retry it elsewhere.
        if self.admits == Admits::WebTransportStreams {
            return Err(Abort::Fault(Fault::stream(Code::REQUEST_REJECTED, "a request after GOAWAY")));
        }
        let mut blocked = Blocked::default();
        let decoded = poll_fn(|cx| {
            self.poll_gone(cx).inspect_err(|_| self.shared.cancel_decoding(self.id))?;
            self.shared.poll_decode(cx, self.id, &section, &mut blocked).map_err(Abort::Fault)
        })
        .await?;
        let fields = match decoded {
            Section::Fields(fields) => fields,
            Section::TooLarge => return Ok(Head::Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
        };
        let head = read_request(fields, self.shared.config.http3.extended_connect).map_err(Abort::Fault)?;
        self.receiver.with_message(|message| match head.content_length {
            _ if head.method == Method::CONNECT => message.become_tunnel(),
            Some(length) => message.expect_length(length),
            None => {}
        });
        // The event after the head shows whether there is a body at all. This does not wait.
        let first = poll_fn(|cx| {
            Poll::Ready(match self.receiver.poll_event(cx) {
                Poll::Ready(event) => Some(event),
                Poll::Pending => None,
            })
        })
        .await;
        match first {
            Some(Err(end @ (End::Fault(_) | End::Lost | End::Reset))) => Err(end.into()),
            first => Ok(Head::Request(Box::new(head), first)),
        }
    }

    fn request(
        &mut self,
        head: Box<RequestHead>,
        first: Option<Result<Event, End>>,
        webtransport: Option<Offered>,
    ) -> (Request<RequestBody>, Option<TunnelSlot>) {
        let (receiver, shared) = (Arc::clone(&self.receiver), Arc::clone(&self.shared));
        let expects = head.headers.get(header::EXPECT);
        // RFC 9110 section 10.1.1.
        if first.is_none() && expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            receiver.expect_continue();
        }
        let mut request = Request::new(RequestBody::empty());
        let mut slot = None;
        if head.method == Method::CONNECT {
            slot =
                Some(TunnelRequest::offer(&mut request, head.protocol, receiver, shared, self.id, first, webtransport));
        } else {
            *request.body_mut() = RequestBody::new(receiver, shared, self.id, first);
        }
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = Version::HTTP_3;
        *request.headers_mut() = head.headers;
        (request, slot)
    }

    /// The session that a request asks for, if WebTransport is offered.
    fn webtransport(&self, head: &RequestHead) -> Option<Result<Offered, Abort>> {
        let asks = head.protocol.as_ref().is_some_and(Protocol::is_webtransport);
        (asks && self.shared.webtransport.is_offered()).then(|| {
            // draft-ietf-webtrans-http3-07 section 3.3: more sessions than were advertised.
            let refusal = || Abort::Fault(Fault::stream(Code::REQUEST_REJECTED, "too many sessions"));
            Offered::new(&self.shared, self.id).ok_or_else(refusal)
        })
    }

    /// Polls the service, and drops it at once when the client no longer waits for it.
    async fn respond<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Abort> {
        let mut call = pin!(call);
        poll_fn(|cx| {
            self.poll_gone(cx)?;
            if self.receiver.take_continue() {
                let status = StatusCode::CONTINUE;
                let section = self.shared.encode(self.id, response_fields(&status, &Default::default()));
                self.sender.queue_frame(FrameType::HEADERS, section);
            }
            if let Poll::Ready(Err(abort)) = self.poll_flush(cx) {
                return Poll::Ready(Err(abort));
            }
            call.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Answers without the service, and reads no more of the request.
    async fn refuse(&mut self, status: StatusCode) -> Result<Outcome, Abort> {
        // RFC 9114 section 4.1: a server that needs no more of the request may say so with H3_NO_ERROR.
        self.receiver.discard();
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        self.send(response, false).await
    }

    async fn send<B>(&mut self, response: Response<B>, is_head: bool) -> Result<Outcome, Abort>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = response.into_parts();
        // RFC 9114 section 4.1: exactly one final response; only this crate sends interim responses.
        if parts.status.is_informational() {
            return Err(Abort::Response(format!("the service answered with {}", parts.status)));
        }
        self.queue_head(&parts)?;
        let bodiless = is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // RFC 9110 section 8.6: in a response with a body it is the length of that body.
        let announced = (!bodiless).then(|| announced(&parts.headers)).flatten();
        self.send_body(body, bodiless, announced).await?;
        poll_fn(|cx| {
            self.poll_gone(cx)?;
            self.poll_flush(cx)
        })
        .await?;
        self.sender.finish();
        self.acknowledged().await;
        Ok(Outcome::Sent)
    }

    /// Queues the body, and drops it before the client has received all of it, which frees the service's resources.
    async fn send_body<B>(&mut self, body: B, bodiless: bool, announced: Option<u64>) -> Result<(), Abort>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut body = pin!(body);
        let mut sent = 0_u64;
        poll_fn(|cx| {
            self.poll_gone(cx)?;
            loop {
                if self.sender.queued() >= WRITE_AHEAD {
                    ready!(self.poll_flush(cx))?;
                }
                if bodiless || body.is_end_stream() {
                    break;
                }
                match body.as_mut().poll_frame(cx) {
                    Poll::Pending => {
                        // The queued bytes are sent while the service works.
                        if let Poll::Ready(Err(abort)) = self.poll_flush(cx) {
                            return Poll::Ready(Err(abort));
                        }
                        return Poll::Pending;
                    }
                    Poll::Ready(None) => break,
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Err(Abort::Response(error.into().to_string())));
                    }
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => {
                            sent += data.len() as u64;
                            if announced.is_some_and(|length| sent > length) {
                                return Poll::Ready(Err(Abort::Response("longer than content-length".to_owned())));
                            }
                            self.sender.queue_frame(FrameType::DATA, data);
                        }
                        Err(frame) => {
                            if let Ok(trailers) = frame.into_trailers() {
                                let section = self.shared.encode(self.id, regular_fields(&trailers));
                                self.sender.queue_frame(FrameType::HEADERS, section);
                            }
                            break;
                        }
                    },
                }
            }
            match announced {
                Some(length) if length != sent => {
                    Poll::Ready(Err(Abort::Response("shorter than content-length".to_owned())))
                }
                _ => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// Waits until the client has the whole response: a close of the connection would lose the rest. It resolves at
    /// once for a client that has left.
    async fn acknowledged(&mut self) {
        let mut polls = 0_u32;
        let mut frames = 0;
        poll_fn(|cx| {
            if self.stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // quinn does not show what it still holds of this stream, only whether the connection sends anything.
            if polls > 0 {
                let now = self.shared.quic.stats().frame_tx.stream;
                if std::mem::replace(&mut frames, now) != now {
                    self.service.write_moved();
                }
            }
            polls += 1;
            self.service.write_blocked();
            Poll::Pending
        })
        .await;
    }

    async fn open_tunnel<B>(&mut self, response: Response<B>, slot: TunnelSlot) -> Result<Outcome, Abort> {
        let (parts, _) = response.into_parts();
        self.queue_head(&parts)?;
        poll_fn(|cx| {
            self.poll_gone(cx)?;
            self.poll_flush(cx)
        })
        .await?;
        Ok(Outcome::Tunnel(slot))
    }

    fn queue_head(&mut self, parts: &http::response::Parts) -> Result<(), Abort> {
        let fields = || response_fields(&parts.status, &parts.headers);
        // RFC 9114 section 4.2.2: a response above the client's announced limit is not sent.
        let limit = self.shared.peer().and_then(|settings| settings.max_field_section_size);
        if limit.is_some_and(|limit| fields().map(|field| field.size()).sum::<u64>() > limit) {
            return Err(Abort::Response(
                "the head is larger than the client's SETTINGS_MAX_FIELD_SECTION_SIZE".to_owned(),
            ));
        }
        let section = self.shared.encode(self.id, fields());
        self.sender.queue_frame(FrameType::HEADERS, section);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Abort>> {
        let before = self.sender.queued();
        if before == 0 {
            return Poll::Ready(Ok(()));
        }
        let flushed = self.sender.poll_flush(cx).map_err(|_| Abort::Gone);
        if self.sender.queued() < before {
            self.service.write_moved();
        }
        if flushed.is_pending() {
            self.service.write_blocked();
        }
        flushed
    }

    /// Fails once the client has left this stream, in either direction, or has broken a rule on it.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Result<(), Abort> {
        if let Poll::Ready(end) = self.receiver.poll_abandoned(cx) {
            return Err(end.into());
        }
        // Before the end of the response it cannot mean that the client has received everything.
        match self.stopped.as_mut().poll(cx) {
            Poll::Ready(_) => Err(Abort::Gone),
            Poll::Pending => Ok(()),
        }
    }

    fn abandon(&mut self, code: Code) {
        // RFC 9204 section 2.2.2.2: sections that will not be decoded. A redundant cancellation does no harm.
        if !self.receiver.is_read() {
            self.shared.cancel_decoding(self.id);
        }
        self.receiver.stop(code);
        self.sender.reset(code);
    }
}

impl From<End> for Abort {
    fn from(end: End) -> Abort {
        match end {
            End::Fault(fault) => Abort::Fault(fault),
            _ => Abort::Gone,
        }
    }
}

fn announced(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
