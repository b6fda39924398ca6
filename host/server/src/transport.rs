//! The listeners of a manifest, and the settings of the transport below them.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use roadrunner_manifest::{self as manifest, Admin, Manifest};
use roadrunner_values::{TransportSettings, WebTransportCaps};
use roadrunner_wire::{
    ClientAuth, Forwarding, ListenAddress, ListenerConfig, Network, Peers, Protocols, Server, Service, TlsConfig,
};

use crate::inherited::Inherited;

/// The name of the admin listener.
pub const ADMIN: &str = "admin";

/// Listeners that are ready to be opened, with the settings that all of them get.
#[derive(Debug)]
pub(crate) struct Opening {
    listeners: Vec<ListenerConfig>,
    settings: TransportSettings,
}

impl Opening {
    /// The public listeners of a manifest; those of systemd take inherited sockets.
    pub(crate) fn public(manifest: &Manifest, inherited: &mut Inherited) -> Result<Self> {
        let listeners = manifest.listeners.iter().map(|settings| listener(settings, inherited));
        Ok(Self { listeners: listeners.collect::<Result<_>>()?, settings: settings(manifest) })
    }

    /// The admin listener of a manifest; `None` if the manifest has none.
    pub(crate) fn admin(manifest: &Manifest, inherited: &mut Inherited) -> Result<Option<Self>> {
        let Some(admin) = &manifest.admin else { return Ok(None) };
        if let Some((message, fix)) = admin.exposed() {
            bail!("{message}: {fix}");
        }
        // The author of a socket unit has decided who reaches an inherited socket.
        let address = address(&admin.address, "the admin listener", inherited)?;
        // On a unix socket, the file's mode decides who may connect.
        let plain = ListenerConfig::plain(ADMIN, address);
        let listener = ListenerConfig { unix_mode: Some(0o600), tls: admin_tls(admin)?, ..plain };
        Ok(Some(Self { listeners: vec![listener], settings: settings(manifest) }))
    }

    /// Opens the listeners.
    pub(crate) async fn open<S: Service>(self, service: Arc<S>) -> Result<Server> {
        Ok(Server::bind(self.listeners, self.settings, service).await?)
    }
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
fn settings(manifest: &Manifest) -> TransportSettings {
    let mut timeouts = manifest.timeouts.clone();
    timeouts.drain_idle = timeouts.drain_idle.min(manifest.server.drain / 2);
    TransportSettings {
        timeouts,
        caps: manifest.connections,
        http2: manifest.http2,
        http3: manifest.http3,
        webtransport: webtransport(manifest),
        path: manifest.server.path,
        ..TransportSettings::default()
    }
}

/// The transport gets the maximum over all routes; each session is held to its own route's settings.
fn webtransport(manifest: &Manifest) -> WebTransportCaps {
    let routes = manifest.routes.routes().iter().map(|route| &route.webtransport);
    let mut caps = manifest.webtransport_caps;
    for session in routes.chain([&manifest.webtransport]) {
        caps.streams = caps.streams.max(session.streams);
        caps.datagram_queue = caps.datagram_queue.max(session.datagram_queue);
    }
    caps
}

fn address(address: &manifest::Address, listener: &str, inherited: &mut Inherited) -> Result<ListenAddress> {
    Ok(match address {
        manifest::Address::Systemd(name) => {
            ListenAddress::Inherited(inherited.take(name).with_context(|| format!("cannot open {listener}"))?)
        }
        manifest::Address::Tcp(address) => ListenAddress::Tcp(*address),
        manifest::Address::Unix(path) => ListenAddress::Unix(path.clone()),
    })
}

fn listener(listener: &manifest::Listener, inherited: &mut Inherited) -> Result<ListenerConfig> {
    let address = address(&listener.address, &format!("the listener {}", listener.name), inherited)?;
    let protocols = match (listener.http1, listener.http2) {
        (true, false) => Protocols::HTTP1,
        (false, true) => Protocols::HTTP2,
        (false, false) => Protocols::HTTP3,
        (true, true) => Protocols::BOTH,
    };
    let forwarding = (!listener.trusted_proxies.is_empty())
        .then(|| Forwarding { trusted: peers(&listener.trusted_proxies), field: listener.forwarded_field });
    Ok(ListenerConfig {
        protocols: if listener.http3 { protocols.and_http3() } else { protocols },
        h2c: listener.h2c,
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every opening of a manifest: that of its public listeners, and that of its admin listener.
    fn openings(text: &str) -> [Opening; 2] {
        let manifest = Manifest::parse(text, Path::new("roadrunner.toml")).expect("a manifest");
        let mut inherited = Inherited::default();
        let public = Opening::public(&manifest, &mut inherited).expect("listeners");
        let admin = Opening::admin(&manifest, &mut inherited).expect("a listener").expect("there is one");
        [public, admin]
    }

    const ADMIN_ONLY: &str = "[admin]\naddress = \"127.0.0.1:9000\"\n";

    /// The defaults of the values are those of docs/manifest.md, which a test of the manifest's crate holds them to.
    #[test]
    fn an_empty_manifest_gives_every_listener_the_documented_settings() {
        for opening in openings(ADMIN_ONLY) {
            assert_eq!(opening.settings, TransportSettings::default(), "{:?}", opening.listeners);
            assert_eq!(opening.listeners.len(), 1);
        }
    }

    #[test]
    fn a_timeout_and_a_window_of_the_manifest_reach_every_listener() {
        let text = "[timeouts]\nrequest-head = \"3s\"\n[http2]\nstream-window = \"2MiB\"\n[limits]\nconnections = 7\n";
        for Opening { settings, .. } in openings(&format!("{text}{ADMIN_ONLY}")) {
            assert_eq!(settings.timeouts.request_head.as_secs(), 3);
            assert_eq!((settings.http2.stream_window, settings.caps.connections), (2 << 20, 7));
        }
    }

    #[test]
    fn the_transport_has_the_widest_settings_of_all_routes() {
        let text = "[component.a]\nfile = \"a.wasm\"\n[[route]]\npath = \"/\"\ncomponent = \"a\"\n\
                    webtransport = { streams = 300, datagram-queue = 200 }\n";
        let [public, _] = openings(&format!("{text}{ADMIN_ONLY}"));
        let caps = WebTransportCaps { streams: 300, datagram_queue: 200, ..WebTransportCaps::default() };
        assert_eq!(public.settings.webtransport, caps);
    }
}
