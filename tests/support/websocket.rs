//! WebSockets by hand: frames in their form on the wire, over HTTP/1.1's Upgrade and over the extended CONNECT of
//! HTTP/2 and HTTP/3.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::ext::Protocol;
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Io, Way, dial};
use crate::{Server, http3, soon};

/// A handshake to send.
#[derive(Clone, Debug)]
pub struct Handshake {
    path: String,
    /// `:protocol`, over HTTP/2 and HTTP/3.
    protocol: String,
    version: String,
    headers: Vec<(String, String)>,
}

impl Handshake {
    /// Makes a valid handshake.
    pub fn to(path: &str) -> Self {
        let protocol = "websocket".to_owned();
        Self { path: path.to_owned(), protocol, version: "13".to_owned(), headers: Vec::new() }
    }

    /// Makes it a CONNECT to another protocol than WebSocket.
    pub fn protocol(mut self, protocol: &str) -> Self {
        self.protocol = protocol.to_owned();
        self
    }

    /// Sets another version.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it on a new connection. The client's side lets the server send only little unread data.
    pub async fn send(self, server: &Server, way: Way) -> Answered {
        if way == Way::H3 {
            return self.connect_http3(server).await;
        }
        let io = dial(server.address(if way.is_tls() { "tls" } else { "plain" }), way).await;
        if way.is_h2() { self.connect(io, way).await } else { self.upgrade(io).await }
    }

    /// Sends it, and requires that it is accepted.
    pub async fn open(self, server: &Server, way: Way) -> Socket {
        let answered = self.send(server, way).await;
        let accepted = if way.has_streams() { 200 } else { 101 };
        assert_eq!(answered.status, accepted, "{way:?}: {:?}", answered.headers);
        answered.socket
    }

    async fn upgrade(self, mut io: Io) -> Answered {
        let mut head = format!(
            "GET {} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: {}\r\n",
            self.path, self.version
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        soon(io.write_all((head + "\r\n").as_bytes())).await.expect("the server reads");
        soon(io.flush()).await.expect("the server reads");
        let mut read = BytesMut::new();
        let length = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(soon(io.read_buf(&mut read)).await.expect("an answer") > 0, "cut short: {read:?}");
        };
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(&read[..length]).expect("an HTTP/1.1 head");
        let status = response.code.expect("it is complete");
        let mut headers = HeaderMap::new();
        for field in response.headers.iter() {
            let name: http::HeaderName = field.name.parse().expect("a name");
            headers.append(name, http::HeaderValue::from_bytes(field.value).expect("a value"));
        }
        if status == 101 {
            // RFC 6455, 1.3: the example's own key and its answer.
            assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
        read.advance(length);
        Answered { status, headers, socket: Socket { wire: Wire::Bytes(io), read } }
    }

    async fn connect(self, io: Io, way: Way) -> Answered {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 16).initial_connection_window_size(1 << 16);
        let (mut sender, connection) = soon(builder.handshake::<_, Bytes>(io)).await.expect("an HTTP/2 handshake");
        let driver = tokio::spawn(async move { drop(connection.await) });
        // RFC 8441, 3: the server's SETTINGS say that it takes this.
        soon(async {
            while !sender.is_extended_connect_protocol_enabled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let mut request = Request::builder()
            .method("CONNECT")
            .uri(format!("{}://localhost{}", if way.is_tls() { "https" } else { "http" }, self.path))
            .header("sec-websocket-version", self.version)
            .extension(Protocol::from(&*self.protocol));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(()).expect("a request");
        let (response, outgoing) = sender.send_request(request, false).expect("the connection is open");
        let (head, incoming) = soon(response).await.expect("an answer").into_parts();
        let wire = Wire::Stream { outgoing, incoming, driver, _sender: sender };
        Answered { status: head.status.as_u16(), headers: head.headers, socket: Socket { wire, read: BytesMut::new() } }
    }

    async fn connect_http3(self, server: &Server) -> Answered {
        let connection = http3::Connection::start_with_window(server.address("tls"), 1 << 16).await;
        let mut fields: Vec<(String, String)> = [
            (":method", "CONNECT"),
            (":protocol", &self.protocol),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", &self.path),
            ("sec-websocket-version", &self.version),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        fields.extend(self.headers);
        let mut exchange = connection.request(&fields, false).await;
        let status = soon(exchange.head()).await;
        let headers = exchange.headers().clone();
        let wire = Wire::Http3 { exchange: Box::new(exchange), _connection: connection };
        Answered { status, headers, socket: Socket { wire, read: BytesMut::new() } }
    }
}

/// The answer to a handshake.
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// The socket after it, which is a WebSocket if the status says so.
    pub socket: Socket,
}

/// A frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Whether it is the last of its message.
    pub fin: bool,
    /// Whether it is compressed.
    pub rsv1: bool,
    /// 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

/// The client's end of a WebSocket.
pub struct Socket {
    wire: Wire,
    read: BytesMut,
}

enum Wire {
    Bytes(Io),
    Stream {
        outgoing: h2::SendStream<Bytes>,
        incoming: h2::RecvStream,
        driver: tokio::task::JoinHandle<()>,
        _sender: h2::client::SendRequest<Bytes>,
    },
    Http3 {
        exchange: Box<http3::Exchange>,
        _connection: http3::Connection,
    },
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Self::Stream { driver, .. } = self {
            driver.abort();
        }
    }
}

impl Socket {
    /// Writes bytes unchanged; returns false when the server takes no more.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        soon(self.wire.write(bytes)).await
    }

    /// Sends one frame.
    pub async fn send(&mut self, opcode: u8, payload: impl AsRef<[u8]>) -> bool {
        self.write(&frame(true, opcode, payload.as_ref())).await
    }

    /// Sends a text message.
    pub async fn text(&mut self, text: &str) -> bool {
        self.send(1, text).await
    }

    /// Sends a close frame.
    pub async fn close(&mut self, code: u16) -> bool {
        self.send(8, code.to_be_bytes()).await
    }

    /// Reads the next frame; `None` when the server has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        soon(async {
            loop {
                if let Some(frame) = parse(&mut self.read) {
                    return Some(frame);
                }
                if !self.wire.read(&mut self.read).await {
                    assert!(self.read.is_empty(), "cut inside a frame: {} bytes", self.read.len());
                    return None;
                }
            }
        })
        .await
    }

    /// Reads the next message, which must be text.
    pub async fn next_text(&mut self) -> String {
        let frame = self.next().await.expect("a message");
        assert_eq!((frame.opcode, frame.fin), (1, true), "{frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }

    /// Reads until the close frame and answers it; returns its code (1005 without one) and reason, or 1006 when none
    /// comes. Afterwards the server must end the stream, too.
    pub async fn closed(&mut self) -> (u16, String) {
        while let Some(frame) = self.next().await {
            if frame.opcode != 8 {
                continue;
            }
            self.send(8, &frame.payload).await;
            assert_eq!(self.next().await, None, "nothing follows a close frame");
            return match frame.payload.split_first_chunk::<2>() {
                Some((code, reason)) => (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8")),
                None => (1005, String::new()),
            };
        }
        (1006, String::new())
    }

    /// Resets the stream with CANCEL on HTTP/2; cancels both halves on HTTP/3; ends the connection on HTTP/1.1.
    pub async fn reset(mut self) {
        match &mut self.wire {
            Wire::Bytes(_) => return,
            Wire::Stream { outgoing, .. } => outgoing.send_reset(h2::Reason::CANCEL),
            Wire::Http3 { exchange, .. } => exchange.cancel(),
        }
        // It has to be sent.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Wire {
    async fn write(&mut self, mut bytes: &[u8]) -> bool {
        match self {
            Self::Bytes(io) => io.write_all(bytes).await.is_ok() && io.flush().await.is_ok(),
            Self::Stream { outgoing, .. } => {
                while !bytes.is_empty() {
                    outgoing.reserve_capacity(bytes.len());
                    let Some(Ok(room)) = std::future::poll_fn(|context| outgoing.poll_capacity(context)).await else {
                        return false;
                    };
                    let (now, rest) = bytes.split_at(room.min(bytes.len()));
                    if outgoing.send_data(Bytes::copy_from_slice(now), false).is_err() {
                        return false;
                    }
                    bytes = rest;
                }
                true
            }
            Self::Http3 { exchange, .. } => exchange.send(Bytes::copy_from_slice(bytes)).await,
        }
    }

    async fn read(&mut self, into: &mut BytesMut) -> bool {
        match self {
            Self::Bytes(io) => matches!(io.read_buf(into).await, Ok(1..)),
            Self::Stream { incoming, .. } => match incoming.data().await {
                Some(Ok(piece)) => {
                    let _ = incoming.flow_control().release_capacity(piece.len());
                    into.extend_from_slice(&piece);
                    true
                }
                Some(Err(_)) | None => false,
            },
            Self::Http3 { exchange, .. } => match exchange.piece().await {
                Some(piece) => {
                    into.extend_from_slice(&piece);
                    true
                }
                None => false,
            },
        }
    }
}

/// A masked frame.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let first = opcode | if fin { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let key = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend_from_slice(&key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A server's frame, which must not be masked.
fn parse(read: &mut BytesMut) -> Option<Frame> {
    let (first, second) = (*read.first()?, *read.get(1)?);
    assert_eq!(second & 0x80, 0, "a server's frame is masked");
    let (start, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(read.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(read.get(2..10)?.try_into().ok()?)).expect("it fits")),
        length => (2, usize::from(length)),
    };
    if read.len() < start + length {
        return None;
    }
    read.advance(start);
    let payload = read.split_to(length).to_vec();
    Some(Frame { fin: first & 0x80 != 0, rsv1: first & 0x40 != 0, opcode: first & 0xf, payload })
}
