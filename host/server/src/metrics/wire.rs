//! The counters of the transport, which knows nothing of metrics.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use roadrunner_wire::{MemberStats, Protocol, Stats, TimeoutName};

use super::{Shows, Text};
use crate::access::Caller;

impl Shows for Stats {
    fn show(&self, _: &Caller, text: &mut Text) {
        let counters: [(&'static str, &str, &AtomicU64); 10] = [
            ("roadrunner_connections_accepted_total", "Connections that were accepted.", &self.accepted),
            ("roadrunner_connections_rejected_total", "Connections closed at once, over a cap.", &self.rejected_by_cap),
            ("roadrunner_connections_flooding_total", "Connections closed over a frame budget.", &self.floods),
            (
                "roadrunner_accept_backoffs_total",
                "Pauses of an accept loop, for lack of descriptors.",
                &self.accept_backoffs,
            ),
            ("roadrunner_handshakes_failed_total", "TLS handshakes that failed.", &self.handshake_failures),
            (
                "roadrunner_certificate_reloads_total",
                "Listeners that got other certificates.",
                &self.certificate_reloads,
            ),
            (
                "roadrunner_certificate_reloads_failed_total",
                "Certificates that could not be used, so that those before stayed.",
                &self.certificate_reload_failures,
            ),
            ("roadrunner_requests_malformed_total", "Requests refused before any route.", &self.bad_requests),
            ("roadrunner_requests_over_cap_total", "Requests over the cap of their listener.", &self.over_cap),
            ("roadrunner_panics_total", "Panics of the host while it answered.", &self.panics),
        ];
        for (name, help, counter) in counters {
            text.counter(name, help, counter.load(Relaxed));
        }
        text.family(
            "roadrunner_proxy_headers_refused_total",
            "counter",
            "Connections closed by the PROXY protocol's rules.",
        );
        text.sample(&[("reason", "malformed")], self.proxy_malformed.load(Relaxed));
        text.sample(&[("reason", "untrusted")], self.proxy_untrusted.load(Relaxed));
        let help = "Sockets that are open, those in a handshake included.";
        text.gauge("roadrunner_sockets_open", help, self.open.load(Relaxed));
        text.gauge("roadrunner_exchanges_in_flight", "Exchanges that have not ended.", self.in_flight());
        show_protocols(self, text);
        text.family("roadrunner_timeouts_total", "counter", "Deadlines of the transport that passed.");
        for name in TimeoutName::ALL {
            text.sample(&[("timeout", name.as_str())], self.timeouts(name));
        }
        show_quic(self, text);
    }
}

fn show_protocols(stats: &Stats, text: &mut Text) {
    text.family("roadrunner_connections_open", "gauge", "Connections that are open, by protocol.");
    let open = [&stats.open_http1, &stats.open_http2, &stats.open_http3];
    for (protocol, open) in Protocol::ALL.into_iter().zip(open) {
        text.sample(&[("protocol", protocol.as_str())], open.load(Relaxed));
    }
    text.family("roadrunner_wire_requests_total", "counter", "Requests that were read, refused ones included.");
    for protocol in Protocol::ALL {
        text.sample(&[("protocol", protocol.as_str())], stats.requests(protocol));
    }
}

fn show_quic(stats: &Stats, text: &mut Text) {
    let pools: Vec<_> = stats.quic().collect();
    type Member = fn(&MemberStats) -> u64;
    let families: [(&'static str, &str, &str, Member); 5] = [
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
                text.sample(&[("listener", listener), ("endpoint", &endpoint.to_string())], value(member));
            }
        }
    }
    text.family("roadrunner_quic_retries_total", "counter", "QUIC clients that were asked to prove their address.");
    for (listener, pool) in &pools {
        text.sample(&[("listener", listener)], pool.retries);
    }
}
