//! The host's state for one instance, and the functions that the guest imports.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::account::{Covering, cover};
use crate::bindings::roadrunner::handler::types::{self, Error, Field, WsMessage};
use crate::bindings::roadrunner::handler::{bus, config, log, routes, timers};
use crate::capability::bus::{MAX_TOPIC, PublishError, Subscriber};
use crate::capability::filesystem::OpenFiles;
use crate::capability::outbound::Http;
use crate::capability::timers::Timers;
use crate::capability::{Bucket, Outbound, Preopen, Secrets};
use crate::capability::{log as lines, wasi};
use crate::component::Component;
use crate::gate::Gates;
use crate::instance::Event;
use crate::limits::Limits;
use crate::memory::MemoryBudget;
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::output::{BodyWriter, MessageSender, Outgoing};
use crate::parking::Parking;
use crate::request::{Body, BodyError, ClientCertificate, Request, Upgrade};
use crate::standard::Shared;
use crate::tenant::Tenant;
use crate::webtransport::SessionHandle;

/// The most bytes that `body.read(0)` returns.
const DEFAULT_READ: usize = 64 << 10;

/// A component bound to a route: the state shared by all instances started for it.
#[derive(Debug)]
pub struct Binding {
    /// The component that runs.
    pub component: Arc<Component>,
    /// The tenant that the component belongs to; none for the host itself.
    pub tenant: Option<Arc<Tenant>>,
    /// The owner of the bus topics that it sees: a name that no other tenant and no other tenant's component has.
    pub owner: Arc<str>,
    /// The limits of each instance.
    pub limits: Limits,
    /// The caps on the number of instances.
    pub gates: Gates,
    /// Values from the manifest.
    pub config: BTreeMap<String, String>,
    /// The named routes, for `routes.url-for`.
    pub urls: Arc<dyn Urls>,
    /// The instances that wait for their next request; none where every request gets a fresh instance.
    pub parking: Option<Parking>,
    /// Instances that answer several requests at once; none where each instance answers one request at a time.
    pub shared: Option<Shared>,
    /// The way out for HTTP requests; none where they are refused.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// The secrets that `secrets.get` finds.
    pub secrets: Secrets,
    /// The stores that `store.open` finds, by name.
    pub stores: BTreeMap<String, Arc<dyn Bucket>>,
    /// The directories that guests have open at their start.
    pub preopens: Vec<Preopen>,
    /// The environment variables that guests see.
    pub environment: Vec<(String, String)>,
}

/// A builder of paths of named routes.
pub trait Urls: Send + Sync + std::fmt::Debug {
    /// Builds the path with its parameters filled in. An error says why there is none.
    fn url_for(&self, name: &str, params: &[(String, String)]) -> Result<String, String>;
}

/// The outcome of a limit that the guest ran into inside a host function; carried through the engine as an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stop(pub(crate) Outcome);

pub(crate) struct State {
    pub(crate) memory: MemoryBudget,
    pub(crate) meter: Arc<Meter>,
    pub(crate) table: ResourceTable,
    /// The request's body until the guest takes it.
    pub(crate) body: Option<Body>,
    /// Whether the guest has taken the request's body.
    pub(crate) body_taken: bool,
    /// Subscriptions and timers; made when the guest first needs them.
    pub(crate) session: Option<Box<Session>>,
    pub(crate) binding: Arc<Binding>,
    /// Open files; made when the guest first opens something.
    pub(crate) files: Option<Box<OpenFiles>>,
    wasi: Option<Box<Wasi>>,
    http: Option<Box<Http>>,
}

struct Wasi {
    context: WasiCtx,
    printer: wasi::Printer,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) subscriber: Subscriber,
    pub(crate) timers: Timers,
}

impl Session {
    /// Polls for the next message or timer.
    pub(crate) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(message) = self.subscriber.poll_next(context) {
            return Poll::Ready(Event::Message(message));
        }
        self.timers.poll_next(context).map(Event::Timer)
    }
}

impl State {
    pub(crate) fn new(binding: Arc<Binding>, meter: Arc<Meter>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(binding.limits.handles);
        Self {
            memory: MemoryBudget::new(binding.limits.memory, meter.clone()),
            meter,
            table,
            body: None,
            body_taken: false,
            session: None,
            binding,
            files: None,
            wasi: None,
            http: None,
        }
    }

    /// Counts a call of the guest into the host.
    pub(crate) fn called(&mut self) -> &mut Self {
        self.meter.count_host_call();
        self
    }

    /// Ends the printed lines: the instance has answered.
    pub(crate) fn end_lines(&self) {
        if let Some(wasi) = &self.wasi {
            wasi.printer.end();
        }
    }

    /// Clears the host's state for the request that was answered, while the instance waits for another.
    pub(crate) fn rest(&mut self) {
        self.memory.rest();
        self.body = None;
        self.body_taken = false;
        self.session = None;
        if let Some(files) = &mut self.files {
            files.rest();
        }
        if let Some(http) = &mut self.http {
            http.hooks.owed = 0;
        }
    }

    /// Prepares the instance for another request.
    pub(crate) fn start_over(&mut self, meter: &Arc<Meter>) {
        self.meter = meter.clone();
        self.memory.start_over(meter);
        if let Some(wasi) = &self.wasi {
            wasi.printer.set(meter);
        }
        if let Some(http) = &mut self.http {
            http.hooks.meter = meter.clone();
        }
    }

    /// Whether a body with pieces from the store was made since the last call of this function.
    pub(crate) fn take_made_body(&mut self) -> bool {
        self.http.as_mut().is_some_and(|http| std::mem::take(&mut http.hooks.has_made_body))
    }

    fn session(&mut self) -> &mut Session {
        self.session.get_or_insert_with(|| {
            let bus = self.binding.component.sandbox.bus().clone();
            Box::new(Session {
                subscriber: Subscriber::new(bus, self.binding.owner.clone(), self.binding.limits.queue_bytes)
                    .of(self.binding.tenant.clone()),
                timers: Timers::default(),
            })
        })
    }

    /// Charges a piece that the guest has written to its account, for as long as anything holds it.
    async fn covered(&mut self, piece: Bytes) -> Result<Bytes> {
        let mut covered = cover(&self.meter, piece.clone());
        if covered.as_ref().err() == Some(&Outcome::BuffersExceeded) {
            // The future is boxed, since it is rare, and a guest's call pays for the size of its future.
            covered = Box::pin(room_for(&self.meter, piece)).await;
        }
        self.memory.is_granted(covered).ok_or_else(|| Stop(self.memory.exceeded()).into())
    }

    /// Checks that a timer or subscription may be added: they count as handles.
    fn take_handle(&mut self) -> Result<()> {
        let limit = self.binding.limits.handles;
        let session = self.session();
        if session.subscriber.len() + session.timers.len() >= limit {
            return Err(Stop(Outcome::HandlesExceeded).into());
        }
        Ok(())
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.meter.count_host_call();
        let wasi = self.wasi.get_or_insert_with(|| {
            let printer = wasi::Printer::new(&self.meter);
            let context = wasi::context(&printer, &self.binding.environment);
            Box::new(Wasi { context, printer })
        });
        WasiCtxView { ctx: &mut wasi.context, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.meter.count_host_call();
        let http = self.http.get_or_insert_with(|| Box::new(Http::new(self.binding.outbound.clone(), &self.meter)));
        // The capacity of bodies made in the last call. It is never more than was left.
        let owed = std::mem::take(&mut http.hooks.owed);
        if owed > 0 && owed <= self.memory.left() {
            self.memory.charge(owed);
        }
        http.hooks.left = self.memory.left();
        WasiHttpCtxView { hooks: &mut http.hooks, table: &mut self.table, ctx: &mut http.context }
    }
}

impl types::Host for State {}

impl types::HostRequest for State {
    fn id(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.table.get(&this)?.id.to_string())
    }

    fn method(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.table.get(&this)?.head.method.as_str().to_owned())
    }

    fn scheme(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.table.get(&this)?.scheme.to_owned())
    }

    fn authority(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.table.get(&this)?.authority.clone())
    }

    fn path(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.table.get(&this)?.head.uri.path().to_owned())
    }

    fn query(&mut self, this: Resource<Request>) -> Result<Option<String>> {
        Ok(self.table.get(&this)?.head.uri.query().map(str::to_owned))
    }

    fn version(&mut self, this: Resource<Request>) -> Result<types::Version> {
        Ok(match self.table.get(&this)?.head.version {
            http::Version::HTTP_10 => types::Version::Http10,
            http::Version::HTTP_2 => types::Version::Http2,
            http::Version::HTTP_3 => types::Version::Http3,
            _ => types::Version::Http11,
        })
    }

    fn peer(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.table.get(&this)?.peer.to_string())
    }

    fn client_certificate(&mut self, this: Resource<Request>) -> Result<Option<types::ClientCertificate>> {
        let certificate = self.table.get(&this)?.client_certificate.clone();
        Ok(certificate.map(|ClientCertificate { subject, issuer, serial, names, sha256 }| types::ClientCertificate {
            subject,
            issuer,
            serial,
            names,
            sha256,
        }))
    }

    fn param(&mut self, this: Resource<Request>, name: String) -> Result<Option<String>> {
        let params = &self.table.get(&this)?.params;
        Ok(params.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.clone()))
    }

    fn params(&mut self, this: Resource<Request>) -> Result<Vec<(String, String)>> {
        let params = &self.table.get(&this)?.params;
        Ok(params.iter().map(|(name, value)| (name.to_string(), value.clone())).collect())
    }

    fn route(&mut self, this: Resource<Request>) -> Result<Option<String>> {
        Ok(self.table.get(&this)?.route.as_deref().map(str::to_owned))
    }

    fn header(&mut self, this: Resource<Request>, name: String) -> Result<Option<Vec<u8>>> {
        Ok(self.table.get(&this)?.head.headers.get(&*name).map(|value| value.as_bytes().to_vec()))
    }

    fn header_values(&mut self, this: Resource<Request>, name: String) -> Result<Vec<Vec<u8>>> {
        let values = self.table.get(&this)?.head.headers.get_all(&*name);
        Ok(values.iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn headers(&mut self, this: Resource<Request>) -> Result<Vec<Field>> {
        Ok(fields(&self.table.get(&this)?.head.headers))
    }

    fn body(&mut self, this: Resource<Request>) -> Result<Option<Resource<Body>>> {
        self.table.get(&this)?;
        match self.body.take() {
            Some(body) => {
                self.body_taken = true;
                Ok(Some(self.table.push(body)?))
            }
            None => Ok(None),
        }
    }

    fn upgrade(&mut self, this: Resource<Request>) -> Result<Option<types::Upgrade>> {
        Ok(self.table.get(&this)?.upgrade.as_ref().map(|upgrade| match upgrade {
            Upgrade::WebSocket(offers) => types::Upgrade::Websocket(offers.clone()),
            Upgrade::WebTransport => types::Upgrade::Webtransport,
        }))
    }

    fn drop(&mut self, this: Resource<Request>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostBody for State {
    async fn read(&mut self, this: Resource<Body>, max: u32) -> Result<Result<Option<Vec<u8>>, Error>> {
        let max = if max == 0 { DEFAULT_READ } else { max as usize };
        let piece = self.table.get_mut(&this)?.read(max).await;
        Ok(piece.map(|piece| piece.map(Vec::from)).map_err(Error::from))
    }

    async fn read_to_end(&mut self, this: Resource<Body>) -> Result<Result<Vec<u8>, Error>> {
        let all = self.table.get_mut(&this)?.read_to_end(&self.meter).await;
        Ok(all.map(Vec::from).map_err(Error::from))
    }

    async fn trailers(&mut self, this: Resource<Body>) -> Result<Result<Vec<Field>, Error>> {
        let trailers = self.table.get_mut(&this)?.trailers().await;
        Ok(trailers.map(|trailers| fields(&trailers)).map_err(Error::from))
    }

    fn drop(&mut self, this: Resource<Body>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostBodyWriter for State {
    async fn write(&mut self, this: Resource<BodyWriter>, chunk: Vec<u8>) -> Result<Result<(), Error>> {
        let outbox = self.table.get(&this)?.0.clone();
        if chunk.is_empty() {
            return Ok(Ok(()));
        }
        let chunk = self.covered(chunk.into()).await?;
        let length = chunk.len();
        Ok(outbox.put(chunk, length).await.map_err(|_| Error::Closed))
    }

    fn drop(&mut self, this: Resource<BodyWriter>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostWsSender for State {
    async fn send(&mut self, this: Resource<MessageSender>, message: WsMessage) -> Result<Result<(), Error>> {
        let outbox = self.table.get(&this)?.0.clone();
        let message = match message {
            WsMessage::Text(text) => Outgoing::Text(text),
            WsMessage::Binary(bytes) => Outgoing::Binary(bytes.into()),
        };
        let size = message.payload_len() as u64;
        if !self.memory.charge(size) {
            return Err(Stop(self.memory.exceeded()).into());
        }
        let room = message.frame_len();
        let sent = outbox.put(message, room).await;
        self.memory.release(size);
        Ok(sent.map_err(|_| Error::Closed))
    }

    async fn close(&mut self, this: Resource<MessageSender>, code: u16, reason: String) -> Result<()> {
        let outbox = self.table.get(&this)?.0.clone();
        // A client that has left needs no close handshake.
        let _ = outbox.put_last(Outgoing::Close(code, reason)).await;
        Ok(())
    }

    fn drop(&mut self, this: Resource<MessageSender>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostWtSession for State {
    async fn open_bidirectional(&mut self, this: Resource<SessionHandle>) -> Result<Result<u64, Error>> {
        let session = self.table.get(&this)?.0.clone();
        Ok(session.open(true).await.map_err(Error::from))
    }

    async fn open_unidirectional(&mut self, this: Resource<SessionHandle>) -> Result<Result<u64, Error>> {
        let session = self.table.get(&this)?.0.clone();
        Ok(session.open(false).await.map_err(Error::from))
    }

    async fn send(&mut self, this: Resource<SessionHandle>, id: u64, bytes: Vec<u8>) -> Result<Result<(), Error>> {
        let session = self.table.get(&this)?.0.clone();
        let bytes = self.covered(bytes.into()).await?;
        Ok(session.send(id, bytes).await.map_err(Error::from))
    }

    fn finish(&mut self, this: Resource<SessionHandle>, id: u64) -> Result<()> {
        self.table.get(&this)?.0.finish(id);
        Ok(())
    }

    fn reset(&mut self, this: Resource<SessionHandle>, id: u64, code: u32) -> Result<()> {
        self.table.get(&this)?.0.reset(id, code);
        Ok(())
    }

    fn stop(&mut self, this: Resource<SessionHandle>, id: u64, code: u32) -> Result<()> {
        self.table.get(&this)?.0.stop(id, code);
        Ok(())
    }

    fn send_datagram(&mut self, this: Resource<SessionHandle>, bytes: Vec<u8>) -> Result<Result<(), Error>> {
        Ok(self.table.get(&this)?.0.send_datagram(&bytes).map_err(Error::from))
    }

    fn close(&mut self, this: Resource<SessionHandle>, code: u32, reason: String) -> Result<()> {
        self.table.get(&this)?.0.close(code, &reason);
        Ok(())
    }

    fn drop(&mut self, this: Resource<SessionHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Trace => lines::Level::Trace,
            log::Level::Debug => lines::Level::Debug,
            log::Level::Info => lines::Level::Info,
            log::Level::Warn => lines::Level::Warn,
            log::Level::Error => lines::Level::Error,
        };
        lines::write(&self.meter, level, &message);
        Ok(())
    }
}

impl config::Host for State {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        Ok(self.binding.config.get(&key).cloned())
    }

    fn entries(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.binding.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl routes::Host for State {
    fn url_for(&mut self, name: String, params: Vec<(String, String)>) -> Result<Result<String, Error>> {
        Ok(self.binding.urls.url_for(&name, &params).map_err(Error::Refused))
    }
}

impl bus::Host for State {
    fn subscribe(&mut self, topic: String) -> Result<Result<(), Error>> {
        if topic.len() > MAX_TOPIC {
            return Ok(Err(Error::TooLarge(MAX_TOPIC as u64)));
        }
        if !self.session().subscriber.contains(&topic) {
            self.take_handle()?;
            if !self.session().subscriber.subscribe(&topic) {
                return Ok(Err(Error::Refused("the tenant has as many topics as it may have".to_owned())));
            }
        }
        Ok(Ok(()))
    }

    fn unsubscribe(&mut self, topic: String) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.subscriber.unsubscribe(&topic);
        }
        Ok(())
    }

    fn publish(&mut self, topic: String, payload: Vec<u8>) -> Result<Result<u32, Error>> {
        if topic.len() > MAX_TOPIC {
            return Ok(Err(Error::TooLarge(MAX_TOPIC as u64)));
        }
        // The payload counts for as long as it waits for anybody.
        let payload = match cover(&self.meter, payload.into()) {
            Ok(payload) => payload,
            Err(outcome) => {
                return Ok(Err(Error::Refused(format!("the message cannot wait: {}", outcome.row().message))));
            }
        };
        let bus = self.binding.component.sandbox.bus();
        Ok(bus.publish(&self.binding.owner, &topic, payload).map_err(Error::from))
    }
}

impl timers::Host for State {
    fn after(&mut self, ms: u64) -> Result<u64> {
        self.take_handle()?;
        Ok(self.session().timers.set(ms, false))
    }

    fn every(&mut self, ms: u64) -> Result<u64> {
        self.take_handle()?;
        Ok(self.session().timers.set(ms, true))
    }

    fn cancel(&mut self, id: u64) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.timers.cancel(id);
        }
        Ok(())
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Closed => Self::Closed,
            BodyError::Timeout => Self::Timeout,
            BodyError::TooLarge(limit) => Self::TooLarge(limit),
            BodyError::Malformed(reason) => Self::Internal(reason),
        }
    }
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::QueueFull => Self::Refused(error.to_string()),
            PublishError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// Waits until the host has room for a piece, unless it is too large to wait.
async fn room_for(meter: &Arc<Meter>, piece: Bytes) -> Result<Bytes, Outcome> {
    let mut covering = Covering::default();
    covering.put(piece);
    poll_fn(|context| covering.poll(meter, context)).await
}

/// Converts header fields for the guest.
pub(crate) fn fields(headers: &HeaderMap) -> Vec<Field> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
