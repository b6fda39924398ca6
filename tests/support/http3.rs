//! HTTP/3 on quinn, by hand: every incoming frame is checked, and every reset has its code.
//!
//! `roadrunner-qpack`, which has been compared with another implementation, codes field sections. Everything else is
//! implemented in this file. Other clients have separate tests: see `tests/e2e/http3_clients.rs`.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use quinn::{Endpoint, ReadError, RecvStream, SendStream, VarInt};
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{Answer, Ask, End, Payload, tls};
use crate::soon;

/// The most bytes that the server may send before the test reads, per stream and in total.
const WINDOW: u32 = 1 << 20;

const DATA: u64 = 0;
const HEADERS: u64 = 1;
const GOAWAY: u64 = 7;

/// H3_NO_ERROR and H3_REQUEST_CANCELLED (RFC 9114, 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
const CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// A connection. Dropping it closes it.
pub struct Connection {
    quic: quinn::Connection,
    endpoint: Endpoint,
    /// Held: the server must not see it end (RFC 9114, 6.2.1).
    _control: SendStream,
    streams: JoinHandle<()>,
    goaways: mpsc::UnboundedReceiver<u64>,
}

impl Connection {
    /// Opens a connection.
    pub async fn start(address: SocketAddr) -> Self {
        Self::start_with_window(address, WINDOW).await
    }

    /// Opens a connection with windows of this size, for the streams and for the connection.
    pub async fn start_with_window(address: SocketAddr, window: u32) -> Self {
        let mut tls = tls(&[b"h3"]);
        // It needs a ticket, and a test that asks for it.
        tls.enable_early_data = true;
        let (endpoint, quic) = Self::handshake(address, window, tls, "localhost").await;
        Self::over(endpoint, quic.expect("a QUIC handshake")).await
    }

    /// Opens a connection with the test's own TLS settings, for a server of this name; or returns why it failed.
    pub async fn start_with_tls(
        address: SocketAddr,
        tls: rustls::ClientConfig,
        name: &str,
    ) -> Result<Self, quinn::ConnectionError> {
        let (endpoint, quic) = Self::handshake(address, WINDOW, tls, name).await;
        let quic = quic?;
        // The client's side of the handshake ends before the server has checked the client's certificate. The server's
        // first stream comes after that.
        let mut first = soon(quic.accept_uni()).await?;
        tokio::spawn(async move { while let Ok(Some(_)) = first.read_chunk(usize::MAX, true).await {} });
        Ok(Self::over(endpoint, quic).await)
    }

    async fn handshake(
        address: SocketAddr,
        window: u32,
        tls: rustls::ClientConfig,
        name: &str,
    ) -> (Endpoint, Result<quinn::Connection, quinn::ConnectionError>) {
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(window.into()).receive_window(window.into());
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        let connecting = endpoint.connect(address, name).expect("an address");
        let quic = soon(connecting).await;
        (endpoint, quic)
    }

    /// Opens another connection of the same client without waiting for the handshake, so that its first requests are
    /// early data. `None` if no ticket of the server allows that.
    pub async fn early(&self) -> Option<Self> {
        let connecting = self.endpoint.connect(self.quic.remote_address(), "localhost").expect("an address");
        let (quic, _) = connecting.into_0rtt().ok()?;
        Some(Self::over(self.endpoint.clone(), quic).await)
    }

    /// Continues from another port.
    pub fn change_address(&self) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        self.endpoint.rebind(socket).expect("a socket");
    }

    async fn over(endpoint: Endpoint, quic: quinn::Connection) -> Self {
        let mut control = soon(quic.open_uni()).await.expect("the server takes streams");
        // The control stream, with empty SETTINGS.
        soon(control.write_all(&[0, 4, 0])).await.expect("the server takes data");
        let (sender, goaways) = mpsc::unbounded_channel();
        let streams = tokio::spawn(take_streams(quic.clone(), sender));
        Self { quic, endpoint, _control: control, streams, goaways }
    }

    /// The QUIC connection.
    pub fn quic(&self) -> &quinn::Connection {
        &self.quic
    }

    /// Waits for GOAWAY, and returns its identifier.
    pub async fn goaway(&mut self) -> u64 {
        soon(self.goaways.recv()).await.expect("the control stream is open")
    }

    /// Waits until the server has ended the connection, and returns its code.
    pub async fn ended(&mut self) -> Option<u64> {
        match soon(self.quic.closed()).await {
            quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
            _ => None,
        }
    }

    /// Sends a whole request and waits for the whole answer.
    pub async fn fetch(&mut self, ask: Ask) -> Answer {
        let mut exchange = self.begin(&ask).await;
        let Some(mut outgoing) = exchange.outgoing.take() else { return soon(exchange.rest()).await };
        let (body, trailers) = match ask.body {
            Payload::Whole(body) => (body, Vec::new()),
            Payload::Unsized(body, trailers) => (body, trailers),
            Payload::None | Payload::Open(_) => panic!("this request's body is the test's to send"),
        };
        let send = async {
            // The server may answer before it has read everything.
            let _ = send(&mut outgoing, &body).await && finish(&mut outgoing, &trailers).await;
            outgoing
        };
        soon(async { tokio::join!(send, exchange.rest()) }).await.1
    }

    pub(crate) async fn open(&mut self, ask: Ask) -> Exchange {
        let mut exchange = self.begin(&ask).await;
        match ask.body {
            Payload::Whole(body) => {
                exchange.send(body).await;
                exchange.finish(&[]).await;
            }
            Payload::Unsized(body, trailers) => {
                exchange.send(body).await;
                let trailers: Vec<_> = trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                exchange.finish(&trailers).await;
            }
            Payload::None | Payload::Open(_) => {}
        }
        exchange
    }

    async fn begin(&mut self, ask: &Ask) -> Exchange {
        let mut fields = vec![
            (":method".to_owned(), ask.method.clone()),
            (":scheme".to_owned(), "https".to_owned()),
            (":authority".to_owned(), ask.authority.clone()),
            (":path".to_owned(), ask.path.clone()),
        ];
        fields.extend(ask.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        let length = match &ask.body {
            Payload::Whole(body) => Some(body.len() as u64),
            Payload::Open(length) => *length,
            Payload::None | Payload::Unsized(..) => None,
        };
        fields.extend(length.map(|length| ("content-length".to_owned(), length.to_string())));
        self.request(&fields, matches!(ask.body, Payload::None)).await
    }

    /// Opens a stream and sends these bytes on it.
    pub async fn raw(&self, bytes: &[u8], ends: bool) -> Exchange {
        let (mut outgoing, incoming) = soon(self.quic.open_bi()).await.expect("the connection is open");
        let sent = soon(outgoing.write_all(bytes)).await;
        if ends && sent.is_ok() {
            let _ = outgoing.finish();
        }
        Exchange {
            outgoing: (!ends && sent.is_ok()).then_some(outgoing),
            incoming,
            read: BytesMut::new(),
            data: 0,
            status: 0,
            interim: Vec::new(),
            headers: HeaderMap::new(),
            trailers: HeaderMap::new(),
            end: None,
        }
    }

    /// Opens a stream and sends these fields on it.
    pub async fn request(&self, fields: &[(String, String)], ends: bool) -> Exchange {
        self.raw(&frame(HEADERS, &encode(fields)), ends).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.streams.abort();
        self.quic.close(NO_ERROR, b"");
        // Without its endpoint the close would not be sent.
        let endpoint = self.endpoint.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { endpoint.wait_idle().await });
        }
    }
}

/// A request stream. Dropping it cancels the unfinished directions.
pub struct Exchange {
    outgoing: Option<SendStream>,
    incoming: RecvStream,
    read: BytesMut,
    /// The remaining bytes of a DATA frame.
    data: u64,
    status: u16,
    interim: Vec<u16>,
    headers: HeaderMap,
    trailers: HeaderMap,
    end: Option<End>,
}

impl Exchange {
    pub(crate) async fn send(&mut self, piece: Bytes) -> bool {
        let outgoing = self.outgoing.as_mut().expect("the request's body has not ended");
        soon(send(outgoing, &piece)).await
    }

    pub(crate) async fn finish(&mut self, trailers: &[(&str, &str)]) -> bool {
        let mut outgoing = self.outgoing.take().expect("the request's body has not ended");
        let trailers: Vec<_> = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        soon(finish(&mut outgoing, &trailers)).await
    }

    /// Resets the unsent part and stops the unreceived part, with H3_REQUEST_CANCELLED.
    pub fn reset(mut self) {
        self.cancel();
    }

    /// Does the same, but keeps the exchange.
    pub fn cancel(&mut self) {
        // Otherwise quinn would finish an incomplete stream.
        if let Some(outgoing) = &mut self.outgoing {
            let _ = outgoing.reset(CANCELLED);
        }
        if self.end.is_none() {
            let _ = self.incoming.stop(CANCELLED);
        }
    }

    /// Resets only the sending half.
    pub fn reset_sending(&mut self, code: u32) {
        let mut outgoing = self.outgoing.take().expect("the request's body has not ended");
        outgoing.reset(code.into()).expect("it is open");
    }

    /// Waits until the server has asked to stop sending, and returns its code.
    ///
    /// # Panics
    /// When the request's body has ended.
    pub async fn stopped(&mut self) -> u64 {
        let outgoing = self.outgoing.as_ref().expect("the request's body has not ended");
        soon(outgoing.stopped()).await.expect("the connection is open").expect("it was not finished").into_inner()
    }

    /// Sends bytes unchanged.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> bool {
        let outgoing = self.outgoing.as_mut().expect("the request's body has not ended");
        soon(outgoing.write_all(bytes)).await.is_ok()
    }

    /// Sends a DATA frame.
    pub async fn send_piece(&mut self, piece: impl AsRef<[u8]>) -> bool {
        self.send_raw(&frame(DATA, piece.as_ref())).await
    }

    /// Ends the sending half.
    pub async fn end(&mut self) -> bool {
        self.finish(&[]).await
    }

    /// Waits for the head, and returns the status, or 0 when none comes.
    pub async fn status(&mut self) -> u16 {
        soon(self.head()).await
    }

    /// Reads to the end, and returns how it ended.
    pub async fn ended(&mut self) -> End {
        soon(self.rest()).await.end
    }

    /// Waits for the head, and returns the status, or 0 when none comes.
    pub(crate) async fn head(&mut self) -> u16 {
        while self.status == 0 && self.end.is_none() {
            self.frame().await;
        }
        self.status
    }

    pub(crate) async fn interim(&mut self) -> Vec<u16> {
        while self.interim.is_empty() && self.status == 0 && self.end.is_none() {
            self.frame().await;
        }
        self.interim.clone()
    }

    /// The header fields, once the head has come.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Reads a piece of the body; `None` at its end.
    pub async fn piece(&mut self) -> Option<Bytes> {
        self.head().await;
        loop {
            if self.data > 0 && !self.read.is_empty() {
                let take = self.read.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
                self.data -= take as u64;
                return Some(self.read.split_to(take).freeze());
            }
            if self.end.is_some() {
                return None;
            }
            match self.data {
                0 => self.frame().await,
                _ => self.fill().await,
            }
        }
    }

    /// Waits for the end, and returns the answer.
    pub async fn answer(mut self) -> Answer {
        self.rest().await
    }

    pub(crate) async fn rest(&mut self) -> Answer {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            body.extend_from_slice(&piece);
        }
        Answer {
            status: self.status,
            interim: self.interim.clone(),
            headers: self.headers.clone(),
            body,
            trailers: self.trailers.clone(),
            end: self.end.clone().expect("a body without a piece has ended"),
        }
    }

    /// Reads to the start of the next DATA frame, or skips a frame of another type.
    async fn frame(&mut self) {
        let Some((kind, length)) = self.frame_header() else { return self.fill().await };
        if kind == DATA {
            self.data = length;
            return;
        }
        while (self.read.len() as u64) < length {
            if self.end.is_some() {
                return;
            }
            self.fill().await;
        }
        let payload = self.read.split_to(usize::try_from(length).expect("it is here"));
        if kind == HEADERS {
            self.section(&payload);
        }
    }

    /// Takes type and length of a frame, once both have come.
    fn frame_header(&mut self) -> Option<(u64, u64)> {
        let mut bytes = &self.read[..];
        let (kind, length) = (varint(&mut bytes)?, varint(&mut bytes)?);
        let taken = self.read.len() - bytes.len();
        self.read.advance(taken);
        Some((kind, length))
    }

    fn section(&mut self, section: &[u8]) {
        let mut status = None;
        let mut fields = HeaderMap::new();
        for (name, value) in decode(section) {
            if name == b":status"[..] {
                status = std::str::from_utf8(&value).ok().and_then(|status| status.parse().ok());
                continue;
            }
            let name = HeaderName::from_lowercase(&name).expect("a name in lower case");
            fields.append(name, HeaderValue::from_bytes(&value).expect("a field value"));
        }
        match status {
            Some(status @ 100..200) => self.interim.push(status),
            Some(status) => (self.status, self.headers) = (status, fields),
            None => self.trailers = fields,
        }
    }

    async fn fill(&mut self) {
        match self.incoming.read_chunk(64 * 1024, true).await {
            Ok(Some(chunk)) => self.read.extend_from_slice(&chunk.bytes),
            Ok(None) => {
                assert!(self.read.is_empty() && self.data == 0, "the stream ends inside a frame");
                self.end = Some(End::EndStream);
            }
            Err(ReadError::Reset(code)) => {
                let code = u32::try_from(code.into_inner()).expect("a code of HTTP/3");
                self.end = Some(End::Reset(code.into()));
            }
            Err(_) => self.end = Some(End::Cut),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Accepts the server's streams. Only GOAWAY matters.
async fn take_streams(quic: quinn::Connection, goaways: mpsc::UnboundedSender<u64>) {
    while let Ok(mut stream) = quic.accept_uni().await {
        let goaways = goaways.clone();
        tokio::spawn(async move {
            let mut read = BytesMut::new();
            let mut is_control = None;
            while let Ok(Some(chunk)) = stream.read_chunk(16 * 1024, true).await {
                read.extend_from_slice(&chunk.bytes);
                if is_control.is_none() {
                    is_control = Some(read.get_u8() == 0);
                }
                if is_control == Some(false) {
                    read.clear();
                }
                while let Some((kind, payload)) = take_frame(&mut read) {
                    let id = varint(&mut &payload[..]);
                    if let (GOAWAY, Some(id)) = (kind, id) {
                        let _ = goaways.send(id);
                    }
                }
            }
        });
    }
}

/// Takes a frame, once all of it has come.
fn take_frame(read: &mut BytesMut) -> Option<(u64, BytesMut)> {
    let mut bytes = &read[..];
    let (kind, length) = (varint(&mut bytes)?, usize::try_from(varint(&mut bytes)?).ok()?);
    if bytes.len() < length {
        return None;
    }
    let header = read.len() - bytes.len();
    read.advance(header);
    Some((kind, read.split_to(length)))
}

/// Makes a frame.
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 9);
    put_varint(kind, &mut bytes);
    put_varint(payload.len() as u64, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// Encodes fields as a section that refers only to the static table.
pub fn encode(fields: &[(String, String)]) -> Vec<u8> {
    let mut section = Vec::new();
    let mut encoder = Encoder::new(EncoderConfig { max_table_capacity: 0, ..EncoderConfig::default() });
    encoder.encode(0, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), &mut section);
    section
}

fn decode(section: &[u8]) -> Vec<(Bytes, Bytes)> {
    let config = DecoderConfig { max_table_capacity: 0, max_blocked_streams: 0, max_field_section_size: 1 << 20 };
    match Decoder::new(config).decode(0, section).expect("a field section") {
        Decoded::Fields(fields) => fields.into_iter().map(|field| (field.name, field.value)).collect(),
        other => panic!("a field section that cannot be read: {other:?}"),
    }
}

async fn send(outgoing: &mut SendStream, piece: &[u8]) -> bool {
    piece.is_empty() || outgoing.write_all(&frame(DATA, piece)).await.is_ok()
}

async fn finish(outgoing: &mut SendStream, trailers: &[(String, String)]) -> bool {
    if !trailers.is_empty() && outgoing.write_all(&frame(HEADERS, &encode(trailers))).await.is_err() {
        return false;
    }
    outgoing.finish().is_ok()
}

/// Reads a variable-length integer (RFC 9000, 16).
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    if bytes.len() < length {
        return None;
    }
    let mut value = u64::from(first & 0x3f);
    for byte in &bytes[1..length] {
        value = value << 8 | u64::from(*byte);
    }
    bytes.advance(length);
    Some(value)
}

fn put_varint(value: u64, bytes: &mut Vec<u8>) {
    match value {
        0..0x40 => bytes.put_u8(value as u8),
        0x40..0x4000 => bytes.put_u16(value as u16 | 0x4000),
        0x4000..0x4000_0000 => bytes.put_u32(value as u32 | 0x8000_0000),
        _ => bytes.put_u64(value | 0xc000_0000_0000_0000),
    }
}
