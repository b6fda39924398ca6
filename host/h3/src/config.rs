//! The settings of a server as quinn and the SETTINGS frame have them.

use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt};
use roadrunner_values::{Http3, TransportSettings};

use crate::handshake::accept_early_data;
use crate::settings::Settings;
use crate::tokens::{self, UsedTokens};

/// The ALPN name of HTTP/3 (RFC 9114 section 3.1).
pub const ALPN: &[u8] = b"h3";

/// Makes a quinn configuration with these settings, from a rustls one with its certificate set.
///
/// It sets ALPN, and turns early data off or on. Without early data, session tickets still save the next handshake its
/// signatures. Do not ask clients for a certificate together with early data: the certificate is not known yet while
/// the early data is served.
///
/// # Errors
/// The rustls configuration lacks TLS 1.3 with `TLS13_AES_128_GCM_SHA256`, which QUIC starts with.
pub fn quinn(config: &TransportSettings, mut tls: rustls::ServerConfig) -> Result<ServerConfig, NoInitialCipherSuite> {
    tls.alpn_protocols = vec![ALPN.to_vec()];
    match config.http3.early_data {
        false => tls.max_early_data_size = 0,
        true => accept_early_data(&mut tls),
    }
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| NoInitialCipherSuite)?;
    let mut tokens = ValidationTokenConfig::default();
    tokens.lifetime(tokens::LIFETIME).sent(tokens::SENT).log(Arc::new(UsedTokens::default()));
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .validation_token_config(tokens)
        .transport_config(Arc::new(transport(config)))
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS);
    Ok(server)
}

/// Sets every window of quinn explicitly: its own defaults let one connection hold 125 MB.
fn transport(config: &TransportSettings) -> TransportConfig {
    let (http3, lost) = (&config.http3, config.timeouts.h3_lost);
    let mut transport = TransportConfig::default();
    let datagrams = (http3.datagram_buffer > 0).then_some(http3.datagram_buffer as usize);
    transport
        .max_concurrent_bidi_streams(http3.max_streams.into())
        .max_concurrent_uni_streams(unidirectional_streams(http3).into())
        .stream_receive_window(http3.stream_window.into())
        .receive_window(http3.connection_window.into())
        .send_window(u64::from(http3.send_window))
        .datagram_receive_buffer_size(datagrams)
        .datagram_send_buffer_size(http3.datagram_buffer as usize)
        .keep_alive_interval(Some(lost / 3))
        .max_idle_timeout(Some(IdleTimeout::try_from(lost).unwrap_or_else(|_| VarInt::MAX.into())));
    transport
}

/// Whether WebTransport is offered; it requires extended CONNECT and datagrams.
pub(crate) fn offers_webtransport(config: &TransportSettings) -> bool {
    config.webtransport.sessions > 0 && config.http3.extended_connect && config.http3.datagram_buffer > 0
}

/// The number of unidirectional streams, without those of sessions.
pub(crate) fn unidirectional_streams(http3: &Http3) -> u32 {
    http3.max_unidirectional_streams.max(CRITICAL_STREAMS)
}

pub(crate) fn settings(config: &TransportSettings) -> Settings {
    let (http3, offered) = (&config.http3, offers_webtransport(config));
    Settings {
        qpack_max_table_capacity: u64::from(http3.qpack_table),
        qpack_blocked_streams: u64::from(http3.qpack_blocked_streams),
        max_field_section_size: Some(u64::from(http3.max_header_list)),
        enable_connect_protocol: http3.extended_connect,
        h3_datagram: http3.datagram_buffer > 0,
        webtransport_draft_02: offered,
        webtransport_max_sessions: if offered { u64::from(config.webtransport.sessions) } else { 0 },
    }
}

/// The cryptography of the TLS configuration does not fit QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("QUIC needs TLS 1.3 with TLS13_AES_128_GCM_SHA256")]
pub struct NoInitialCipherSuite;

/// Control, QPACK encoder and QPACK decoder (RFC 9114 section 6.2: at least three must be allowed).
const CRITICAL_STREAMS: u32 = 3;

/// The most clients that wait to be accepted, refused or sent a Retry, on one endpoint. These steps never wait for
/// anything, so more than a few such clients are an attack, and the surplus is ignored.
const MAX_INCOMING: usize = 1024;

/// The most bytes kept of further datagrams of one such client: a few dozen datagrams of early data.
const INCOMING_BUFFER: u64 = 64 * 1024;

/// The most bytes kept of further datagrams of all such clients, on one endpoint.
const INCOMING_BUFFERS: u64 = 8 * 1024 * 1024;
