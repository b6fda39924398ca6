//! The output of `/metrics`: each part of the host shows its own counters ([`Shows`]), and the families come in one
//! order.
//!
//! Counters are plain atomics. Their number is fixed by the manifest: no label takes a value from a client.

mod others;
mod text;
mod wire;

use roadrunner_wire::Stats;

pub(crate) use self::text::{Shows, Text};
use crate::access::Caller;
use crate::deploy::code::Kept;
use crate::serving::Serving;

/// The order of the families.
const ORDER: [&str; 88] = [
    "roadrunner_requests_total",
    "roadrunner_grpc_calls_total",
    "roadrunner_requests_in_flight",
    "roadrunner_request_duration_seconds",
    "roadrunner_guest_cpu_seconds_total",
    "roadrunner_guest_host_calls_total",
    "roadrunner_guest_peak_memory_bytes",
    "roadrunner_guest_log_dropped_bytes_total",
    "roadrunner_tenant_requests_total",
    "roadrunner_tenant_cpu_seconds_total",
    "roadrunner_tenant_memory_bytes",
    "roadrunner_tenant_buffered_bytes",
    "roadrunner_tenant_log_bytes_total",
    "roadrunner_tenant_topics",
    "roadrunner_tenant_topic_bytes",
    "roadrunner_tenant_disk_bytes",
    "roadrunner_tenant_outbound_connections_open",
    "roadrunner_tenant_outbound_bytes_total",
    "roadrunner_tenant_deployed_bytes",
    "roadrunner_tenant_compiled_bytes",
    "roadrunner_tenant_store_bytes",
    "roadrunner_tenant_sql_connections",
    "roadrunner_tenant_quota_exceeded_total",
    "roadrunner_instances_running",
    "roadrunner_sessions_held",
    "roadrunner_sessions_hibernated",
    "roadrunner_requests_waiting",
    "roadrunner_requests_overloaded_total",
    "roadrunner_outbound_requests_total",
    "roadrunner_outbound_connections_open",
    "roadrunner_log_dropped_total",
    "roadrunner_dns_lookups",
    "roadrunner_requests_unrouted_total",
    "roadrunner_instances",
    "roadrunner_instances_restored",
    "roadrunner_instances_restored_bytes",
    "roadrunner_tasks",
    "roadrunner_buffered_bytes",
    "roadrunner_buffered_limit_bytes",
    "roadrunner_buffered_refused_total",
    "roadrunner_pool_exhausted_total",
    "roadrunner_compilations",
    "roadrunner_swap_since_start",
    "roadrunner_reloads_total",
    "roadrunner_deployments_total",
    "roadrunner_store_operations_total",
    "roadrunner_directory_bytes",
    "roadrunner_directory_files",
    "roadrunner_directory_refused_total",
    "roadrunner_store_bytes",
    "roadrunner_sql_statements_total",
    "roadrunner_sql_connections",
    "roadrunner_sql_connections_total",
    "roadrunner_sql_cancelled_total",
    "roadrunner_websocket_deflate_reserved_bytes",
    "roadrunner_websocket_deflate_refused_total",
    "roadrunner_bus_subscriptions",
    "roadrunner_bus_missed_total",
    "roadrunner_bus_connected",
    "roadrunner_bus_queue_bytes",
    "roadrunner_bus_connects_total",
    "roadrunner_bus_errors_total",
    "roadrunner_bus_published_total",
    "roadrunner_bus_received_total",
    "roadrunner_bus_dropped_total",
    "roadrunner_draining",
    "roadrunner_connections_accepted_total",
    "roadrunner_connections_rejected_total",
    "roadrunner_connections_flooding_total",
    "roadrunner_accept_backoffs_total",
    "roadrunner_handshakes_failed_total",
    "roadrunner_certificate_reloads_total",
    "roadrunner_certificate_reloads_failed_total",
    "roadrunner_requests_malformed_total",
    "roadrunner_requests_over_cap_total",
    "roadrunner_panics_total",
    "roadrunner_proxy_headers_refused_total",
    "roadrunner_connections_open",
    "roadrunner_sockets_open",
    "roadrunner_wire_requests_total",
    "roadrunner_exchanges_in_flight",
    "roadrunner_timeouts_total",
    "roadrunner_quic_connections_open",
    "roadrunner_quic_handshakes_total",
    "roadrunner_quic_refused_total",
    "roadrunner_quic_datagrams_forwarded_total",
    "roadrunner_quic_datagrams_dropped_total",
    "roadrunner_quic_retries_total",
];

/// Renders everything that the caller sees, in the text format of Prometheus.
pub(crate) fn render(serving: &Serving, stats: Option<&Stats>, caller: &Caller) -> String {
    let mut text = Text::default();
    let (host, kept) = (&*serving.host, Kept(serving));
    let of_tenants: [&dyn Shows; 5] = [&serving.routes, &serving.accounts, &kept, &serving.capabilities, &others::Log];
    for part in of_tenants {
        part.show(caller, &mut text);
    }
    // The rest covers all tenants together.
    if caller.tenant().is_none() {
        let of_host: [&dyn Shows; 6] =
            [&host.counters, &host.names, &host.sandbox, &others::Runtime, &*host.deflate, &host.drain];
        for part in of_host.into_iter().chain(stats.map(|stats| stats as &dyn Shows)) {
            part.show(caller, &mut text);
        }
    }
    text.in_order(&ORDER)
}
