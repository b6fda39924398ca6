//! Counters by route, and the output of `/metrics` for them and for the host.
//!
//! The counters are plain atomics, touched once at the start and once at the end of a request. Their number is fixed
//! by the manifest: no label takes a value from a client.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use roadrunner_account::{Meter, Outcome, Tenant};
use roadrunner_nats::Client;
use roadrunner_store::Budget;
use roadrunner_wire::{MemberStats, Protocol, Stats, TimeoutName};
use tokio::runtime::Handle;

use crate::access::Caller;

use crate::deploy;
use crate::serving::{Serving, Target};

/// Upper bounds of the duration buckets, in microseconds.
const BUCKETS: [u64; 12] = [100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// Counters that belong to no route.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    not_found: AtomicU64,
    method_not_allowed: AtomicU64,
    bad_path: AtomicU64,
    rate_limited: AtomicU64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
    switches: AtomicU64,
    switches_refused: AtomicU64,
}

impl Metrics {
    pub(crate) fn unrouted(&self, status: StatusCode) {
        match status {
            StatusCode::METHOD_NOT_ALLOWED => &self.method_not_allowed,
            StatusCode::BAD_REQUEST => &self.bad_path,
            StatusCode::TOO_MANY_REQUESTS => &self.rate_limited,
            _ => &self.not_found,
        }
        .fetch_add(1, Relaxed);
    }

    /// Counts a reload, taken or refused.
    pub(crate) fn reloaded(&self, taken: bool) {
        if taken { &self.reloads } else { &self.reloads_refused }.fetch_add(1, Relaxed);
    }

    /// Counts a deployment or a rollback, taken or refused.
    pub(crate) fn switched(&self, taken: bool) {
        if taken { &self.switches } else { &self.switches_refused }.fetch_add(1, Relaxed);
    }
}

/// The counters of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteMetrics {
    in_flight: AtomicI64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    duration_micros: AtomicU64,
    cpu_nanos: AtomicU64,
    peak_memory: AtomicU64,
    log_dropped: AtomicU64,
    host_calls: AtomicU64,
}

impl RouteMetrics {
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, outcome: Outcome, elapsed: Duration, meter: Option<&Meter>) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.in_flight.fetch_sub(1, Relaxed);
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
        self.buckets[BUCKETS.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
        self.duration_micros.fetch_add(micros, Relaxed);
        if let Some(meter) = meter {
            self.cpu_nanos.fetch_add(u64::try_from(meter.cpu().as_nanos()).unwrap_or(u64::MAX), Relaxed);
            if meter.peak_memory() > self.peak_memory.load(Relaxed) {
                self.peak_memory.fetch_max(meter.peak_memory(), Relaxed);
            }
            self.host_calls.fetch_add(meter.host_calls(), Relaxed);
            if meter.log_dropped() > 0 {
                self.log_dropped.fetch_add(meter.log_dropped(), Relaxed);
            }
        }
    }
}

/// Renders everything that the caller sees, in the text format of Prometheus.
pub(crate) fn render(serving: &Serving, stats: Option<&Stats>, caller: &Caller) -> String {
    let mut text = Text(String::with_capacity(8192));
    render_routes(serving, caller, &mut text);
    render_tenants(serving, caller, &mut text);
    render_gates(serving, caller, &mut text);
    render_outbound(serving, caller, &mut text);
    render_log(caller, &mut text);
    // The rest covers all tenants together.
    if caller.tenant().is_some() {
        return text.0;
    }
    render_host(serving, &mut text);
    if let Some(stats) = stats {
        render_wire(stats, &mut text);
        render_quic(stats, &mut text);
    }
    text.0
}

fn render_routes(serving: &Serving, caller: &Caller, text: &mut Text) {
    let routes: Vec<_> = serving
        .routes
        .iter()
        .filter(|route| caller.sees(route.tenant.as_ref().map(|tenant| &*tenant.name)))
        .map(|route| {
            let component = match &route.target {
                Target::Guest(guest) => guest.component.clone(),
                Target::Static(_) => Arc::from(""),
            };
            let mut labels = format!("route=\"{}\",component=\"{}\"", escape(&route.pattern), escape(&component));
            if let Some(tenant) = &route.tenant {
                let _ = write!(labels, ",tenant=\"{}\"", escape(&tenant.name));
            }
            (labels, &route.metrics)
        })
        .collect();
    text.family("roadrunner_requests_total", "counter", "Requests that ended, by route and outcome.");
    for (labels, metrics) in &routes {
        for outcome in Outcome::ALL {
            let count = metrics.outcomes[outcome as usize].load(Relaxed);
            if count > 0 || outcome == Outcome::Ok {
                text.sample("roadrunner_requests_total", &format!("{labels},outcome=\"{outcome}\""), count);
            }
        }
    }
    text.family("roadrunner_requests_in_flight", "gauge", "Requests that have not ended.");
    for (labels, metrics) in &routes {
        text.sample("roadrunner_requests_in_flight", labels, metrics.in_flight.load(Relaxed));
    }
    text.family("roadrunner_request_duration_seconds", "histogram", "From the route to the end of the response.");
    for (labels, metrics) in &routes {
        let mut total = 0;
        for (index, count) in metrics.buckets.iter().enumerate() {
            total += count.load(Relaxed);
            let bound = BUCKETS.get(index).map_or("+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
            text.sample("roadrunner_request_duration_seconds_bucket", &format!("{labels},le=\"{bound}\""), total);
        }
        let sum = metrics.duration_micros.load(Relaxed) as f64 / 1e6;
        text.sample("roadrunner_request_duration_seconds_sum", labels, sum);
        text.sample("roadrunner_request_duration_seconds_count", labels, total);
    }
    text.family("roadrunner_guest_cpu_seconds_total", "counter", "CPU time of guests, and of the host for them.");
    for (labels, metrics) in &routes {
        text.sample("roadrunner_guest_cpu_seconds_total", labels, metrics.cpu_nanos.load(Relaxed) as f64 / 1e9);
    }
    text.family("roadrunner_guest_host_calls_total", "counter", "Calls of guests into the host.");
    for (labels, metrics) in &routes {
        text.sample("roadrunner_guest_host_calls_total", labels, metrics.host_calls.load(Relaxed));
    }
    text.family("roadrunner_guest_peak_memory_bytes", "gauge", "The most memory that one instance has used.");
    for (labels, metrics) in &routes {
        text.sample("roadrunner_guest_peak_memory_bytes", labels, metrics.peak_memory.load(Relaxed));
    }
    text.family("roadrunner_guest_log_dropped_bytes_total", "counter", "Log text over the limit log-bytes.");
    for (labels, metrics) in &routes {
        text.sample("roadrunner_guest_log_dropped_bytes_total", labels, metrics.log_dropped.load(Relaxed));
    }
}

/// Renders the use of tenants. Their number is fixed by the manifest.
fn render_tenants(serving: &Serving, caller: &Caller, text: &mut Text) {
    let tenants: Vec<_> = serving.accounts.tenants.iter().filter(|(name, _)| caller.sees(Some(name))).collect();
    type Value = fn(&Tenant) -> f64;
    let families: [(&str, &str, &str, Value); 10] = [
        ("roadrunner_tenant_requests_total", "counter", "Requests within requests-per-second.", |tenant| {
            tenant.requests.total() as f64
        }),
        ("roadrunner_tenant_cpu_seconds_total", "counter", "CPU time of guests, and of the host for them.", |tenant| {
            tenant.cpu.total() as f64 / 1e9
        }),
        ("roadrunner_tenant_memory_bytes", "gauge", "Memory of all instances, and what the host holds.", |tenant| {
            tenant.memory.used() as f64
        }),
        ("roadrunner_tenant_buffered_bytes", "gauge", "What of it the host holds, outside of guests.", |tenant| {
            tenant.buffered() as f64
        }),
        ("roadrunner_tenant_log_bytes_total", "counter", "Log text that was written.", |tenant| {
            tenant.log_bytes.total() as f64
        }),
        ("roadrunner_tenant_topics", "gauge", "Subscriptions to topics.", |tenant| tenant.topics.used() as f64),
        ("roadrunner_tenant_topic_bytes", "gauge", "Messages that wait for sessions.", |tenant| {
            tenant.topic_bytes.used() as f64
        }),
        ("roadrunner_tenant_disk_bytes", "gauge", "Files in its directories that guests may write to.", |tenant| {
            tenant.disk.used() as f64
        }),
        ("roadrunner_tenant_outbound_connections_open", "gauge", "Outgoing connections.", |tenant| {
            tenant.outbound_connections.used() as f64
        }),
        ("roadrunner_tenant_outbound_bytes_total", "counter", "Bodies of outgoing requests and answers.", |tenant| {
            tenant.outbound_bytes.total() as f64
        }),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (tenant, account) in &tenants {
            text.sample(name, &format!("tenant=\"{}\"", escape(tenant)), value(account));
        }
    }
    text.family("roadrunner_tenant_deployed_bytes", "gauge", "Versions of components that are kept.");
    for (tenant, _) in &tenants {
        let owned = serving.accounts.owners.components_of(tenant);
        let kept = serving.host.deployed.as_ref().map(|store| owned.map(|name| store.bytes(name)).sum::<u64>());
        let labels = format!("tenant=\"{}\"", escape(tenant));
        text.sample("roadrunner_tenant_deployed_bytes", &labels, kept.unwrap_or_default());
    }
    text.family("roadrunner_tenant_compiled_bytes", "gauge", "What is compiled from these versions.");
    for (tenant, _) in &tenants {
        let labels = format!("tenant=\"{}\"", escape(tenant));
        text.sample(
            "roadrunner_tenant_compiled_bytes",
            &labels,
            deploy::compiled_bytes(serving, Some(tenant.as_str())),
        );
    }
    text.family("roadrunner_tenant_store_bytes", "gauge", "Keys and values in stores of this host.");
    for (tenant, _) in &tenants {
        let kept = serving.capabilities.budgets.get(*tenant).map_or(0, Budget::bytes);
        text.sample("roadrunner_tenant_store_bytes", &format!("tenant=\"{}\"", escape(tenant)), kept);
    }
    text.family("roadrunner_tenant_quota_exceeded_total", "counter", "Times that a quota was exceeded, by its key.");
    for (tenant, account) in &tenants {
        for (quota, count) in account.exceeded() {
            let labels = format!("tenant=\"{}\",quota=\"{quota}\"", escape(tenant));
            text.sample("roadrunner_tenant_quota_exceeded_total", &labels, count);
        }
    }
}

/// Renders lost log lines. The host's own lines, and those of components without a tenant, have an empty tenant.
fn render_log(caller: &Caller, text: &mut Text) {
    let dropped = roadrunner_log::dropped();
    let family = "roadrunner_log_dropped_total";
    text.family(family, "counter", "Lines of the log that were dropped, by the reason.");
    for (tenant, count) in dropped.queue_full.iter().filter(|(tenant, _)| caller.sees(tenant.as_deref())) {
        let tenant = escape(tenant.as_deref().unwrap_or_default());
        text.sample(family, &format!("reason=\"queue-full\",tenant=\"{tenant}\""), count);
    }
    if caller.tenant().is_none() {
        text.sample(family, "reason=\"write-failed\",tenant=\"\"", dropped.unwritten);
    }
}

/// Renders the caps on instances: those of the host, of tenants, components and routes.
fn render_gates(serving: &Serving, caller: &Caller, text: &mut Text) {
    let gates: Vec<_> =
        serving.accounts.gates.iter().filter(|(name, _)| caller.sees(serving.accounts.owners.of_gate(name))).collect();
    for (family, help, value) in [
        ("roadrunner_instances_running", "Instances that are answering requests.", Gauge::Running),
        ("roadrunner_sessions_held", "Sessions that are held.", Gauge::Held),
        ("roadrunner_sessions_hibernated", "Sessions that hibernate.", Gauge::Hibernated),
        ("roadrunner_requests_waiting", "Requests that wait for an instance.", Gauge::Waiting),
    ] {
        text.family(family, "gauge", help);
        for (name, gate) in &gates {
            let value = match value {
                Gauge::Running => gate.running(),
                Gauge::Held => gate.held(),
                Gauge::Hibernated => gate.hibernated(),
                Gauge::Waiting => gate.waiting(),
            };
            text.sample(family, &format!("gate=\"{}\"", escape(name)), value);
        }
    }
    text.family(
        "roadrunner_requests_overloaded_total",
        "counter",
        "Requests over queue or queue-wait, by what they waited for.",
    );
    for (name, gate) in &gates {
        text.sample("roadrunner_requests_overloaded_total", &format!("gate=\"{}\"", escape(name)), gate.refused());
    }
}

fn render_outbound(serving: &Serving, caller: &Caller, text: &mut Text) {
    let ways: Vec<_> = serving
        .capabilities
        .outbound
        .iter()
        .filter(|(name, _)| caller.sees(serving.accounts.owners.of_component(name)))
        .collect();
    text.family(
        "roadrunner_outbound_requests_total",
        "counter",
        "Outgoing requests of guests, by what became of them.",
    );
    for (component, way) in &ways {
        for (result, count) in way.counts() {
            let labels = format!("component=\"{}\",result=\"{result}\"", escape(component));
            text.sample("roadrunner_outbound_requests_total", &labels, count);
        }
    }
    text.family("roadrunner_outbound_connections_open", "gauge", "Outgoing connections of guests.");
    for (component, way) in &ways {
        text.sample(
            "roadrunner_outbound_connections_open",
            &format!("component=\"{}\"", escape(component)),
            way.open(),
        );
    }
}

fn render_host(serving: &Serving, text: &mut Text) {
    text.family("roadrunner_dns_lookups", "gauge", "Look-ups of names for guests that are under way.");
    text.sample("roadrunner_dns_lookups", "", serving.host.names.under_way());
    text.family("roadrunner_requests_unrouted_total", "counter", "Requests that came to no route.");
    for (reason, count) in [
        ("not-found", &serving.host.metrics.not_found),
        ("method-not-allowed", &serving.host.metrics.method_not_allowed),
        ("bad-path", &serving.host.metrics.bad_path),
        ("rate-limited", &serving.host.metrics.rate_limited),
    ] {
        text.sample("roadrunner_requests_unrouted_total", &format!("reason=\"{reason}\""), count.load(Relaxed));
    }
    text.family(
        "roadrunner_instances",
        "gauge",
        "Instances that exist now, running and held, sessions that hibernate, and responses that are being compressed.",
    );
    text.sample("roadrunner_instances", "", serving.host.sandbox.accounts().instances.len());
    text.family(
        "roadrunner_tasks",
        "gauge",
        "Tasks of the runtime: connections, streams, and a few of the host's own.",
    );
    text.sample("roadrunner_tasks", "", Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks()));
    let buffers = &serving.host.sandbox.accounts().buffers;
    text.family("roadrunner_buffered_bytes", "gauge", "What the host holds for requests, outside of guests.");
    text.sample("roadrunner_buffered_bytes", "", buffers.used());
    text.family("roadrunner_buffered_limit_bytes", "gauge", "What it may hold.");
    text.sample("roadrunner_buffered_limit_bytes", "", buffers.limit());
    text.family("roadrunner_buffered_refused_total", "counter", "Times that some did not fit.");
    text.sample("roadrunner_buffered_refused_total", "", buffers.refused());
    render_pools(serving, text);
    text.family("roadrunner_reloads_total", "counter", "Times that the manifest was loaded again.");
    text.sample("roadrunner_reloads_total", "result=\"taken\"", serving.host.metrics.reloads.load(Relaxed));
    text.sample("roadrunner_reloads_total", "result=\"refused\"", serving.host.metrics.reloads_refused.load(Relaxed));
    text.family("roadrunner_deployments_total", "counter", "Changes of components by the admin listener.");
    text.sample("roadrunner_deployments_total", "result=\"taken\"", serving.host.metrics.switches.load(Relaxed));
    text.sample(
        "roadrunner_deployments_total",
        "result=\"refused\"",
        serving.host.metrics.switches_refused.load(Relaxed),
    );
    text.family("roadrunner_store_operations_total", "counter", "Operations of guests on stores, by how they ended.");
    for (name, store) in &serving.capabilities.stores {
        for (operation, outcome, count) in store.counts() {
            let labels = format!("store=\"{}\",operation=\"{operation}\",outcome=\"{outcome}\"", escape(name));
            text.sample("roadrunner_store_operations_total", &labels, count);
        }
    }
    for (family, kind, help, value) in [
        ("roadrunner_directory_bytes", "gauge", "Files below it, as `size` counts them.", Amount::Bytes),
        ("roadrunner_directory_files", "gauge", "Files, directories and links below it.", Amount::Files),
        ("roadrunner_directory_refused_total", "counter", "Changes of guests that did not fit.", Amount::Refused),
    ] {
        text.family(family, kind, help);
        for (name, disk) in serving.capabilities.disks.iter().filter(|(_, disk)| disk.is_measured()) {
            let usage = disk.usage();
            let value = match value {
                Amount::Bytes => usage.bytes,
                Amount::Files => usage.files,
                Amount::Refused => usage.refused,
            };
            text.sample(family, &format!("directory=\"{}\"", escape(name)), value);
        }
    }
    text.family("roadrunner_store_bytes", "gauge", "Keys and values in stores of this host, as `size` counts them.");
    for (name, store) in &serving.capabilities.stores {
        if let Some(bytes) = store.bytes() {
            text.sample("roadrunner_store_bytes", &format!("store=\"{}\"", escape(name)), bytes);
        }
    }
    text.family("roadrunner_websocket_deflate_reserved_bytes", "gauge", "What compression of WebSockets may hold.");
    text.sample("roadrunner_websocket_deflate_reserved_bytes", "", serving.host.deflate.reserved());
    text.family(
        "roadrunner_websocket_deflate_refused_total",
        "counter",
        "Sessions over deflate-memory, by what they go without.",
    );
    text.sample("roadrunner_websocket_deflate_refused_total", "without=\"context\"", serving.host.deflate.reduced());
    text.sample(
        "roadrunner_websocket_deflate_refused_total",
        "without=\"compression\"",
        serving.host.deflate.refused(),
    );
    text.family("roadrunner_bus_subscriptions", "gauge", "Subscriptions to topics.");
    text.sample("roadrunner_bus_subscriptions", "", serving.host.sandbox.bus().subscriptions());
    text.family(
        "roadrunner_bus_missed_total",
        "counter",
        "Messages that sessions missed, each once for every session, as far as they can be counted.",
    );
    text.sample("roadrunner_bus_missed_total", "", serving.host.sandbox.bus().missed());
    if let Some(broker) = &serving.host.broker {
        render_broker(broker.client(), text);
    }
    text.family("roadrunner_draining", "gauge", "1 while the host shuts down.");
    text.sample("roadrunner_draining", "", u8::from(serving.host.drain.is_announced()));
}

/// Renders the pools that all instances share.
fn render_pools(serving: &Serving, text: &mut Text) {
    let sandbox = &serving.host.sandbox;
    text.family(
        "roadrunner_pool_exhausted_total",
        "counter",
        "Requests that found a pool of the engine empty, by who had most of the places.",
    );
    for (component, tenant, count) in sandbox.exhaustion().counts() {
        let mut labels = format!("component=\"{}\"", escape(&component));
        if let Some(tenant) = tenant {
            let _ = write!(labels, ",tenant=\"{}\"", escape(&tenant));
        }
        text.sample("roadrunner_pool_exhausted_total", &labels, count);
    }
    let (running, waiting) = sandbox.compilations();
    text.family("roadrunner_compilations", "gauge", "Components that are compiled now, and those that wait.");
    text.sample("roadrunner_compilations", "state=\"running\"", running);
    text.sample("roadrunner_compilations", "state=\"waiting\"", waiting);
    text.family("roadrunner_swap_since_start", "gauge", "1 since swap was turned on while the host ran.");
    text.sample("roadrunner_swap_since_start", "", u8::from(sandbox.is_swapped()));
}

fn render_broker(client: &Client, text: &mut Text) {
    let counters = client.counters();
    text.family("roadrunner_bus_connected", "gauge", "1 while the bus is connected to its NATS server.");
    text.sample("roadrunner_bus_connected", "", u8::from(client.is_connected()));
    text.family("roadrunner_bus_queue_bytes", "gauge", "Messages of the bus that wait for the NATS server.");
    text.sample("roadrunner_bus_queue_bytes", "", client.queued_bytes());
    for (name, help, counter) in [
        ("roadrunner_bus_connects_total", "Connections to the NATS server that were made.", &counters.connects),
        ("roadrunner_bus_errors_total", "What the NATS server complained of.", &counters.errors),
        ("roadrunner_bus_published_total", "Messages to the NATS server.", &counters.published),
        ("roadrunner_bus_received_total", "Messages from the NATS server.", &counters.received),
    ] {
        text.family(name, "counter", help);
        text.sample(name, "", counter.load(Relaxed));
    }
    let dropped = "roadrunner_bus_dropped_total";
    text.family(dropped, "counter", "Messages that did not get to or from the NATS server, by the reason.");
    for (reason, counter) in [
        ("disconnected", &counters.dropped_disconnected),
        ("queue-full", &counters.dropped_queue),
        ("too-large", &counters.dropped_large),
        ("overrun", &counters.dropped_overrun),
    ] {
        text.sample(dropped, &format!("reason=\"{reason}\""), counter.load(Relaxed));
    }
}

#[derive(Clone, Copy)]
enum Amount {
    Bytes,
    Files,
    Refused,
}

#[derive(Clone, Copy)]
enum Gauge {
    Running,
    Held,
    Hibernated,
    Waiting,
}

fn render_wire(stats: &Stats, text: &mut Text) {
    let counters = [
        ("roadrunner_connections_accepted_total", "Connections that were accepted.", &stats.accepted),
        ("roadrunner_connections_rejected_total", "Connections closed at once, over a cap.", &stats.rejected_by_cap),
        ("roadrunner_connections_flooding_total", "Connections closed over a frame budget.", &stats.floods),
        (
            "roadrunner_accept_backoffs_total",
            "Pauses of an accept loop, for lack of descriptors.",
            &stats.accept_backoffs,
        ),
        ("roadrunner_handshakes_failed_total", "TLS handshakes that failed.", &stats.handshake_failures),
        ("roadrunner_certificate_reloads_total", "Listeners that got other certificates.", &stats.certificate_reloads),
        (
            "roadrunner_certificate_reloads_failed_total",
            "Certificates that could not be used, so that those before stayed.",
            &stats.certificate_reload_failures,
        ),
        ("roadrunner_requests_malformed_total", "Requests refused before any route.", &stats.bad_requests),
        ("roadrunner_requests_over_cap_total", "Requests over the cap of their listener.", &stats.over_cap),
        ("roadrunner_panics_total", "Panics of the host while it answered.", &stats.panics),
    ];
    for (name, help, counter) in counters {
        text.family(name, "counter", help);
        text.sample(name, "", counter.load(Relaxed));
    }
    text.family(
        "roadrunner_proxy_headers_refused_total",
        "counter",
        "Connections closed by the PROXY protocol's rules.",
    );
    for (reason, count) in [("malformed", &stats.proxy_malformed), ("untrusted", &stats.proxy_untrusted)] {
        let label = format!("reason=\"{reason}\"");
        text.sample("roadrunner_proxy_headers_refused_total", &label, count.load(Relaxed));
    }
    text.family("roadrunner_connections_open", "gauge", "Connections that are open, by protocol.");
    let open = [&stats.open_http1, &stats.open_http2, &stats.open_http3];
    for (protocol, open) in Protocol::ALL.into_iter().zip(open) {
        text.sample("roadrunner_connections_open", &format!("protocol=\"{protocol}\""), open.load(Relaxed));
    }
    text.family("roadrunner_sockets_open", "gauge", "Sockets that are open, those in a handshake included.");
    text.sample("roadrunner_sockets_open", "", stats.open.load(Relaxed));
    text.family("roadrunner_wire_requests_total", "counter", "Requests that were read, refused ones included.");
    for protocol in Protocol::ALL {
        text.sample("roadrunner_wire_requests_total", &format!("protocol=\"{protocol}\""), stats.requests(protocol));
    }
    text.family("roadrunner_exchanges_in_flight", "gauge", "Exchanges that have not ended.");
    text.sample("roadrunner_exchanges_in_flight", "", stats.in_flight());
    text.family("roadrunner_timeouts_total", "counter", "Deadlines of the transport that passed.");
    for name in TimeoutName::ALL {
        text.sample("roadrunner_timeouts_total", &format!("timeout=\"{name}\""), stats.timeouts(name));
    }
}

fn render_quic(stats: &Stats, text: &mut Text) {
    let pools: Vec<_> = stats.quic().collect();
    type Member = fn(&MemberStats) -> u64;
    let families: [(&str, &str, &str, Member); 5] = [
        ("roadrunner_quic_connections_open", "gauge", "QUIC connections, those in a handshake included.", |member| {
            member.connections as u64
        }),
        ("roadrunner_quic_handshakes_total", "counter", "QUIC handshakes that were begun.", |member| member.accepted),
        ("roadrunner_quic_refused_total", "counter", "QUIC clients that were turned away.", |member| member.refused),
        (
            "roadrunner_quic_datagrams_forwarded_total",
            "counter",
            "Datagrams that another endpoint received for this one.",
            |member| member.forwarded,
        ),
        (
            "roadrunner_quic_datagrams_dropped_total",
            "counter",
            "Datagrams that another endpoint received for this one, over forward-queue.",
            |member| member.dropped,
        ),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (listener, pool) in &pools {
            for (endpoint, member) in pool.members.iter().enumerate() {
                let labels = format!("listener=\"{}\",endpoint=\"{endpoint}\"", escape(listener));
                text.sample(name, &labels, value(member));
            }
        }
    }
    text.family("roadrunner_quic_retries_total", "counter", "QUIC clients that were asked to prove their address.");
    for (listener, pool) in &pools {
        text.sample("roadrunner_quic_retries_total", &format!("listener=\"{}\"", escape(listener)), pool.retries);
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
