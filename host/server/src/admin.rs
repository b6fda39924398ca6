//! The operator's listener: metrics, health, the live instances, and deploying.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | the text format of Prometheus |
//! | `GET /live` | 200 while the process runs |
//! | `GET /ready` | 200 while requests are taken, 503 from the first signal to end |
//! | `GET /instances` | a JSON array, one object for each live instance, oldest first |
//! | `DELETE /instances/ID` | ends one instance: 204, or 404 |
//! | `GET /buffers` | a [`BuffersInfo`]: bytes that the host holds for requests outside their instances |
//! | `POST /reload` | loads the manifest again: 200, or 422 with the error |
//! | `GET /components` | a JSON array of [`ComponentInfo`](crate::deploy::ComponentInfo), by name |
//! | `PUT /components/NAME` | deploys the component in the body: 200 with its info, or 422 with the error |
//! | `POST /components/NAME/pull` | deploys the component whose registry reference is the body: same answers |
//! | `POST /components/NAME/rollback` | goes back to the previous version: 200 with its info, or 409 without one |
//! | `DELETE /components/NAME/DIGEST` | removes a version that does not serve: 204, 404, or 409 if it serves |
//!
//! The listener is on a unix socket that only the host's user can open, on a loopback address, or, with TLS, on any
//! address. `Access` authenticates the caller. The host sees and does everything. A tenant
//! sees and does only its own part, as if nothing else existed; `/live` and `/ready` are for everybody. Where nobody
//! has a key, anybody who reaches the listener may do everything except deploy over TCP.
//!
//! Over TCP the listener refuses a Host that is a name other than `localhost` and the name of the TLS handshake. So a
//! page in the operator's browser cannot reach it by DNS rebinding. A page could still send a POST, with its `origin`;
//! a request with any origin is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use roadrunner_account::{Instances, Meter};
use roadrunner_log::Quoted;
use roadrunner_wire::{Exchange, RequestBody, ResponseBody, Server, Service};
use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::access_log::short;
use crate::answer::plain;
use crate::app::App;
use crate::deploy::Deploy;
use crate::metrics;
use crate::orders::Orders;
use crate::serving::Serving;

/// The service that answers the operator.
pub struct Admin {
    app: App,
    server: Arc<OnceLock<Arc<Server>>>,
    orders: Orders,
    deploy: Deploy,
}

/// Bytes held for requests outside their instances, as `GET /buffers` and `roadrunner ps` show them.
#[derive(Debug, Deserialize, Serialize)]
pub struct BuffersInfo {
    /// Bytes held for all requests, and the limit; none for a tenant.
    pub host: Option<(u64, u64)>,
    /// Bytes held for the requests of each tenant that the caller sees.
    pub tenants: BTreeMap<String, u64>,
}

impl BuffersInfo {
    fn of(serving: &Serving, caller: &Caller) -> Self {
        let buffers = &serving.host.sandbox.accounts().buffers;
        let seen = serving.accounts.tenants.iter().filter(|(name, _)| caller.sees(Some(name)));
        Self {
            host: caller.tenant().is_none().then(|| (buffers.used(), buffers.limit())),
            tenants: seen.map(|(name, tenant)| (name.clone(), tenant.buffered())).collect(),
        }
    }
}

/// One live instance, as `GET /instances` and `roadrunner ps` show it.
#[derive(Debug, Deserialize, Serialize)]
pub struct InstanceInfo {
    /// The instance's id.
    pub id: u64,
    /// The tenant that the component belongs to; none for the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The component's name in the manifest.
    pub component: String,
    /// The first twelve characters of its digest.
    #[serde(default)]
    pub digest: String,
    /// The pattern of its route.
    pub route: String,
    /// The shape of its response; `pending` until the handler has answered.
    pub shape: String,
    /// The request's id, as in the access log.
    pub request: String,
    /// The client's address.
    pub peer: String,
    /// Whether it hibernates: its instance is gone, and the next event makes another.
    pub hibernating: bool,
    /// Its age, in milliseconds.
    pub age_ms: u64,
    /// CPU time used, in microseconds.
    pub cpu_us: u64,
    /// Bytes charged to its memory limit.
    pub memory: u64,
    /// The peak of bytes charged to it.
    pub peak_memory: u64,
    /// Calls of the guest into the host.
    #[serde(default)]
    pub host_calls: u64,
}

impl InstanceInfo {
    fn of(meter: &Meter) -> Self {
        Self {
            id: meter.id,
            tenant: meter.subject.tenant.as_ref().map(|tenant| tenant.name.to_string()),
            component: meter.subject.component.to_string(),
            digest: short(meter.subject.digest),
            route: meter.subject.route.to_string(),
            shape: meter.shape().label().to_owned(),
            request: meter.subject.request.to_string(),
            peer: meter.subject.peer.to_string(),
            hibernating: meter.is_hibernating(),
            age_ms: u64::try_from(meter.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cpu_us: u64::try_from(meter.cpu().as_micros()).unwrap_or(u64::MAX),
            memory: meter.memory(),
            peak_memory: meter.peak_memory(),
            host_calls: meter.host_calls(),
        }
    }
}

impl Admin {
    /// Creates the service for this app. `server` is set once the listeners are open, and `/ready` waits for it.
    pub(crate) fn new(app: App, server: Arc<OnceLock<Arc<Server>>>, orders: Orders, deploy: Deploy) -> Self {
        Self { app, server, orders, deploy }
    }

    /// Answers requests below `/components`.
    async fn components(&self, request: Request<RequestBody>, is_tcp: bool, caller: &Caller) -> Response<ResponseBody> {
        let path = request.uri().path().to_owned();
        let below = path.strip_prefix("/components").unwrap_or_default();
        let (_, below) = below.split_once('/').unwrap_or_default();
        let parts: Vec<_> = below.split('/').filter(|part| !part.is_empty()).collect();
        let method = request.method().clone();
        let allowed = match parts[..] {
            [] => "GET, HEAD",
            [_] => "PUT",
            [_, "pull" | "rollback"] => "POST",
            [_, _] => "DELETE",
            _ => return plain(StatusCode::NOT_FOUND, "not found"),
        };
        if !allowed.split(", ").any(|allowed| allowed == method.as_str()) {
            return allow(allowed);
        }
        if is_tcp && *caller == Caller::Anyone && !parts.is_empty() {
            let fix = "deploying over TCP needs a token or a certificate: set `token-file` in [admin], or `client-auth` in \
                       its `tls`, or listen on unix:PATH";
            return plain(StatusCode::FORBIDDEN, fix);
        }
        let done = match parts[..] {
            [name] => self.deploy.put(name, request, caller).await.map(Some),
            [name, "pull"] => self.deploy.pull(name, request.into_body(), caller).await.map(Some),
            [name, "rollback"] => self.deploy.rollback(name, caller).await.map(Some),
            [name, digest] => self.deploy.forget(name, digest, caller).await.map(|()| None),
            _ => return json(&self.deploy.list(caller)),
        };
        match done {
            Ok(Some(info)) => json(&info),
            Ok(None) => with_status(StatusCode::NO_CONTENT),
            Err(refusal) => {
                self.app.current().host.counters.switched(false);
                let (path, why) = (Quoted::text(&path), Quoted::display(&refusal));
                tracing::warn!(%path, tenant = caller.tenant(), "not deployed: {why}");
                plain(refusal.status(), &refusal.told(caller))
            }
        }
    }

    /// Answers health checks for everybody; they reveal nothing else about the host.
    fn health(&self, path: &str) -> Option<Response<ResponseBody>> {
        let is_ready = || self.server.get().is_some() && !self.app.current().host.drain.is_announced();
        Some(match path {
            "/live" => plain(StatusCode::OK, "live"),
            "/ready" if is_ready() => plain(StatusCode::OK, "ready"),
            "/ready" => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            _ => return None,
        })
    }

    fn answer(&self, method: &Method, path: &str, caller: &Caller) -> Response<ResponseBody> {
        let serving = &self.app.current();
        let registry = &serving.host.sandbox.accounts().instances;
        let get = matches!(*method, Method::GET | Method::HEAD);
        match path {
            "/metrics" if get => {
                let text = metrics::render(serving, self.server.get().map(|server| &**server.stats()), caller);
                typed(text, "text/plain; version=0.0.4; charset=utf-8")
            }
            "/instances" if get => {
                let meters = registry.list();
                let seen = meters.iter().filter(|meter| caller.sees(owner(meter)));
                json(&seen.map(|meter| InstanceInfo::of(meter)).collect::<Vec<_>>())
            }
            "/buffers" if get => json(&BuffersInfo::of(serving, caller)),
            _ => match path.strip_prefix("/instances/").map(str::parse) {
                Some(Ok(id)) if *method == Method::DELETE => match may_end(registry, id, caller) && registry.kill(id) {
                    true => with_status(StatusCode::NO_CONTENT),
                    false => plain(StatusCode::NOT_FOUND, "no instance has this id"),
                },
                Some(Ok(_)) => allow("DELETE"),
                _ if path == "/reload" => allow("POST"),
                _ if matches!(path, "/metrics" | "/live" | "/ready" | "/instances" | "/buffers") => allow("GET, HEAD"),
                _ => plain(StatusCode::NOT_FOUND, "not found"),
            },
        }
    }
}

impl Service for Admin {
    async fn call(&self, exchange: Exchange) -> Response<ResponseBody> {
        let tls = exchange.connection.tls.as_ref();
        if !is_own_name(exchange.authority(), tls.and_then(|tls| tls.server_name.as_deref())) {
            return plain(StatusCode::FORBIDDEN, "ask by address, as localhost, or by the name of the TLS handshake");
        }
        let certificate = tls.and_then(|tls| tls.client_certificate.clone());
        let is_tcp = exchange.peer().ip().is_some();
        let request = exchange.request;
        let (method, path) = (request.method(), request.uri().path());
        let get = matches!(*method, Method::GET | Method::HEAD);
        if let Some(response) = self.health(path).filter(|_| get) {
            return response;
        }
        let Some(caller) = self.app.current().loaded.access.caller(request.headers(), certificate.as_deref()) else {
            let mut response =
                plain(StatusCode::UNAUTHORIZED, "show the token of [admin], or a certificate that it knows");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        };
        if !get && request.headers().contains_key(header::ORIGIN) {
            return plain(StatusCode::FORBIDDEN, "not from a page");
        }
        if path == "/components" || path.starts_with("/components/") {
            return self.components(request, is_tcp, &caller).await;
        }
        if path == "/reload" && *method == Method::POST {
            if caller.tenant().is_some() {
                return plain(StatusCode::FORBIDDEN, "only the host's own token or certificate reloads the manifest");
            }
            return match self.orders.reload().await {
                Ok(reloaded) => plain(StatusCode::OK, &reloaded.to_string()),
                Err(error) => plain(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
            };
        }
        self.answer(method, path, &caller)
    }
}

/// The tenant that an instance belongs to.
fn owner(meter: &Meter) -> Option<&str> {
    meter.subject.tenant.as_ref().map(|tenant| &*tenant.name)
}

/// Whether the caller may end the instance with this id, if it exists.
fn may_end(registry: &Instances, id: u64, caller: &Caller) -> bool {
    let is_own = |meter: &Arc<Meter>| meter.id == id && caller.sees(owner(meter));
    caller.tenant().is_none() || registry.list().iter().any(is_own)
}

/// Whether an authority is absent, an address, `localhost`, or the name in the client's TLS handshake, which the client
/// checks the certificate against.
fn is_own_name(authority: &str, server_name: Option<&str>) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.is_empty()
        || host.eq_ignore_ascii_case("localhost")
        || server_name.is_some_and(|name| host.eq_ignore_ascii_case(name))
        || host.parse::<IpAddr>().is_ok()
}

fn json(value: &impl Serialize) -> Response<ResponseBody> {
    match serde_json::to_string(value) {
        Ok(text) => typed(text, "application/json"),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn typed(text: String, media: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn with_status(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response
}

fn allow(methods: &'static str) -> Response<ResponseBody> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_host_are_answered() {
        for name in ["", "localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "[::1]"] {
            assert!(is_own_name(name, None), "{name}");
        }
        for name in ["example.com", "example.com:9090", "localhost.example.com", "127.0.0.1.example.com:80"] {
            assert!(!is_own_name(name, None) && !is_own_name(name, Some("other.example.com")), "{name}");
        }
        assert!(is_own_name("Example.com:9443", Some("example.com")));
    }
}
