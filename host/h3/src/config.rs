//! The offers and limits of a server.

use std::{sync::Arc, time::Duration};

use quinn::{
    IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt, crypto::rustls::QuicServerConfig,
};

use crate::{
    handshake::accept_early_data,
    settings::Settings,
    tokens::{self, UsedTokens},
};

/// Limits and offers of a server. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most bytes of one request head or of its trailers, each field counted as name + value + 32. The limit is
    /// advertised (RFC 9114 section 4.2.2), compared with the declared length of HEADERS before any of it is read, and
    /// enforced in the decoder. A larger head is answered with 431.
    ///
    /// # Defaults
    /// 65536.
    pub max_field_section_size: u64,
    /// The most bytes of a request body. A request that announces more is answered with 413; a body that turns out
    /// longer ends with [`BodyError::TooLarge`](crate::BodyError::TooLarge).
    ///
    /// # Defaults
    /// None: no limit.
    pub max_body_size: Option<u64>,
    /// The most requests at a time on one connection; the client may open no more streams.
    ///
    /// # Defaults
    /// 100.
    pub max_concurrent_requests: u32,
    /// The most unidirectional streams at a time: three that every client has, and a few that this server does not
    /// know.
    ///
    /// # Defaults
    /// 8.
    pub max_unidirectional_streams: u32,
    /// The most bytes that a client may send on one stream before they are read.
    ///
    /// # Defaults
    /// 256 KiB.
    pub stream_window: u32,
    /// The most bytes that a client may send on all streams of a connection before they are read: the memory that one
    /// connection can occupy with received data. It should be several times `stream_window`; otherwise a few unread
    /// bodies stop all other requests.
    ///
    /// # Defaults
    /// 2 MiB.
    pub connection_window: u32,
    /// The most bytes that the server sends on one connection before they are acknowledged: the memory that one
    /// connection can occupy with data to send.
    ///
    /// # Defaults
    /// 1 MiB.
    pub send_window: u32,
    /// The size of the dynamic table that a client may use (RFC 9204 section 3.2.3). Zero turns it off.
    ///
    /// # Defaults
    /// 4096.
    pub qpack_table_capacity: u32,
    /// The most streams that may wait for entries of that table at once (RFC 9204 section 2.1.2).
    ///
    /// # Defaults
    /// 16.
    pub qpack_blocked_streams: u32,
    /// How much of a client's dynamic table the server uses for its responses. Zero turns it off.
    ///
    /// # Defaults
    /// 4096.
    pub qpack_encoder_capacity: u32,
    /// Whether to offer extended CONNECT (RFC 9220), for WebSocket.
    ///
    /// # Defaults
    /// `true`.
    pub extended_connect: bool,
    /// The most bytes of HTTP datagrams (RFC 9297) to hold per direction and connection. Zero turns datagrams off.
    ///
    /// # Defaults
    /// 64 KiB.
    pub datagram_buffer: u32,
    /// The most datagrams that wait for one tunnel to read them. When another datagram comes, the oldest is dropped.
    ///
    /// # Defaults
    /// 64.
    pub datagram_queue: usize,
    /// The most WebTransport sessions at a time on one connection; more are refused with `H3_REQUEST_REJECTED`. If this
    /// is zero, or without `extended_connect` or datagrams, WebTransport is not offered.
    ///
    /// # Defaults
    /// 16.
    pub webtransport_sessions: u32,
    /// The most streams of each direction that a client may have open in one session, and the server too. While a
    /// session lives, the client may open this many more streams on the connection, for requests too. More streams in
    /// one session are refused with `WEBTRANSPORT_BUFFERED_STREAM_REJECTED`.
    ///
    /// # Defaults
    /// 100.
    pub webtransport_streams: u32,
    /// The most streams of sessions that have not begun, which each connection keeps until they do. When another such
    /// stream comes, the oldest is refused with `WEBTRANSPORT_BUFFERED_STREAM_REJECTED`.
    ///
    /// # Defaults
    /// 16.
    pub webtransport_buffered_streams: usize,
    /// From the first datagram of a handshake to its end.
    ///
    /// # Defaults
    /// 10 s.
    pub handshake_timeout: Duration,
    /// From the opening of a stream to the end of the request head. The answer is 408.
    ///
    /// # Defaults
    /// 10 s.
    pub head_timeout: Duration,
    /// How long a connection may stay open without a request before it is closed with GOAWAY.
    ///
    /// # Defaults
    /// 60 s.
    pub idle_timeout: Duration,
    /// How long a client may stay silent before its connection is dropped (RFC 9000 section 10.1). The server sends a
    /// PING after a third of this time, so that a request that takes longer does not lose its connection.
    ///
    /// # Defaults
    /// 30 s.
    pub lost_timeout: Duration,
    /// Whether a client must prove its address before the server spends resources on it.
    ///
    /// # Defaults
    /// [`RetryPolicy::Above`] 1000 connections.
    pub retry: RetryPolicy,
    /// Whether requests are accepted from the first flight of a returning client (0-RTT), which saves it a round trip.
    ///
    /// # Defaults
    /// [`EarlyData::Off`].
    pub early_data: EarlyData,
    /// The most requests per second that a client may reset or stop on one connection, plus one for each request that
    /// it lets complete. Above it, `H3_EXCESSIVE_LOAD`: a request costs more to begin than to abandon (RFC 9114 section
    /// 10.5).
    ///
    /// # Defaults
    /// 200.
    pub resets_per_second: u32,
    /// The most connections at a time, including handshakes; more are refused.
    ///
    /// # Defaults
    /// 10 000.
    pub max_connections: usize,
}

/// When a client's first datagram is answered with Retry (RFC 9000 section 8.1.2), which costs it a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// While there are more than this many connections.
    Above(usize),
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The treatment of early data (RFC 8470), which an observer can record, hold back and replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyData {
    /// No early data is accepted.
    #[default]
    Off,
    /// GET, HEAD, OPTIONS and TRACE are served, with an added `early-data: 1` field; others are answered with 425,
    /// after which a client sends them again on the completed connection.
    ///
    /// Do not ask clients for a certificate in this mode: it is not known yet while the early data is served.
    SafeMethods,
}

impl RetryPolicy {
    /// Whether a client that comes now gets a Retry.
    pub(crate) fn wanted(self, connections: usize) -> bool {
        match self {
            RetryPolicy::Above(threshold) => connections >= threshold,
            RetryPolicy::Always => true,
            RetryPolicy::Never => false,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_field_section_size: 65_536,
            max_body_size: None,
            max_concurrent_requests: 100,
            max_unidirectional_streams: 8,
            stream_window: 256 * 1024,
            connection_window: 2 * 1024 * 1024,
            send_window: 1024 * 1024,
            qpack_table_capacity: 4096,
            qpack_blocked_streams: 16,
            qpack_encoder_capacity: 4096,
            extended_connect: true,
            datagram_buffer: 64 * 1024,
            datagram_queue: 64,
            webtransport_sessions: 16,
            webtransport_streams: 100,
            webtransport_buffered_streams: 16,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            lost_timeout: Duration::from_secs(30),
            retry: RetryPolicy::Above(1000),
            early_data: EarlyData::Off,
            resets_per_second: 200,
            max_connections: 10_000,
        }
    }
}

/// The ALPN name of HTTP/3 (RFC 9114 section 3.1).
pub const ALPN: &[u8] = b"h3";

impl Config {
    /// Makes a quinn configuration with these limits, from a rustls one with its certificate set.
    ///
    /// It sets ALPN, and turns early data off or on. Without early data, session tickets still save the next handshake
    /// its signatures.
    ///
    /// # Errors
    /// The rustls configuration lacks TLS 1.3 with `TLS13_AES_128_GCM_SHA256`, which QUIC starts with.
    pub fn quinn(&self, mut tls: rustls::ServerConfig) -> Result<ServerConfig, NoInitialCipherSuite> {
        tls.alpn_protocols = vec![ALPN.to_vec()];
        match self.early_data {
            EarlyData::Off => tls.max_early_data_size = 0,
            EarlyData::SafeMethods => accept_early_data(&mut tls),
        }
        let crypto = QuicServerConfig::try_from(tls).map_err(|_| NoInitialCipherSuite)?;
        let mut tokens = ValidationTokenConfig::default();
        tokens.lifetime(tokens::LIFETIME).sent(tokens::SENT).log(Arc::new(UsedTokens::default()));
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config
            .validation_token_config(tokens)
            .transport_config(Arc::new(self.transport()))
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);
        Ok(config)
    }

    /// Sets every window of quinn explicitly: its own defaults let one connection hold 125 MB.
    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        let datagrams = (self.datagram_buffer > 0).then_some(self.datagram_buffer as usize);
        transport
            .max_concurrent_bidi_streams(self.max_concurrent_requests.into())
            .max_concurrent_uni_streams(self.unidirectional_streams().into())
            .stream_receive_window(self.stream_window.into())
            .receive_window(self.connection_window.into())
            .send_window(u64::from(self.send_window))
            .datagram_receive_buffer_size(datagrams)
            .datagram_send_buffer_size(self.datagram_buffer as usize)
            .keep_alive_interval(Some(self.lost_timeout / 3))
            .max_idle_timeout(Some(IdleTimeout::try_from(self.lost_timeout).unwrap_or_else(|_| VarInt::MAX.into())));
        transport
    }

    /// Whether WebTransport is offered; it requires the other two.
    pub(crate) fn offers_webtransport(&self) -> bool {
        self.webtransport_sessions > 0 && self.extended_connect && self.datagram_buffer > 0
    }

    /// The number of unidirectional streams, without those of sessions.
    pub(crate) fn unidirectional_streams(&self) -> u32 {
        self.max_unidirectional_streams.max(CRITICAL_STREAMS)
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            qpack_max_table_capacity: u64::from(self.qpack_table_capacity),
            qpack_blocked_streams: u64::from(self.qpack_blocked_streams),
            max_field_section_size: Some(self.max_field_section_size),
            enable_connect_protocol: self.extended_connect,
            h3_datagram: self.datagram_buffer > 0,
            webtransport_draft_02: self.offers_webtransport(),
            webtransport_max_sessions: if self.offers_webtransport() {
                u64::from(self.webtransport_sessions)
            } else {
                0
            },
        }
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
