//! The path of an exchange to a response: admission by peer, router, middlewares, admission to an instance, instance,
//! shape.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use roadrunner_account::{Outcome, Payer, Peer, Subject};
use roadrunner_manifest::Lookup;
use roadrunner_sandbox::{self as sandbox, Upgrade};
use roadrunner_wire::{
    self as wire, Address, Connection, Exchange, Held, RequestBody, ResponseBody, Service, TunnelKind, TunnelRequest,
};

use crate::answer::{Reason, refuse};
use crate::body::{BodyRefusal, body_error, body_for};
use crate::buffers::Answerable;
use crate::context::Context;
use crate::grpc::{self, Call, Framed, cut_at, earlier, ends_by, is_framed};
use crate::ledger::Ledger;
use crate::middleware::RouteService;
use crate::record::{self, Accounted, Record, StackRecord};
use crate::serving::{Guest, Serving, Target};
use crate::shapes::{self, Handshake, RequestFacts};

/// The service that answers requests. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<ArcSwap<Serving>>);

impl App {
    pub(crate) fn new(serving: Serving) -> Self {
        let serving = Arc::new(serving);
        serving.host.latest.send_replace(Arc::downgrade(&serving));
        Self(Arc::new(ArcSwap::new(serving)))
    }

    /// The state that answers a request that arrives now.
    pub(crate) fn current(&self) -> Arc<Serving> {
        self.0.load_full()
    }

    /// Replaces the state. Requests in flight keep the state that they started with.
    pub(crate) fn replace(&self, serving: Serving) {
        let serving = Arc::new(serving);
        self.0.store(serving.clone());
        serving.host.latest.send_replace(Arc::downgrade(&serving));
    }
}

impl Service for App {
    async fn call(&self, exchange: Exchange) -> Response<ResponseBody> {
        let call = Call::of(&exchange.request);
        let response = self.answer(exchange, call.as_ref()).await;
        match &call {
            None => response,
            Some(call) => grpc::shaped(response, &call.protocol),
        }
    }
}

impl App {
    async fn answer(&self, mut exchange: Exchange, call: Option<&Call>) -> Response<ResponseBody> {
        let serving = self.0.load();
        let (peer, scheme) = exchange.origin();
        if let Some(limiter) = &serving.accounts.rate_limit
            && let Some(client) = peer.ip()
            && let Err(wait) = limiter.take(client)
        {
            let Exchange { request, connection } = &exchange;
            return unrouted(&serving, Reason::TooSoon(Outcome::RateLimited, wait), request, connection, &peer);
        }
        let authority = exchange.authority().to_owned();
        let tunnel = exchange.take_tunnel().filter(is_known);
        let Exchange { mut request, connection } = exchange;
        if tunnel.is_none() && request.method() == Method::CONNECT {
            // RFC 8441, 4 and RFC 9220, 3: the host does not speak this protocol. A success would open a tunnel.
            return unrouted(&serving, Reason::UnknownProtocol, &request, &connection, &peer);
        }
        if tunnel.as_ref().is_some_and(|tunnel| tunnel.kind() == TunnelKind::ExtendedConnect) {
            // RFC 8441, 4 and RFC 9220, 3: over HTTP/1.1 this is a GET. From here on the protocols look alike.
            *request.method_mut() = Method::GET;
        }
        let host = (!authority.is_empty()).then_some(&*authority);
        let (route, params) = match serving.lookup(host, &request) {
            Lookup::Found { index, params, .. } => (index, serving.routes[index].params(&params)),
            Lookup::BadPath => return unrouted(&serving, Reason::BadPath, &request, &connection, &peer),
            Lookup::MethodNotAllowed { allow } => {
                let reason = Reason::MethodNotAllowed((*allow).clone());
                return unrouted(&serving, reason, &request, &connection, &peer);
            }
            Lookup::NotFound => return unrouted(&serving, Reason::NotFound, &request, &connection, &peer),
        };
        let tunnel = tunnel.map(|tunnel| Arc::new(Mutex::new(Some(tunnel))));
        let total = serving.routes[route].total.map(|total| Instant::now() + total);
        let ends = earlier(total, call.and_then(|call| call.deadline));
        let id = serving.host.ids.next();
        let ledger = serving.routes[route].stack.as_ref().map(|_| Ledger::default());
        let time = Time { ends, call };
        let call = call.cloned();
        let context = Context { connection, peer, id, route, params, authority, scheme, ends, call, ledger, tunnel };
        match &serving.routes[route].stack {
            // The future is boxed: hyper keeps room for it for as long as the connection lives, and a held event loop
            // no longer needs it. It is made in its place: `Box::pin` would copy it there.
            None => {
                let answer = Box::into_pin(Box::write(Box::new_uninit(), serving.answer(context, request)));
                time.limit(answer).await
            }
            Some(stack) => {
                let record = StackRecord::new(&serving.routes[route].account, &context, &request);
                request.extensions_mut().insert(Arc::clone(&serving));
                request.extensions_mut().insert(context);
                let mut response = time.limit(stack.call(request)).await;
                record.answered(&response);
                // The extension would hold the account back for as long as the transport keeps the head.
                response.extensions_mut().remove::<Accounted>();
                response
            }
        }
    }
}

/// The time that a request has.
struct Time<'c> {
    /// The time at which it has to be over.
    ends: Option<Instant>,
    call: Option<&'c Call>,
}

impl Time<'_> {
    /// Returns the answer, if it is ready in time. From then on the transport enforces the time for its body.
    async fn limit(self, answer: impl Future<Output = Response<ResponseBody>>) -> Response<ResponseBody> {
        let Some(ends) = self.ends else { return answer.await };
        match tokio::time::timeout_at(ends.into(), answer).await {
            Ok(response) => self.limit_body(response, ends),
            // The record of the request, which is dropped with its future, comes to the same outcome.
            Err(_) => refuse(Outcome::TotalExceeded),
        }
    }

    fn limit_body(self, response: Response<ResponseBody>, ends: Instant) -> Response<ResponseBody> {
        // The host's own limit is not for what is held, but a caller's deadline is.
        let is_held = response.extensions().get::<Held>().is_some();
        let ends = if is_held { self.call.and_then(|call| call.deadline) } else { Some(ends) };
        match (self.call, ends) {
            (_, None) => response,
            (None, Some(ends)) => {
                wire::end_by(ends);
                response
            }
            (Some(call), Some(ends)) => {
                wire::end_by(cut_at(ends));
                ends_by(response, &call.protocol, ends)
            }
        }
    }
}

/// The service behind the middlewares of every route.
pub(crate) fn target() -> RouteService {
    RouteService::new(tower::service_fn(async |request| Ok(behind_middlewares(request).await)))
}

/// Answers a request that has passed the middlewares of its route.
async fn behind_middlewares(mut request: Request<RequestBody>) -> Response<ResponseBody> {
    let extensions = request.extensions_mut();
    let (Some(serving), Some(context)) = (extensions.remove::<Arc<Serving>>(), extensions.remove::<Context>()) else {
        return refuse(Outcome::Unsupported);
    };
    let (ledger, tenant) = (context.ledger.clone(), serving.routes[context.route].tenant.clone());
    let holder = serving.holder(tenant.as_ref(), &context.connection);
    let mut response = serving.answer(context, request).await;
    let answerable = Answerable::of(&response, holder);
    response.extensions_mut().insert(answerable);
    if let Some(ledger) = ledger {
        let accounts = serving.host.sandbox.accounts();
        let payer =
            ledger.meter().map_or_else(|| Payer::tenant(accounts, tenant), |meter| Payer::request(accounts, meter));
        response.extensions_mut().insert(Accounted { payer, ledger });
    }
    response
}

impl Serving {
    // Parts that not every request needs are boxed, so that the future of other requests is small.
    async fn answer(self: &Arc<Self>, context: Context, request: Request<RequestBody>) -> Response<ResponseBody> {
        let route = &self.routes[context.route];
        let record = Record::new(&route.account, &context, &request);
        if let Some(tenant) = &route.tenant
            && let Err(wait) = tenant.requests.take(1)
        {
            let outcome = Outcome::TenantRateLimited;
            return record.answered(refuse(Reason::TooSoon(outcome, wait)), &outcome.into());
        }
        if let Some(reason) = Call::refusal(context.call.as_ref(), route.grpc.is_some(), request.method()) {
            return record.done(refuse(reason));
        }
        match &route.target {
            Target::Grpc(service) => Box::pin(grpc::serve(self, *service, &context, request, record)).await,
            Target::Guest(guest) => self.run(guest, context, request, record).await,
            Target::Static(files) => Box::pin(shapes::file::serve(self, files, &context, &request, record)).await,
        }
    }

    async fn run(
        self: &Arc<Self>,
        guest: &Guest,
        context: Context,
        request: Request<RequestBody>,
        mut record: Record,
    ) -> Response<ResponseBody> {
        let (mut head, body) = request.into_parts();
        let tunnel = context.tunnel.as_ref().and_then(|tunnel| tunnel.lock().take());
        let handshake = match tunnel.map(|tunnel| Handshake::judge(guest, &head, tunnel)).transpose() {
            Ok(handshake) => handshake,
            Err(reason) => return record.done(refuse(reason)),
        };
        wire::drop_connection_fields(&mut head.headers);
        let meter = guest.binding.meter(Subject {
            request: context.id.clone(),
            tenant: guest.binding.gates.tenant().cloned(),
            component: guest.component.clone(),
            digest: guest.binding.component.digest,
            route: self.routes[context.route].account.labels.route.clone(),
            peer: peer(&context.peer),
            connection: context.connection.held.clone(),
        });
        let body = body.map_err(body_error);
        let body = match &context.call {
            Some(call) if is_framed(&call.protocol, &head.headers) => {
                let body = Framed::new(body, self.max_message);
                Box::pin(body_for(guest.body, guest.body_limit, body, &head, &meter)).await
            }
            _ => body_for(guest.body, guest.body_limit, body, &head, &meter).await,
        };
        let body = match body {
            Ok(body) => body,
            Err(BodyRefusal::Body(error)) => return record.refused(&error),
            Err(BodyRefusal::NoRoom(outcome)) => return record.failed(outcome.into()),
        };
        record.watches(body.as_ref().and_then(sandbox::Body::fault));
        let permit = match guest.binding.gates.admit().await {
            Ok(permit) => permit,
            Err(outcome) => return record.failed(outcome.into()),
        };
        record.runs(&meter);
        let upgrade = handshake.as_ref().map(|handshake| match handshake {
            Handshake::WebSocket(handshake) => Upgrade::WebSocket(handshake.judged.protocols().to_vec()),
            Handshake::WebTransport(_) => Upgrade::WebTransport,
        });
        let facts = RequestFacts::of(&head, handshake);
        let request = sandbox::Request {
            id: context.id.clone(),
            head,
            scheme: context.scheme,
            authority: context.authority,
            peer: peer(&context.peer),
            client_certificate: client_certificate(&context.connection),
            params: context.params,
            route: self.routes[context.route].name.clone(),
            body,
            upgrade,
        };
        if guest.binding.component.kind() != sandbox::Kind::Native {
            return match Box::pin(guest.binding.respond_standard(meter, permit, request)).await {
                Ok((instance, head)) => shapes::standard::answer(instance, head, &facts, record),
                Err(failure) => record.failed(failure),
            };
        }
        match guest.binding.respond(meter, permit, request).await {
            Ok((instance, response)) => {
                shapes::answer(self, guest, instance, response, facts, context.connection, record).await
            }
            Err(failure) => record.failed(failure),
        }
    }
}

/// Answers a request that no route takes. The connection stays open.
fn unrouted(
    serving: &Serving,
    reason: Reason,
    request: &Request<RequestBody>,
    connection: &Arc<Connection>,
    peer: &Address,
) -> Response<ResponseBody> {
    let response = refuse(reason);
    let Serving { host, access_log, .. } = serving;
    record::unrouted(&host.counters, *access_log, request, (connection, peer), &response);
    response
}

/// Whether a tunnel is of a kind that is served; a request for another kind is treated as a plain request.
fn is_known(tunnel: &TunnelRequest) -> bool {
    tunnel.names("websocket") || tunnel.is_webtransport()
}

pub(crate) fn peer(address: &Address) -> Peer {
    match address {
        Address::Ip(address) => Peer::Address(*address),
        Address::Unix(_) => Peer::Local,
    }
}

/// The fields of the client's certificate. It belongs to the connection: behind a proxy, it is the proxy's.
fn client_certificate(connection: &Connection) -> Option<sandbox::ClientCertificate> {
    let wire::ClientCertificate { subject, issuer, serial, names, sha256 } =
        wire::ClientCertificate::clone(connection.tls.as_ref()?.client_certificate.as_ref()?);
    Some(sandbox::ClientCertificate { subject, issuer, serial, names, sha256 })
}
