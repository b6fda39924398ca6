//! The ways out for the guests of components: the client of [`roadrunner_outbound`], with logging, counters and the
//! quotas of the tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use anyhow::Result;
use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use roadrunner_account::{Charge, Meter, Payer, Tenant, Worked, admits};
use roadrunner_log::Quoted;
use roadrunner_manifest::{self as manifest, HostPattern};
use roadrunner_outbound::{Client, Error, Grant, Host, READ_BUFFER, Settings, Timeouts};
use roadrunner_sandbox::{Outbound, OutboundAnswer, OutboundDriver, OutboundError, RequestOptions, Sandbox, WasiBody};
use roadrunner_wire::drop_connection_fields;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::provider::{Granted, Grantee, Opening, Provider};
use crate::access::Caller;
use crate::accounts::owner;
use crate::metrics::Text;

/// The ways out, by component.
pub(crate) struct WaysOut(BTreeMap<String, Arc<WayOut>>);

impl Provider for WaysOut {
    /// Opens the ways out. An unchanged way out stays, with its connections and counters.
    fn open(opening: &Opening<'_>, before: Option<&Self>) -> Result<Self> {
        let granted = opening.manifest.components.iter().filter_map(|(name, component)| {
            let settings = component.outbound.as_ref()?;
            let owner = owner(&format!("component:{name}"), component.tenant.as_ref());
            let known = before.and_then(|Self(ways)| ways.get(name.as_str())).filter(|way| way.is(settings, &owner));
            let tenant = component.tenant.as_ref().map(ToString::to_string);
            let way = known.cloned().unwrap_or_else(|| Arc::new(WayOut::new(settings, opening, owner, tenant)));
            Some((name.to_string(), way))
        });
        Ok(Self(granted.collect()))
    }

    fn grant(&self, component: Grantee<'_>, granted: &mut Granted) {
        granted.grants.outbound = self.0.get(component.name.as_str()).map(|way| way.clone() as Arc<dyn Outbound>);
    }

    fn show(&self, caller: &Caller, text: &mut Text) {
        let ways: Vec<_> = self.0.iter().filter(|(_, way)| caller.sees(way.tenant.as_deref())).collect();
        text.family(
            "roadrunner_outbound_requests_total",
            "counter",
            "Outgoing requests of guests, by what became of them.",
        );
        for (component, way) in &ways {
            for (result, count) in [("answered", &way.answered), ("refused", &way.refused), ("failed", &way.failed)] {
                text.sample(&[("component", component), ("result", result)], count.load(Relaxed));
            }
        }
        text.family("roadrunner_outbound_connections_open", "gauge", "Outgoing connections of guests.");
        for (component, way) in &ways {
            text.sample(&[("component", component)], way.client.open());
        }
    }
}

/// The way out of one component. All its routes share it.
#[derive(Debug)]
struct WayOut {
    client: Client,
    sandbox: Sandbox,
    /// The owner under which name lookups are counted together.
    owner: String,
    /// The tenant of the component; none for the host itself.
    tenant: Option<String>,
    answered: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl WayOut {
    fn new(settings: &manifest::Outbound, opening: &Opening<'_>, owner: String, tenant: Option<String>) -> Self {
        Self {
            client: Client::new(client_settings(settings), opening.names.share(&owner)),
            sandbox: opening.sandbox.clone(),
            owner,
            tenant,
            answered: Arc::default(),
            refused: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Whether the way out matches a manifest's settings.
    fn is(&self, outbound: &manifest::Outbound, owner: &str) -> bool {
        *self.client.settings() == client_settings(outbound) && self.owner == owner
    }
}

fn client_settings(outbound: &manifest::Outbound) -> Settings {
    let grant = |origin: &manifest::OutboundOrigin| {
        let host = match &origin.host {
            HostPattern::Exact(name) => {
                let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
                bare.parse().map_or_else(|_| Host::Name(name.clone()), Host::Address)
            }
            HostPattern::Wildcard(name) => Host::Below(name.clone()),
        };
        Grant { tls: origin.tls, host, port: origin.port }
    };
    Settings {
        grants: outbound.origins.iter().map(grant).collect(),
        private: outbound.private,
        connections: outbound.connections as usize,
        timeouts: Timeouts {
            connect: outbound.connect_timeout,
            first_byte: outbound.read_timeout,
            between_bytes: outbound.read_timeout,
            total: outbound.timeout,
        },
    }
}

impl Outbound for WayOut {
    fn send(&self, meter: Arc<Meter>, request: Request<WasiBody>, options: RequestOptions) -> OutboundAnswer {
        let host = self.client.settings().timeouts;
        let asked = Timeouts {
            connect: options.connect_timeout.unwrap_or(host.connect),
            first_byte: options.first_byte_timeout.unwrap_or(host.first_byte),
            between_bytes: options.between_bytes_timeout.unwrap_or(host.between_bytes),
            total: host.total,
        };
        let client = self.client.clone();
        let counters = [&self.answered, &self.refused, &self.failed].map(Arc::clone);
        // TLS, the protocol and copies of bodies count as the guest's CPU time, in whichever task they are polled.
        let payer = Payer::request(self.sandbox.accounts(), meter.clone());
        let driven = payer.clone();
        let answer = Box::pin(async move {
            let [answered, refused, failed] = counters;
            let tenant = meter.subject.tenant.clone();
            let Some(place) = Place::take(tenant.as_ref()) else {
                refused.fetch_add(1, Relaxed);
                tell(&meter, Some("quota.outbound-connections"), "the quota is used up");
                return Err(OutboundError::ConnectionLimitReached);
            };
            let Ok(read_ahead) = Charge::take(meter.clone(), READ_BUFFER as u64) else {
                refused.fetch_add(1, Relaxed);
                tell(&meter, Some("limits.memory"), "there is no memory for its answer");
                return Err(OutboundError::ConnectionLimitReached);
            };
            let mut request = request.map(|body| paced(body, tenant.as_ref()));
            drop_connection_fields(request.headers_mut());
            match client.send(request, asked).await {
                Ok((response, driver)) => {
                    answered.fetch_add(1, Relaxed);
                    let mut response = response.map(|body| paced(body.map_err(told).boxed_unsync(), tenant.as_ref()));
                    drop_connection_fields(response.headers_mut());
                    let driver = Box::pin(async move {
                        let (_place, _read_ahead) = (place, read_ahead);
                        driver.await.map_err(told)
                    });
                    Ok((response, Box::new(Driving::start(Worked::new(driven, driver))) as OutboundDriver))
                }
                Err(error) => {
                    let counter = if error.rule().is_some() { &refused } else { &failed };
                    counter.fetch_add(1, Relaxed);
                    tell(&meter, error.rule(), &error);
                    Err(told(error))
                }
            }
        });
        Box::new(Worked::new(payer, answer))
    }
}

/// Tells the operator why a request was refused, by a rule, or failed. Names in the text come from the guest.
fn tell(meter: &Meter, rule: Option<&str>, why: impl fmt::Display) {
    let why = Quoted::display(why).to_string();
    if !admits(meter, &why) {
        return;
    }
    let (request, component) = (&meter.subject.request, &meter.subject.component);
    let tenant = meter.subject.tenant.as_ref().map(|tenant| &*tenant.name);
    match rule {
        Some(rule) => tracing::warn!(%request, tenant, %component, rule, "an outgoing request was refused: {why}"),
        None => tracing::info!(%request, tenant, %component, "an outgoing request failed: {why}"),
    }
}

/// The task that drives one connection; it ends when this is dropped. An instance of WASI 0.3 polls its drivers only while
/// a request runs in it: without a task, one that waits for the next request would keep connections open, and on the
/// account.
struct Driving(JoinHandle<Result<(), OutboundError>>);

impl Driving {
    fn start(driver: impl Future<Output = Result<(), OutboundError>> + Send + 'static) -> Self {
        Self(tokio::spawn(driver))
    }
}

impl Future for Driving {
    type Output = Result<(), OutboundError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let driven = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(driven.unwrap_or(Err(OutboundError::ConnectionTerminated)))
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection of a tenant; given back when dropped.
struct Place(Option<Arc<Tenant>>);

impl Place {
    /// Takes a connection; none when the tenant has as many as it may have.
    fn take(tenant: Option<&Arc<Tenant>>) -> Option<Self> {
        let fits = tenant.is_none_or(|tenant| tenant.outbound_connections.take(1));
        fits.then(|| Self(tenant.cloned()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(tenant) = &self.0 {
            tenant.outbound_connections.give_back(1);
        }
    }
}

/// A body that counts for its tenant, and pauses while the tenant is over its bytes per second.
struct Paced {
    body: WasiBody,
    tenant: Arc<Tenant>,
    pause: Option<Pin<Box<Sleep>>>,
}

fn paced(body: WasiBody, tenant: Option<&Arc<Tenant>>) -> WasiBody {
    match tenant {
        Some(tenant) => Paced { body, tenant: tenant.clone(), pause: None }.boxed_unsync(),
        None => body,
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = OutboundError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutboundError>>> {
        let Self { body, tenant, pause } = &mut *self;
        while let Some(debt) = tenant.outbound_bytes.debt() {
            let sleep = pause.get_or_insert_with(|| {
                tenant.outbound_bytes.count();
                Box::pin(tokio::time::sleep(debt))
            });
            ready!(sleep.as_mut().poll(context));
            *pause = None;
        }
        *pause = None;
        let frame = ready!(Pin::new(body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            tenant.outbound_bytes.spend(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Converts an error for the guest: the kind of the failure, and nothing about the host's network.
fn told(error: Error) -> OutboundError {
    match error {
        Error::AddressRefused(..) => OutboundError::DestinationIpProhibited,
        Error::BetweenBytesTimeout | Error::FirstByteTimeout => OutboundError::ConnectionReadTimeout,
        Error::Connect(_) => OutboundError::ConnectionRefused,
        Error::ConnectTimeout => OutboundError::ConnectionTimeout,
        Error::InvalidTarget | Error::NotGranted(..) => OutboundError::HttpRequestDenied,
        Error::Resolve(..) => OutboundError::DnsError { rcode: None, info_code: None },
        Error::Tls(_) => OutboundError::TlsProtocolError,
        Error::TooManyConnections(_) => OutboundError::ConnectionLimitReached,
        Error::TotalTimeout => OutboundError::HttpResponseTimeout,
        _ => OutboundError::HttpProtocolError,
    }
}
