//! Passes hyper's request to the service, and its response back to hyper.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::connection_fields::{drop_connection_fields, is_connection_field, lists};
use crate::control::Command;
use crate::h2c::Doorway;
use crate::validate::{Refusal, validate};
use crate::{Abort, Connection, Exchange, Held, RequestBody, ResponseBody, Service, marks};

/// State that every exchange of a connection needs; one per connection.
pub(crate) struct Link<S> {
    pub(crate) service: Arc<S>,
    pub(crate) connection: Arc<Connection>,
    /// The alternative service of this origin (RFC 7838, 3); `None` on the alternative service itself.
    pub(crate) alt_svc: Option<HeaderValue>,
    /// The listener's cap on requests in flight; `None` if there is none.
    pub(crate) cap: Option<Arc<RequestCap>>,
    /// Where an upgrade from HTTP/1 to HTTP/2 is left; `None` if the connection may not upgrade.
    pub(crate) doorway: Option<Doorway>,
}

impl<S> Link<S> {
    pub(crate) fn new(service: Arc<S>, connection: Arc<Connection>) -> Link<S> {
        Link { service, connection, alt_svc: None, doorway: None, cap: None }
    }
}

/// Answers one request. The exchange counts as in flight from now until the response body is dropped.
pub(crate) fn dispatch<S: Service>(
    link: &Arc<Link<S>>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<WireBody>, Infallible>> + Send + use<S> {
    let answered = exchange(link, |connection| RequestBody::from_wire(request, connection));
    async move { Ok(answered.await) }
}

/// Does the same as [`dispatch`] for any protocol. The request is made when the exchange has begun.
pub(crate) fn exchange<S: Service, R>(
    link: &Arc<Link<S>>,
    request: R,
) -> impl Future<Output = Response<WireBody>> + Send + use<S, R>
where
    R: FnOnce(&Arc<Connection>) -> Request<RequestBody> + Send,
{
    marks::exchange_begun();
    let (in_flight, is_admitted) = InFlight::new(link);
    let link = Arc::clone(link);
    async move {
        let mut request = request(&link.connection);
        let is_head = request.method() == Method::HEAD;
        let version = request.version();
        let admitted = match unserved(&request, &link.connection) {
            Some(refusal) => Err(refusal),
            None => validate(&mut request, &link.connection).map(|named| request.body_mut().never_trailers(named)),
        };
        let response = match admitted {
            Ok(()) if !is_admitted => {
                drop(request);
                link.connection.stats.over_cap.fetch_add(1, Relaxed);
                overloaded()
            }
            Ok(()) if upgrades(&link, &mut request) => switching_to_http2(),
            Ok(()) => {
                let exchange = Exchange { request, connection: Arc::clone(&link.connection) };
                match catch_panics(pin!(link.service.call(exchange))).await {
                    Ok(response) => response,
                    Err(Panicked) => {
                        link.connection.stats.panics.fetch_add(1, Relaxed);
                        plain(StatusCode::INTERNAL_SERVER_ERROR, "internal server error\n")
                    }
                }
            }
            Err(refusal) => {
                drop(request);
                link.connection.stats.bad_requests.fetch_add(1, Relaxed);
                refuse(&refusal, version)
            }
        };
        let mut response = clean(response, is_head, version);
        if version < Version::HTTP_2 {
            settle(&mut response, &link.connection).await;
        }
        if let Some(alt_svc) = &link.alt_svc
            && !response.headers().contains_key(header::ALT_SVC)
        {
            response.headers_mut().insert(header::ALT_SVC, alt_svc.clone());
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && !link.connection.control.is_upgrading() {
            link.connection.control.become_tunnel();
        }
        let piece = if version == Version::HTTP_2 { H2_PIECE } else { usize::MAX };
        response.map(|body| WireBody { body, rest: Bytes::new(), piece, aborting: false, in_flight })
    }
}

/// Decides whether an HTTP/1 connection goes on after this response, while the response head can still say so.
async fn settle(response: &mut Response<ResponseBody>, connection: &Connection) {
    let control = &connection.control;
    if response.extensions().get::<Held>().is_some() {
        control.hold();
    }
    if control.is_draining() {
        // The connection's task polls this again when it has read the rest that the service left.
        poll_fn(|_| if control.is_draining() { Poll::Pending } else { Poll::Ready(()) }).await;
    }
    let closes = control.left_unread() || control.command() != Command::Run;
    if !closes || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let headers = response.headers_mut();
    if !headers.get_all(header::CONNECTION).iter().any(|value| value == "close") {
        headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether the connection switches to HTTP/2, where this request will come again.
fn upgrades<S>(link: &Link<S>, request: &mut Request<RequestBody>) -> bool {
    let control = &link.connection.control;
    let granted = link.doorway.as_ref().is_some_and(|door| control.command() == Command::Run && door.grant(request));
    if granted {
        control.begin_upgrade();
    }
    granted
}

/// Answers 101 for the switch to HTTP/2 (RFC 7540, 3.2).
fn switching_to_http2() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    response
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Returns the refusal of requests that never reach a service, whatever else they say.
fn unserved<B>(request: &Request<B>, connection: &Connection) -> Option<Refusal> {
    if connection.control.is_unsupported() {
        // RFC 9110, 15.6.6.
        let (status, reason) = (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "the major version is not 1");
        return Some(Refusal { status, reason });
    }
    let reason = match *request.method() {
        // RFC 9110, 9.3.8: the answer would repeat the request's credentials.
        Method::TRACE => "TRACE is not for this server",
        // RFC 9110, 9.3.6: this is an origin server.
        Method::CONNECT if !is_extended(request) => "CONNECT is not for this server",
        _ => return None,
    };
    Some(Refusal { status: StatusCode::NOT_IMPLEMENTED, reason })
}

/// Whether a CONNECT is an extended CONNECT, which names its protocol (RFC 8441, 4; RFC 9220, 3).
fn is_extended<B>(request: &Request<B>) -> bool {
    let extensions = request.extensions();
    extensions.get::<hyper::ext::Protocol>().is_some() || extensions.get::<roadrunner_h3::Protocol>().is_some()
}

fn refuse(refusal: &Refusal, version: Version) -> Response<ResponseBody> {
    let Refusal { status, reason } = *refusal;
    let text = match status {
        StatusCode::BAD_REQUEST => format!("bad request: {reason}\n"),
        _ => format!("{reason}\n"),
    };
    let mut response = plain(status, text);
    // The framing of a misdirected request is valid, and so is that of the next request.
    if version < Version::HTTP_2 && status != StatusCode::MISDIRECTED_REQUEST {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers 503 (RFC 9110, 15.6.4).
fn overloaded() -> Response<ResponseBody> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests are in flight\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Makes a response that hyper can frame on this protocol, whatever the service has put in it.
fn clean(mut response: Response<ResponseBody>, is_head: bool, version: Version) -> Response<ResponseBody> {
    let status = response.status();
    let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS && version == Version::HTTP_11;
    if status.is_informational() && !is_upgrade {
        tracing::error!(%status, "the service answered with a status that cannot end an exchange");
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "internal server error\n");
    }
    if !is_upgrade {
        strip_connection_fields(&mut response, version);
    }
    // RFC 9110, 6.4.1. hyper does this on HTTP/1 but not on HTTP/2.
    let has_no_body = is_head
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
        || is_upgrade;
    let length = response.body().size_hint().exact();
    if has_no_body {
        if is_head && let Some(length) = length.filter(|length| *length > 0) {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        *response.body_mut() = ResponseBody::empty();
    } else if let Some(length) = length {
        // A wrong length would desynchronise the connection (RFC 9112, 6.3), so the body's own length wins.
        if let header::Entry::Occupied(mut given) = response.headers_mut().entry(header::CONTENT_LENGTH) {
            given.insert(HeaderValue::from(length));
        }
    }
    response
}

/// Removes connection-specific fields (RFC 9113, 8.2.2). On HTTP/1, `connection: close` stays, since a service asks for
/// the end with it, and so does the `upgrade` field that 426 requires (RFC 9110, 15.5.22). `te` has a meaning in
/// requests only.
fn strip_connection_fields(response: &mut Response<ResponseBody>, version: Version) {
    let asks_upgrade = version < Version::HTTP_2 && response.status() == StatusCode::UPGRADE_REQUIRED;
    let headers = response.headers_mut();
    if !headers.keys().any(is_connection_field) {
        return;
    }
    let close = version < Version::HTTP_2 && lists(headers, &header::CONNECTION, "close");
    let upgrade = headers.get(header::UPGRADE).filter(|_| asks_upgrade).cloned();
    drop_connection_fields(headers);
    headers.remove(header::TE);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if close {
        headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

struct Panicked;

/// Runs a future to its end, or to its panic.
async fn catch_panics<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Panicked> {
    poll_fn(|cx| {
        // A future that has panicked is not polled again, so no broken invariant is seen.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// The response body as hyper sees it.
pub(crate) struct WireBody {
    body: ResponseBody,
    /// The rest of a piece that was too large.
    rest: Bytes,
    piece: usize,
    /// The body has failed, and hyper does not know it yet.
    aborting: bool,
    in_flight: InFlight,
}

impl WireBody {
    /// Aborts the response. hyper drops unflushed bytes when a body fails. So the first poll returns pending, which
    /// makes hyper flush, and the client gets everything written before the failure.
    fn abort(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if std::mem::replace(&mut self.aborting, true) {
            return Poll::Ready(Some(Err(Abort)));
        }
        self.body = ResponseBody::empty();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if !self.rest.is_empty() {
            let piece = self.piece.min(self.rest.len());
            let data = self.rest.split_to(piece);
            marks::body_offered();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.aborting {
            return self.abort(cx);
        }
        let body = Pin::new(&mut self.body);
        let polled = match catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
            Ok(polled) => polled,
            Err(_) => {
                self.in_flight.connection.stats.panics.fetch_add(1, Relaxed);
                return self.abort(cx);
            }
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(mut data) => {
                    if data.len() > self.piece {
                        let first = data.split_to(self.piece);
                        self.rest = std::mem::replace(&mut data, first);
                    }
                    marks::body_offered();
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            Poll::Pending => {
                marks::body_awaited();
                Poll::Pending
            }
            Poll::Ready(Some(Err(Abort))) => self.abort(cx),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !self.aborting && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// Counts an exchange for as long as it lives.
struct InFlight {
    connection: Arc<Connection>,
    /// The cap under which the exchange has a place, if any.
    cap: Option<Arc<RequestCap>>,
}

impl InFlight {
    /// Counts the exchange, and returns whether its listener has room for it.
    fn new<S>(link: &Link<S>) -> (InFlight, bool) {
        let connection = Arc::clone(&link.connection);
        connection.control.begin_exchange(connection.protocol);
        let cap = link.cap.as_ref().filter(|cap| cap.take()).cloned();
        let is_admitted = cap.is_some() || link.cap.is_none();
        (InFlight { connection, cap }, is_admitted)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(cap) = &self.cap {
            cap.now.fetch_sub(1, Relaxed);
        }
        self.connection.control.end_exchange(self.connection.protocol);
    }
}

/// The cap on the requests that a listener may have in flight.
#[derive(Debug)]
pub(crate) struct RequestCap {
    most: usize,
    now: AtomicUsize,
}

impl RequestCap {
    pub(crate) fn new(most: usize) -> RequestCap {
        RequestCap { most, now: AtomicUsize::new(0) }
    }

    /// Takes a place; returns false if none is free.
    fn take(&self) -> bool {
        if self.now.fetch_add(1, Relaxed) < self.most {
            return true;
        }
        self.now.fetch_sub(1, Relaxed);
        false
    }
}

/// The size limit, in bytes, of the pieces in which a response is handed to h2. h2 takes a piece as a whole once there
/// is any window for it, so a client can make this side hold one piece per stream. It is also the largest frame that a
/// client accepts by default (RFC 9113, 6.5.2), so the limit does not make frames smaller.
const H2_PIECE: usize = 16 * 1024;
