//! The listeners and the transport's settings of a manifest.

use anyhow::{Context as _, Result};
use roadrunner_manifest::{self as manifest, Admin, Manifest};
use roadrunner_wire::{
    self as wire, ClientAuth, EarlyData, ForwardedField, Forwarding, H2c, ListenAddress, ListenerConfig, Network,
    Peers, PoolConfig, Protocols, RetryPolicy, TlsConfig,
};

use crate::inherited::Inherited;

/// The name of the admin listener.
pub const ADMIN: &str = "admin";

/// The listeners of a manifest; those of systemd take inherited sockets.
pub(crate) fn listeners(manifest: &Manifest, inherited: &mut Inherited) -> Result<Vec<ListenerConfig>> {
    manifest.listeners.iter().map(|settings| listener(settings, inherited)).collect()
}

/// Reads the certificates of a listener from their files; none for plaintext. Used at a start, by a check, and for
/// [`Server::replace_tls`](roadrunner_wire::Server::replace_tls) after a change of the manifest.
pub fn tls(listener: &manifest::Listener) -> Result<Option<TlsConfig>> {
    tls_of(listener.tls.as_ref(), &listener.name)
}

/// Reads the certificates of the admin listener.
pub fn admin_tls(admin: &Admin) -> Result<Option<TlsConfig>> {
    tls_of(admin.tls.as_ref(), ADMIN)
}

fn tls_of(tls: Option<&manifest::Tls>, listener: &str) -> Result<Option<TlsConfig>> {
    let load = |tls: &manifest::Tls| match tls {
        manifest::Tls::SelfSigned => TlsConfig::self_signed(),
        manifest::Tls::Files { default, others, clients, watch } => {
            let mut config = TlsConfig::from_pem_files(&default.certificate, &default.key)?;
            for other in others {
                config = config.and_pem_files(&other.certificate, &other.key)?;
            }
            if let Some(clients) = clients {
                let auth = if clients.required { ClientAuth::Required } else { ClientAuth::Optional };
                config = config.with_client_auth(auth, &clients.authorities)?;
            }
            Ok(config.watched(*watch))
        }
    };
    tls.map(load).transpose().with_context(|| format!("cannot set up TLS for the listener {listener}"))
}

/// The settings of the transport.
pub fn settings(manifest: &Manifest) -> wire::Settings {
    let defaults = wire::Settings::default();
    let timeouts = &manifest.timeouts;
    wire::Settings {
        timeouts: wire::Timeouts {
            handshake: timeouts.handshake,
            proxy_header: timeouts.proxy_header,
            preface: timeouts.preface,
            request_head: timeouts.request_head,
            body_idle: timeouts.body_idle,
            body_min_rate: timeouts.body_min_rate,
            write_stall: timeouts.write_stall,
            keep_alive_idle: timeouts.keep_alive_idle,
            h2_idle: timeouts.h2_idle,
            h3_idle: timeouts.h3_idle,
            h3_lost: timeouts.h3_lost,
            tcp_lost: timeouts.tcp_lost,
            h2_ping_interval: timeouts.h2_ping_interval,
            h2_ping_timeout: timeouts.h2_ping_timeout,
            drain_idle: defaults.timeouts.drain_idle.min(manifest.server.drain / 2),
            ..defaults.timeouts
        },
        caps: wire::Caps {
            connections: manifest.caps.connections as usize,
            connections_per_peer: manifest.caps.connections_per_peer.map(|most| most as usize),
        },
        h2_stream_window: manifest.http2.stream_window,
        h2_connection_window: manifest.http2.connection_window,
        h2_max_concurrent_streams: manifest.http2.max_streams,
        max_header_bytes: manifest.http2.max_header_list,
        http3: http3(manifest, defaults.http3),
        http3_pool: http3_pool(&manifest.http3),
        alt_svc: wire::AltSvc { max_age: manifest.http3.alt_svc_max_age, port: manifest.http3.alt_svc_port },
        path: match manifest.server.path {
            manifest::PathRule::AsSent => wire::PathRule::AsSent,
            manifest::PathRule::Strict => wire::PathRule::Strict,
        },
        ..defaults
    }
}

fn http3(manifest: &Manifest, defaults: wire::Http3) -> wire::Http3 {
    let http3 = &manifest.http3;
    // The transport gets the maximum over all routes; each session is held to its own route's settings.
    let sessions = manifest.routes.routes().iter().map(|route| &route.webtransport);
    let (streams, datagrams) = sessions
        .map(|session| (session.streams, session.datagram_queue))
        .fold((manifest.webtransport.streams, manifest.webtransport.datagram_queue), |(streams, datagrams), of| {
            (streams.max(of.0), datagrams.max(of.1))
        });
    wire::Http3 {
        stream_window: http3.stream_window,
        connection_window: http3.connection_window,
        send_window: http3.send_window,
        max_concurrent_requests: http3.max_streams,
        max_field_section_size: u64::from(http3.max_header_list),
        qpack_table_capacity: http3.qpack_table,
        qpack_encoder_capacity: http3.qpack_table,
        qpack_blocked_streams: http3.qpack_blocked_streams,
        retry: http3.retry_above.map_or(RetryPolicy::Never, |above| RetryPolicy::Above(above as usize)),
        early_data: if http3.early_data { EarlyData::SafeMethods } else { EarlyData::Off },
        datagram_queue: datagrams as usize,
        webtransport_sessions: manifest.webtransport_sessions,
        webtransport_streams: streams,
        webtransport_buffered_streams: manifest.webtransport_buffered_streams as usize,
        ..defaults
    }
}

fn http3_pool(http3: &manifest::Http3) -> PoolConfig {
    let defaults = PoolConfig::default();
    let queue_bytes = http3.forward_queue as usize;
    PoolConfig {
        endpoints: http3.endpoints.map_or(defaults.endpoints, |endpoints| endpoints as usize),
        cid_lifetime: http3.cid_lifetime,
        kernel_steering: http3.kernel_steering,
        // Datagrams that fill the queue are as large as a path allows; this also bounds the overhead of each datagram.
        queue_datagrams: queue_bytes / 1024,
        queue_bytes,
    }
}

fn listener(listener: &manifest::Listener, inherited: &mut Inherited) -> Result<ListenerConfig> {
    let address = match &listener.address {
        manifest::Address::Systemd(name) => {
            let socket = inherited.take(name);
            ListenAddress::Inherited(socket.with_context(|| format!("cannot open the listener {}", listener.name))?)
        }
        manifest::Address::Tcp(address) => ListenAddress::Tcp(*address),
        manifest::Address::Unix(path) => ListenAddress::Unix(path.clone()),
    };
    let protocols = match (listener.http1, listener.http2) {
        (true, false) => Protocols::HTTP1,
        (false, true) => Protocols::HTTP2,
        (false, false) => Protocols::HTTP3,
        (true, true) => Protocols::BOTH,
    };
    let forwarding = (!listener.trusted_proxies.is_empty()).then(|| Forwarding {
        trusted: peers(&listener.trusted_proxies),
        field: match listener.forwarded_field {
            manifest::ForwardedField::Forwarded => ForwardedField::Forwarded,
            manifest::ForwardedField::XForwardedFor => ForwardedField::XForwardedFor,
        },
    });
    Ok(ListenerConfig {
        protocols: if listener.http3 { protocols.and_http3() } else { protocols },
        h2c: match listener.h2c {
            manifest::H2c::Off => H2c::Off,
            manifest::H2c::PriorKnowledge => H2c::PriorKnowledge,
            manifest::H2c::Upgrade => H2c::Upgrade,
        },
        tls: tls(listener)?,
        max_connections: listener.connections.map(|most| most as usize),
        max_connections_per_peer: listener.connections_per_peer.map(|most| most as usize),
        max_requests: listener.requests.map(|most| most as usize),
        proxy_protocol: listener.proxy_protocol_from.as_deref().map(peers),
        forwarding,
        ..ListenerConfig::plain(&*listener.name, address)
    })
}

fn peers(ranges: &[manifest::PeerRange]) -> Peers {
    let mut peers = Peers::default();
    for range in ranges {
        match range {
            // The manifest has checked the prefix against the length of the address.
            manifest::PeerRange::Network { address, prefix } => peers.networks.extend(Network::new(*address, *prefix)),
            manifest::PeerRange::Unix => peers.unix = true,
        }
    }
    peers
}
