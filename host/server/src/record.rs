//! The account of one request: metrics, and a line in the access log when it is over.
//!
//! A record that is dropped before it was closed belongs to a client that has left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use roadrunner_account::{Failure, Meter, Outcome, Payer, admits};
use roadrunner_grpc::Protocol;
use roadrunner_log::Quoted;
use roadrunner_manifest::AccessLogFormat;
use roadrunner_sandbox::{BodyError, BodyFault};
use roadrunner_wire::{Abort, Address, Connection, RequestBody, ResponseBody};

use crate::access_log::{End, Labels, Line};
use crate::answer::{Reason, refuse};
use crate::context::Context;
use crate::counters::{HostCounters, RouteCounters};
use crate::grpc::progress::Progress;
use crate::ledger::{Account, Ledger, WeakLedger, left};

/// The accounts of a route's requests: counters, and the access log.
pub(crate) struct RouteAccount {
    pub(crate) counters: Arc<RouteCounters>,
    /// The format of the access log; none where it is off.
    pub(crate) log: Option<AccessLogFormat>,
    pub(crate) labels: Labels,
}

impl RouteAccount {
    /// Creates the line of a request; none where the log is off.
    fn line(&self, context: &Context, request: &Request<RequestBody>) -> Option<Box<Line>> {
        let (connection, id) = (&context.connection, Some(context.id.clone()));
        Some(Box::new(Line::new(self.log?, id, connection, &context.peer, request, Some(self.labels.clone()))))
    }
}

/// One request from its route to its end.
pub(crate) struct Record {
    counters: Arc<RouteCounters>,
    started: Instant,
    meter: Option<Arc<Meter>>,
    /// The fault of the request's body, while the body is pulled from the wire.
    fault: Option<BodyFault>,
    line: Option<Box<Line>>,
    /// The time at which the request has to be over, unless it becomes a session.
    ends: Option<Instant>,
    /// The call of gRPC; none for other requests.
    call: Option<Box<Progress>>,
    status: u16,
    bytes: u64,
    /// Streams and datagrams of a WebTransport session.
    traffic: Option<(u64, u64)>,
    /// The ledger for the account; none without middlewares, where the account is written at once.
    ledger: Option<WeakLedger>,
    /// The outcome; none while the record is open.
    outcome: Option<Outcome>,
}

impl Record {
    pub(crate) fn new(route: &RouteAccount, context: &Context, request: &Request<RequestBody>) -> Self {
        route.counters.begin();
        let line = route.line(context, request);
        Self {
            counters: route.counters.clone(),
            started: Instant::now(),
            meter: None,
            fault: None,
            line,
            ends: context.ends,
            call: context.call.as_ref().map(|call| Box::new(Progress::of(call))),
            status: Outcome::Cancelled.row().status,
            bytes: 0,
            traffic: None,
            ledger: context.ledger.as_ref().map(Ledger::downgrade),
            outcome: None,
        }
    }

    /// Sets the instance that works for the request.
    pub(crate) fn runs(&mut self, meter: &Arc<Meter>) {
        self.meter = Some(meter.clone());
        if let Some(ledger) = &self.ledger {
            ledger.runs(meter);
        }
    }

    /// Sets the fault of a body that the guest pulls.
    pub(crate) fn watches(&mut self, fault: Option<BodyFault>) {
        self.fault = fault;
    }

    /// Whether the request is a call of gRPC.
    pub(crate) fn is_call(&self) -> bool {
        self.call.is_some()
    }

    /// Closes the record of a request whose body is invalid, after the head.
    pub(crate) fn misread(&mut self, error: &BodyError) {
        self.close(outcome_of(error));
    }

    /// Whether the guest pulls the body.
    pub(crate) fn watches_body(&self) -> bool {
        self.fault.is_some()
    }

    /// The fault of the request's body so far, whatever the guest makes of it. As long as no head was sent, the client
    /// is told of it.
    pub(crate) fn refusal(&self) -> Option<BodyError> {
        let error = self.fault.as_ref()?.get()?;
        matches!(error, BodyError::Malformed(_) | BodyError::Timeout).then(|| error.clone())
    }

    /// The same for a request that failed. Here it includes a body that is too large: a guest can cope with that, but
    /// this guest did not.
    fn blame(&self, failure: &Failure) -> Option<BodyError> {
        let error = self.fault.as_ref()?.get()?;
        let is_too_large = matches!(error, BodyError::TooLarge(_)) && is_guests(failure);
        if is_too_large { Some(error.clone()) } else { self.refusal() }
    }

    /// Makes the request a session, which may last: until its caller's deadline, if it has one.
    pub(crate) fn holds(&mut self) {
        self.ends = self.call.as_ref().and_then(|call| call.deadline);
    }

    /// Records the head that is about to be sent.
    pub(crate) fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = status.as_u16();
        if let Some(call) = &mut self.call {
            call.head(status, headers);
        }
    }

    /// Records the trailer fields that are about to be sent.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(call) = &mut self.call {
            call.trailers(trailers);
        }
    }

    /// The last frame of a body that ends early, once the record is closed: the status of a call of gRPC.
    ///
    /// # Errors
    /// [`Abort`] for any other answer.
    pub(crate) fn cut(&self) -> Result<Frame<bytes::Bytes>, Abort> {
        match (&self.call, self.outcome) {
            (Some(call), Some(outcome)) => call.cut(outcome),
            _ => Err(Abort),
        }
    }

    /// Counts body bytes that are about to be sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Records the totals of a WebTransport session: bytes sent, and streams and datagrams in both directions.
    pub(crate) fn traffic(&mut self, bytes: u64, streams: u64, datagrams: u64) {
        self.bytes = bytes;
        self.traffic = Some((streams, datagrams));
    }

    /// Closes the record of a whole response, whose trailer fields are recorded already.
    pub(crate) fn done(mut self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        self.whole(&response);
        self.close(Outcome::Ok);
        response
    }

    /// Ends the request before a head was sent.
    pub(crate) fn failed(self, failure: Failure) -> Response<ResponseBody> {
        if let Some(error) = self.blame(&failure) {
            return self.refused(&error);
        }
        self.answered(refuse(failure.outcome), &failure)
    }

    /// Ends a request whose body is invalid.
    pub(crate) fn refused(self, error: &BodyError) -> Response<ResponseBody> {
        let outcome = outcome_of(error);
        let reason = match error {
            BodyError::Timeout => Reason::BodyTooSlow,
            _ => outcome.into(),
        };
        self.answered(refuse(reason), &outcome.into())
    }

    /// Ends a request whose handshake, or lack of it, does not fit the answer of the guest.
    pub(crate) fn mismatched(self, reason: Reason) -> Response<ResponseBody> {
        self.answered(refuse(reason), &Outcome::HandshakeMismatch.into())
    }

    /// Ends the request with this answer to a failure.
    pub(crate) fn answered(mut self, response: Response<ResponseBody>, failure: &Failure) -> Response<ResponseBody> {
        self.whole(&response);
        self.end_with(failure);
        response
    }

    fn whole(&mut self, response: &Response<ResponseBody>) {
        self.status = response.status().as_u16();
        self.bytes = response.body().size_hint().exact().unwrap_or(0);
        if let Some(call) = &mut self.call {
            call.whole(response);
        }
    }

    /// Ends the request with this failure, before or after the head.
    pub(crate) fn end_with(&mut self, failure: &Failure) {
        if is_guests(failure)
            && let Some(error) = self.blame(failure)
        {
            return self.close(outcome_of(&error));
        }
        if !failure.detail.is_empty()
            && let Some(meter) = &self.meter
            && admits(meter, &failure.detail)
        {
            tracing::warn!(
                request = %meter.subject.request,
                tenant = meter.subject.tenant.as_ref().map(|tenant| &*tenant.name),
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

    /// Logs a problem that is not the request's fault.
    pub(crate) fn warn(&self, text: &Quoted) {
        let text = text.to_string();
        if self.meter.as_ref().is_none_or(|meter| admits(meter, &text)) {
            tracing::warn!("{text}");
        }
    }

    /// Closes the record.
    pub(crate) fn close(&mut self, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(outcome);
        let account = Account {
            counters: self.counters.clone(),
            started: self.started,
            meter: self.meter.take(),
            line: self.line.take(),
            ends: self.ends,
            status: self.status,
            grpc: self.call.as_ref().and_then(|call| call.code(outcome)),
            bytes: self.bytes,
            traffic: self.traffic,
            outcome,
        };
        match &self.ledger {
            Some(ledger) => ledger.put(account),
            None => account.write(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = left(self.ends);
        if self.outcome.is_none() && outcome == Outcome::TotalExceeded && self.status == Outcome::Cancelled.row().status
        {
            self.status = outcome.row().status;
        }
        self.close(outcome);
    }
}

/// Accounts for a request that no route took, or that never reached the router.
pub(crate) fn unrouted(
    counters: &HostCounters,
    log: Option<AccessLogFormat>,
    request: &Request<RequestBody>,
    (connection, peer): (&Arc<Connection>, &Address),
    response: &Response<ResponseBody>,
) {
    counters.unrouted(response.status());
    if let Some(format) = log {
        let line = Line::new(format, None, connection, peer, request, None);
        let is_call = Protocol::of(request.headers()).is_some();
        line.write(&End::of(response, is_call, "unrouted", Duration::ZERO), None);
    }
}

/// Whether a failure would be the guest's fault, apart from the request's body.
fn is_guests(failure: &Failure) -> bool {
    matches!(failure.outcome, Outcome::GuestError | Outcome::InvalidResponse | Outcome::Trapped)
}

/// The outcome of a request whose body is invalid.
fn outcome_of(error: &BodyError) -> Outcome {
    match error {
        BodyError::Closed | BodyError::Timeout => Outcome::Cancelled,
        BodyError::Malformed(_) => Outcome::Malformed,
        BodyError::TooLarge(_) => Outcome::BodyTooLarge,
    }
}

/// An extension of responses from a route's target, whose requests have a [`Record`].
#[derive(Clone)]
pub(crate) struct Accounted {
    /// The payer for the work of middlewares on the response.
    pub(crate) payer: Payer,
    pub(crate) ledger: Ledger,
}

/// The record of a request on its way into middlewares. A middleware may answer it.
pub(crate) struct StackRecord {
    counters: Arc<RouteCounters>,
    started: Instant,
    /// Whether the request is a call of gRPC.
    is_call: bool,
    line: Option<Box<Line>>,
}

impl StackRecord {
    pub(crate) fn new(route: &RouteAccount, context: &Context, request: &Request<RequestBody>) -> Self {
        let (is_call, line) = (context.call.is_some(), route.line(context, request));
        Self { counters: route.counters.clone(), started: Instant::now(), is_call, line }
    }

    /// Accounts for the response, unless a record does.
    pub(crate) fn answered(self, response: &Response<ResponseBody>) {
        if response.extensions().get::<Accounted>().is_some() {
            return;
        }
        let outcome = match response.status() {
            StatusCode::TOO_MANY_REQUESTS => Outcome::RateLimited,
            // The request's own record was dropped with it, and has the account.
            StatusCode::GATEWAY_TIMEOUT => return,
            _ => Outcome::Ok,
        };
        let end = End::of(response, self.is_call, outcome.row().label, self.started.elapsed());
        self.counters.begin();
        self.counters.end(outcome, end.grpc, end.elapsed, None);
        if let Some(line) = &self.line {
            line.write(&end, None);
        }
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
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => this.record.trailers(trailers),
                None => this.record.sent(frame.data_ref().map_or(0, bytes::Bytes::len)),
            },
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
