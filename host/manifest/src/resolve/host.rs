//! The host's own sections.

use std::ops::Range;

use toml::Spanned;

use super::{FileKind, Resolver, list, value};
use crate::manifest::{Http2, Http3, Listener, Server, Timeouts, Tls};
use crate::scalar::Address;
use crate::section::{ManifestSection, Protocol, TlsChoice};

impl Resolver<'_> {
    pub(super) fn server(&self, section: &ManifestSection) -> Server {
        let server = value(&section.server).cloned().unwrap_or_default();
        Server {
            drain: server.drain().get(),
            workers: value(&server.workers).map(|count| count.get()),
            cache_dir: value(&server.cache_dir).map(|path| path.resolve(&self.folder)),
            log: server.log(),
            access_log: server.access_log(),
        }
    }

    pub(super) fn listeners(&mut self, section: &ManifestSection) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for listener in list(&section.listener) {
            let listener = listener.get_ref();
            let tls = value(&listener.tls).map(|choice| match choice {
                TlsChoice::SelfSigned => Tls::SelfSigned,
                TlsChoice::Files(files) => Tls::Files {
                    certificate: self.path(&files.certificate, FileKind::File).unwrap_or_default(),
                    key: self.path(&files.key, FileKind::File).unwrap_or_default(),
                },
            });
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
                if matches!(address, Address::Unix(_)) {
                    let fix = "give the listener an IP address and a port, or take \"http3\" out";
                    self.context.report(protocol, "HTTP/3 needs a UDP port, and this listener has a Unix socket", fix);
                }
            }
            if listeners.iter().any(|other| same_address(&other.address, &address)) {
                self.context.report(
                    span,
                    format!("two listeners have the address {address}"),
                    "give each its own, or remove one",
                );
            }
            let made = Listener::named(value(&listener.name), address, &protocols, tls);
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

    pub(super) fn admin(&mut self, section: &ManifestSection, listeners: &[Listener]) -> Option<Address> {
        let field = value(&section.admin)?.address.as_ref()?;
        let address = field.get_ref().clone().resolve(&self.folder);
        if listeners.iter().any(|listener| same_address(&listener.address, &address)) {
            self.context.report(
                field.span(),
                format!("the admin listener has the address {address} of a listener"),
                "give it an address of its own, which only operators reach",
            );
        }
        Some(address)
    }
}

pub(super) fn timeouts(section: &ManifestSection) -> Timeouts {
    let timeouts = value(&section.timeouts).cloned().unwrap_or_default();
    Timeouts {
        handshake: timeouts.handshake().get(),
        preface: timeouts.preface().get(),
        request_head: timeouts.request_head().get(),
        body_idle: timeouts.body_idle().get(),
        write_stall: timeouts.write_stall().get(),
        keep_alive_idle: timeouts.keep_alive_idle().get(),
        h2_idle: timeouts.h2_idle().get(),
        h3_idle: timeouts.h3_idle().get(),
        h3_lost: timeouts.h3_lost().get(),
    }
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
        alt_svc_max_age: http3.alt_svc_max_age().get(),
        alt_svc_port: value(&http3.alt_svc_port).map(|port| u16::try_from(port.get()).expect(fits)),
    }
}

/// Where a list of protocols names HTTP/3.
fn http3_of(protocols: &Spanned<Vec<Spanned<Protocol>>>) -> Option<Range<usize>> {
    protocols.get_ref().iter().find(|protocol| *protocol.get_ref() == Protocol::Http3).map(Spanned::span)
}

/// Port 0 is another port every time.
fn same_address(one: &Address, other: &Address) -> bool {
    one == other && !matches!(one, Address::Tcp(address) if address.port() == 0)
}
