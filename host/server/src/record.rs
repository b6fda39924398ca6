//! The account of one request: metrics, and a line in the access log when it is over.
//!
//! A record that is dropped before it was closed belongs to a client that left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use http::{Method, Request, Response, StatusCode, Uri};
use http_body::{Body as _, Frame};
use roadrunner_sandbox::{Failure, Meter, Outcome, RequestId};
use roadrunner_wire::{Address, BodyError, Connection, RequestBody, ResponseBody};

use crate::app::{self, BodyRefusal, Context, Inner};
use crate::metrics::RouteMetrics;

/// One request from its route to its end.
pub(crate) struct Record {
    metrics: Arc<RouteMetrics>,
    started: Instant,
    meter: Option<Arc<Meter>>,
    line: Option<Box<Line>>,
    status: u16,
    bytes: u64,
    closed: bool,
}

/// What the access log says beside the account; only there when the log is on.
struct Line {
    id: RequestId,
    connection: Arc<Connection>,
    peer: Address,
    method: Method,
    target: String,
    route: Arc<str>,
}

impl Record {
    pub(crate) fn new(app: &Inner, context: &Context, method: &Method, uri: &Uri) -> Self {
        let route = &app.routes[context.route];
        route.metrics.begin();
        let line = app.access_log.then(|| {
            Box::new(Line {
                id: context.id.clone(),
                connection: context.connection.clone(),
                peer: context.peer.clone(),
                method: method.clone(),
                target: target(uri),
                route: route.pattern.clone(),
            })
        });
        Self {
            metrics: route.metrics.clone(),
            started: Instant::now(),
            meter: None,
            line,
            status: Outcome::Cancelled.row().status,
            bytes: 0,
            closed: false,
        }
    }

    /// An instance works for the request from now on.
    pub(crate) fn runs(&mut self, meter: &Arc<Meter>) {
        self.meter = Some(meter.clone());
    }

    /// The head is about to be sent.
    pub(crate) fn head(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// Body bytes are about to be sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The answer is whole.
    pub(crate) fn done(mut self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        self.head(response.status());
        self.bytes = response.body().size_hint().exact().unwrap_or(0);
        self.close(Outcome::Ok);
        response
    }

    /// The request ends before a head was sent.
    pub(crate) fn failed(self, failure: Failure) -> Response<ResponseBody> {
        let response = app::failure(failure.outcome);
        self.answered(response, &failure)
    }

    /// The request body was refused.
    pub(crate) fn refused(self, refusal: BodyRefusal) -> Response<ResponseBody> {
        let response = match &refusal {
            BodyRefusal::Body(BodyError::TimedOut(_)) => {
                app::plain(StatusCode::REQUEST_TIMEOUT, "the body came too slowly")
            }
            BodyRefusal::Body(BodyError::Malformed(_)) => app::plain(StatusCode::BAD_REQUEST, "the body is malformed"),
            BodyRefusal::Body(_) => app::failure(Outcome::Cancelled),
            BodyRefusal::TooLarge => app::failure(Outcome::BodyTooLarge),
        };
        self.answered(response, &refusal.into())
    }

    /// A failure has this answer.
    fn answered(mut self, response: Response<ResponseBody>, failure: &Failure) -> Response<ResponseBody> {
        self.head(response.status());
        self.bytes = response.body().size_hint().exact().unwrap_or(0);
        self.end_with(failure);
        response
    }

    /// The request ends with this failure; before or after the head.
    pub(crate) fn end_with(&mut self, failure: &Failure) {
        if !failure.detail.is_empty()
            && let Some(meter) = &self.meter
        {
            tracing::warn!(
                request = %meter.subject.request,
                component = %meter.subject.component,
                route = %meter.subject.route,
                instance = meter.id,
                outcome = failure.outcome.row().label,
                "{}",
                failure.detail
            );
        }
        self.close(failure.outcome);
    }

    /// The request is over.
    pub(crate) fn close(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let elapsed = self.started.elapsed();
        self.metrics.end(outcome, elapsed, self.meter.as_deref());
        if let Some(line) = &self.line {
            let cpu = self.meter.as_ref().map_or(0, |meter| meter.cpu().as_micros() as u64);
            let memory = self.meter.as_ref().map_or(0, |meter| meter.peak_memory());
            let shape = self.meter.as_ref().map_or("none", |meter| meter.shape().label());
            tracing::info!(
                target: "access",
                request = %line.id,
                peer = %line.peer,
                protocol = line.connection.protocol.as_str(),
                method = %line.method,
                uri = line.target,
                route = %line.route,
                status = self.status,
                bytes = self.bytes,
                outcome = outcome.row().label,
                shape,
                microseconds = elapsed.as_micros() as u64,
                cpu_microseconds = cpu,
                peak_memory = memory,
            );
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.close(Outcome::Cancelled);
    }
}

/// Path and query: what every protocol has of a target.
fn target(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string)
}

/// The account of a request that no route took.
pub(crate) fn unrouted(
    app: &Inner,
    request: &Request<RequestBody>,
    connection: &Connection,
    peer: &Address,
    response: &Response<ResponseBody>,
) {
    app.metrics.unrouted(response.status());
    if app.access_log {
        tracing::info!(
            target: "access",
            %peer,
            protocol = connection.protocol.as_str(),
            method = %request.method(),
            uri = target(request.uri()),
            status = response.status().as_u16(),
            bytes = response.body().size_hint().exact().unwrap_or(0),
            outcome = "unrouted",
        );
    }
}

/// A body that closes its record when it has been sent.
pub(crate) struct Recorded<B> {
    body: B,
    record: Record,
}

impl<B> Recorded<B> {
    pub(crate) fn new(body: B, mut record: Record) -> Self
    where
        B: http_body::Body,
    {
        if body.is_end_stream() {
            // The connection will not ask for a frame.
            record.close(Outcome::Ok);
        }
        Self { body, record }
    }
}

impl<B> http_body::Body for Recorded<B>
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin,
{
    type Data = bytes::Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, B::Error>>> {
        let this = &mut *self;
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => this.record.sent(frame.data_ref().map_or(0, bytes::Bytes::len)),
            Some(Err(_)) => this.record.close(Outcome::GuestError),
            None => this.record.close(Outcome::Ok),
        }
        if this.body.is_end_stream() {
            this.record.close(Outcome::Ok);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
