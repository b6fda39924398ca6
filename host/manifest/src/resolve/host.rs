//! The host's own sections.

use std::ops::Range;

use toml::Spanned;

use super::{FileKind, Resolver, list, value};
use crate::dns::Dns;
use crate::manifest::{
    Broker, BrokerCredentials, Bus, CertificateFiles, ClientCertificates, Compile, Deploy, Http2, Http3, Listener,
    RateLimit, Server, Timeouts, Tls,
};
use crate::scalar::{Address, FilePath, PeerRange};
use crate::section::{BusSection, ClientAuth, H2c, ListenerSection, ManifestSection, Protocol, TlsChoice, TlsSection};

impl Resolver<'_> {
    pub(super) fn server(&self, section: &ManifestSection) -> Server {
        let server = value(&section.server).cloned().unwrap_or_default();
        Server {
            drain: server.drain().get(),
            drain_delay: server.drain_delay().get(),
            workers: value(&server.workers).map(|count| count.get()),
            cache_dir: value(&server.cache_dir).map(|path| path.resolve(&self.folder)),
            log: server.log(),
            access_log: server.access_log(),
            access_log_format: server.access_log_format(),
            wasi_03: server.wasi_03(),
            path: server.path(),
            watch: server.watch(),
        }
    }

    pub(super) fn bus(&mut self, section: &ManifestSection) -> Bus {
        let bus = value(&section.bus).cloned().unwrap_or_default();
        let credentials = self.broker_credentials(&bus);
        let authorities = self.path(&bus.ca_file, FileKind::File);
        let certificate = self.broker_certificate(&bus);
        let urls = value(&bus.url).map(|urls| urls.0.clone()).unwrap_or_default();
        if urls.first().is_some_and(|url| !url.tls) {
            let fix = "write `url` with tls://, or remove the key";
            if let Some(file) = &bus.ca_file {
                self.context.report(file.span(), "without TLS there is no certificate to check", fix);
            }
            if let Some(file) = bus.certificate_file.as_ref().or(bus.key_file.as_ref()) {
                self.context.report(file.span(), "without TLS there is nobody to show a certificate to", fix);
            }
        }
        let broker = (!urls.is_empty()).then(|| Broker {
            urls,
            prefix: bus.prefix().0,
            credentials,
            authorities,
            certificate,
            queue_bytes: bus.queue_bytes().get() as usize,
            queue_messages: bus.queue_messages().get() as usize,
            connect_timeout: bus.connect_timeout().get(),
        });
        Bus { payload: bus.payload().get() as usize, broker }
    }

    pub(super) fn dns(&mut self, section: &ManifestSection) -> Dns {
        let dns = value(&section.dns).cloned().unwrap_or_default();
        if let Some(servers) = dns.servers.as_ref().filter(|servers| servers.get_ref().is_empty()) {
            self.context.report(servers.span(), "the list is empty", "name a server, or remove the key");
        }
        dns.settings()
    }

    fn broker_credentials(&mut self, bus: &BusSection) -> BrokerCredentials {
        let mut file = |field| self.path(field, FileKind::File);
        let files = (file(&bus.password_file), file(&bus.token_file), file(&bus.nkey_file), file(&bus.creds_file));
        match (&bus.user, files) {
            (None, (None, None, None, None)) => BrokerCredentials::None,
            (None, (None, Some(token), None, None)) => BrokerCredentials::Token(token),
            (None, (None, None, Some(seed), None)) => BrokerCredentials::Nkey(seed),
            (None, (None, None, None, Some(creds))) => BrokerCredentials::Creds(creds),
            (Some(user), (Some(password), None, None, None)) => {
                BrokerCredentials::User { name: user.get_ref().0.clone(), password }
            }
            _ => {
                let files = [&bus.password_file, &bus.token_file, &bus.nkey_file, &bus.creds_file];
                let mut spans = bus.user.as_ref().map(Spanned::span).into_iter();
                let span = spans.next().or_else(|| files.into_iter().flatten().map(Spanned::span).next());
                if let Some(span) = span {
                    let fix =
                        "write `user` with `password-file`, or one of `token-file`, `nkey-file` and `creds-file` alone";
                    self.context.report(span, "these keys of [bus] do not say who the host is", fix);
                }
                BrokerCredentials::None
            }
        }
    }

    fn broker_certificate(&mut self, bus: &BusSection) -> Option<CertificateFiles> {
        let certificate = self.path(&bus.certificate_file, FileKind::File);
        let key = self.path(&bus.key_file, FileKind::File);
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            _ => {
                if let Some(file) = bus.certificate_file.as_ref().or(bus.key_file.as_ref()) {
                    let fix = "write `certificate-file` with `key-file`";
                    self.context.report(file.span(), "a certificate and its private key go together", fix);
                }
                None
            }
        }
    }

    pub(super) fn listeners(&mut self, section: &ManifestSection) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for listener in list(&section.listener) {
            let listener = listener.get_ref();
            let tls = value(&listener.tls).map(|choice| self.tls_choice(choice));
            let Some(address) = &listener.address else { continue };
            if let Some(protocols) = listener.protocols.as_ref().filter(|protocols| protocols.get_ref().is_empty()) {
                let fix = "write [\"http1\", \"http2\"], or leave the key out";
                self.context.report(protocols.span(), "a listener without protocols answers nobody", fix);
            }
            let protocols: Vec<Protocol> = listener.protocols().into_iter().map(Spanned::into_inner).collect();
            let span = address.span();
            let address = address.get_ref().clone().resolve(&self.folder);
            if let Some(protocol) = listener.protocols.as_ref().and_then(http3_of) {
                if listener.tls.is_none() {
                    let fix = "give the listener `tls`, or take \"http3\" out";
                    self.context.report(
                        protocol.clone(),
                        "HTTP/3 is always encrypted, and this listener has no certificate",
                        fix,
                    );
                }
                if !matches!(address, Address::Tcp(_)) {
                    let fix = "give the listener an IP address and a port, or take \"http3\" out";
                    let message = "HTTP/3 needs a UDP port, and this listener has a socket of another kind";
                    self.context.report(protocol.clone(), message, fix);
                }
                let early_data = value(&section.http3).and_then(|http3| http3.early_data.as_ref());
                if let Some(Tls::Files { clients: Some(_), .. }) = &tls
                    && let Some(early_data) = early_data.filter(|early_data| *early_data.get_ref())
                {
                    let fix = "remove it, or `client-auth` of the listener";
                    let message = "early data is served before it is known whose certificate a client shows";
                    self.context.report(early_data.span(), message, fix);
                }
                if listener.proxy_protocol_from.is_some() {
                    let fix = "take \"http3\" out, or `proxy-protocol-from`";
                    let message = "HTTP/3 has no PROXY header, so that it would be a way around the proxy";
                    self.context.report(protocol, message, fix);
                }
            }
            if listeners.iter().any(|other| other.has_address(&address)) {
                self.context.report(
                    span,
                    format!("two listeners have the address {address}"),
                    "give each its own, or remove one",
                );
            }
            let mut made = Listener::named(value(&listener.name), address, &protocols, tls);
            made.h2c = self.h2c(listener, &made);
            made.connections = value(&listener.connections).map(|most| most.get());
            made.connections_per_peer = value(&listener.connections_per_peer).map(|most| most.get());
            made.proxy_protocol_from = self.peers(&listener.proxy_protocol_from);
            made.trusted_proxies = self.peers(&listener.trusted_proxies).unwrap_or_default();
            made.requests = value(&listener.requests).map(|most| most.get());
            made.forwarded_field = listener.forwarded_field();
            if let Some(field) = listener.forwarded_field.as_ref().filter(|_| listener.trusted_proxies.is_none()) {
                let message = "`forwarded-field` is set, and nobody's word is taken on it";
                self.context.report(field.span(), message, "add `trusted-proxies`, or remove the key");
            }
            if let Some(name) = listener.name.as_ref().filter(|_| listeners.iter().any(|other| other.name == made.name))
            {
                let message = format!("two listeners are named `{}`", made.name);
                self.context.report(name.span(), message, "give each its own name");
            }
            listeners.push(made);
        }
        if listeners.is_empty() {
            listeners.push(Listener::plain(Address::Tcp(([127, 0, 0, 1], 8080).into())));
        }
        listeners
    }

    pub(super) fn tls_choice(&mut self, choice: &TlsChoice) -> Tls {
        match choice {
            TlsChoice::SelfSigned => Tls::SelfSigned,
            TlsChoice::Files(files) => self.tls(files),
        }
    }

    fn tls(&mut self, section: &TlsSection) -> Tls {
        let default = self.certificate(&section.certificate, &section.key);
        let others = list(&section.certificates).iter().map(Spanned::get_ref);
        let others = others.map(|other| self.certificate(&other.certificate, &other.key)).collect();
        let authorities = self.path(&section.client_ca, FileKind::File);
        let clients = match (section.client_auth(), authorities) {
            (ClientAuth::Off, None) => None,
            (ClientAuth::Off, Some(_)) => {
                let fix = "add `client-auth = \"required\"`, or remove the key";
                let place = section.client_ca.as_ref().map_or(section.span.clone(), Spanned::span);
                self.context.report(place, "`client-ca` is set, and clients are not asked for certificates", fix);
                None
            }
            (auth, Some(authorities)) => {
                Some(ClientCertificates { required: auth == ClientAuth::Required, authorities })
            }
            (_, None) => {
                // A `client-ca` that did not decode has been reported.
                if !section.failed.iter().any(|key| key == "client-ca") {
                    let place = section.client_auth.as_ref().map_or(section.span.clone(), Spanned::span);
                    let message = "clients are asked for certificates, and nobody is named who signs them";
                    self.context.report(place, message, "add `client-ca = \"PEM file\"`");
                }
                None
            }
        };
        Tls::Files { default, others, clients, watch: section.watch() }
    }

    fn certificate(
        &mut self,
        certificate: &Option<Spanned<FilePath>>,
        key: &Option<Spanned<FilePath>>,
    ) -> CertificateFiles {
        CertificateFiles {
            certificate: self.path(certificate, FileKind::File).unwrap_or_default(),
            key: self.path(key, FileKind::File).unwrap_or_default(),
        }
    }

    /// `h2c`, which only a plaintext listener with both protocols has a use for.
    fn h2c(&mut self, section: &ListenerSection, listener: &Listener) -> H2c {
        let Some(h2c) = &section.h2c else { return H2c::PriorKnowledge };
        let problem = match (section.tls.is_some(), listener.http1, listener.http2) {
            (true, ..) => Some(("this listener has TLS, where ALPN decides", "remove `h2c`")),
            (false, false, true) if *h2c.get_ref() != H2c::PriorKnowledge => Some((
                "this listener speaks HTTP/2 only, which plaintext clients know by prior knowledge",
                "remove `h2c`",
            )),
            (false, true, false) if *h2c.get_ref() != H2c::Off => {
                Some(("this listener does not speak HTTP/2", "remove `h2c`, or add \"http2\" to `protocols`"))
            }
            _ => None,
        };
        if let Some((message, fix)) = problem {
            self.context.report(h2c.span(), format!("`h2c` is \"{}\", and {message}", h2c.get_ref()), fix);
        }
        *h2c.get_ref()
    }

    /// Peers to be believed; an empty list would believe nobody, and is a slip.
    fn peers(&mut self, field: &Option<Spanned<Vec<Spanned<PeerRange>>>>) -> Option<Vec<PeerRange>> {
        let field = field.as_ref()?;
        if field.get_ref().is_empty() {
            self.context.report(field.span(), "the list is empty", "name a network, or remove the key");
        }
        Some(field.get_ref().iter().map(|range| *range.get_ref()).collect())
    }

    pub(super) fn deploy(&self, section: &ManifestSection) -> Option<Deploy> {
        let deploy = value(&section.deploy)?;
        Some(Deploy { directory: value(&deploy.directory)?.resolve(&self.folder), keep: deploy.keep().get() })
    }
}

pub(super) fn compile(section: &ManifestSection) -> Compile {
    let compile = value(&section.compile).cloned().unwrap_or_default();
    Compile {
        memory: compile.memory().get(),
        cpu: compile.cpu().get(),
        time: compile.time().get(),
        concurrency: value(&compile.concurrency).map(|count| count.get()),
        max_wasm: compile.max_wasm().get(),
    }
}

pub(super) fn timeouts(section: &ManifestSection) -> Timeouts {
    let timeouts = value(&section.timeouts).cloned().unwrap_or_default();
    Timeouts {
        handshake: timeouts.handshake().get(),
        proxy_header: timeouts.proxy_header().get(),
        preface: timeouts.preface().get(),
        request_head: timeouts.request_head().get(),
        body_idle: timeouts.body_idle().get(),
        body_min_rate: u32::try_from(timeouts.body_min_rate().get()).expect("the key's range ends below"),
        write_stall: timeouts.write_stall().get(),
        keep_alive_idle: timeouts.keep_alive_idle().get(),
        h2_idle: timeouts.h2_idle().get(),
        h3_idle: timeouts.h3_idle().get(),
        h3_lost: timeouts.h3_lost().get(),
        tcp_lost: timeouts.tcp_lost().get(),
        h2_ping_interval: timeouts.h2_ping_interval().get(),
        h2_ping_timeout: timeouts.h2_ping_timeout().get(),
    }
}

pub(super) fn rate_limit(section: &ManifestSection) -> Option<RateLimit> {
    let limit = value(&section.rate_limit)?;
    // What is required and not there has been reported.
    let requests = value(&limit.requests)?.get();
    let burst = value(&limit.burst).map_or(requests, |burst| burst.get());
    Some(RateLimit { requests, burst, peers: limit.peers().get() })
}

pub(super) fn http2(section: &ManifestSection) -> Http2 {
    let http2 = value(&section.http2).cloned().unwrap_or_default();
    let fits = "the key's range ends below";
    Http2 {
        stream_window: u32::try_from(http2.stream_window().get()).expect(fits),
        connection_window: u32::try_from(http2.connection_window().get()).expect(fits),
        max_streams: http2.max_streams().get(),
        max_header_list: u32::try_from(http2.max_header_list().get()).expect(fits),
    }
}

pub(super) fn http3(section: &ManifestSection) -> Http3 {
    let http3 = value(&section.http3).cloned().unwrap_or_default();
    let fits = "the key's range ends below";
    Http3 {
        stream_window: u32::try_from(http3.stream_window().get()).expect(fits),
        connection_window: u32::try_from(http3.connection_window().get()).expect(fits),
        send_window: u32::try_from(http3.send_window().get()).expect(fits),
        max_streams: http3.max_streams().get(),
        max_header_list: u32::try_from(http3.max_header_list().get()).expect(fits),
        qpack_table: u32::try_from(http3.qpack_table().get()).expect(fits),
        qpack_blocked_streams: http3.qpack_blocked_streams().get(),
        endpoints: value(&http3.endpoints).map(|count| count.get()),
        cid_lifetime: http3.cid_lifetime().get(),
        kernel_steering: http3.kernel_steering(),
        forward_queue: u32::try_from(http3.forward_queue().get()).expect(fits),
        retry_above: http3.retry_above().get(),
        early_data: http3.early_data(),
        alt_svc_max_age: http3.alt_svc_max_age().get(),
        alt_svc_port: value(&http3.alt_svc_port).map(|port| u16::try_from(port.get()).expect(fits)),
    }
}

/// Where a list of protocols names HTTP/3.
fn http3_of(protocols: &Spanned<Vec<Spanned<Protocol>>>) -> Option<Range<usize>> {
    protocols.get_ref().iter().find(|protocol| *protocol.get_ref() == Protocol::Http3).map(Spanned::span)
}
