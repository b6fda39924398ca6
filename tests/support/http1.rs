//! HTTP/1.1 by hand: the sent bytes are known exactly, and responses are checked against RFC 9112 only.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::client::{Answer, Ask, End, Io, Payload};
use crate::soon;

/// The most header fields of a response.
const MAX_FIELDS: usize = 2000;

/// A connection.
pub struct Connection {
    reader: Reader,
    writer: WriteHalf<Io>,
}

struct Reader {
    io: ReadHalf<Io>,
    buffer: BytesMut,
}

impl Connection {
    /// Makes a connection on this transport.
    pub fn new(io: Io) -> Self {
        let (read, writer) = tokio::io::split(io);
        Self { reader: Reader { io: read, buffer: BytesMut::new() }, writer }
    }

    /// Writes bytes unchanged.
    pub async fn write(&mut self, bytes: &[u8]) {
        soon(self.writer.write_all(bytes)).await.expect("the server reads");
        soon(self.writer.flush()).await.expect("the server reads");
    }

    /// Does the same; returns false if the server takes no more.
    pub async fn try_write(&mut self, bytes: &[u8]) -> bool {
        soon(async { self.writer.write_all(bytes).await.is_ok() && self.writer.flush().await.is_ok() }).await
    }

    /// Closes the client's side for sending.
    pub async fn shut_down(&mut self) {
        let _ = soon(self.writer.shutdown()).await;
    }

    /// Reads the answer to a request of this method that was written before.
    pub async fn answer(&mut self, method: &str) -> Answer {
        let mut exchange = Exchange::new(self, method, Sending::Done);
        soon(exchange.rest()).await
    }

    /// Reads everything until the server closes.
    pub async fn to_close(&mut self) -> String {
        soon(async { while self.reader.fill().await {} }).await;
        String::from_utf8_lossy(&self.reader.buffer.split()).into_owned()
    }

    /// Whether the server closes within this time, without sending more.
    pub async fn is_closed_within(&mut self, limit: std::time::Duration) -> bool {
        match tokio::time::timeout(limit, self.reader.fill()).await {
            Ok(more) => {
                assert!(!more, "not closed, but sent: {:?}", self.reader.buffer);
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) async fn fetch(&mut self, ask: Ask) -> Answer {
        let method = ask.method.clone();
        let bytes = encode(&ask);
        let Self { reader, writer } = self;
        let send = async {
            // The server may answer and close before it has read everything.
            let _ = writer.write_all(&bytes).await;
            let _ = writer.flush().await;
        };
        let mut incoming = Incoming::new(&method);
        let ((), answer) = soon(async { tokio::join!(send, incoming.rest(reader)) }).await;
        answer
    }

    pub(crate) async fn open(&mut self, ask: Ask) -> Exchange<'_> {
        let sending = match ask.body {
            Payload::Open(None) => Sending::Chunks,
            Payload::Open(Some(_)) => Sending::Length,
            _ => Sending::Done,
        };
        let bytes = encode(&ask);
        let mut exchange = Exchange::new(self, &ask.method, sending);
        exchange.write(&bytes).await;
        exchange
    }
}

impl Reader {
    /// Reads more; returns false at the end.
    async fn fill(&mut self) -> bool {
        // A reset is an end too.
        matches!(self.io.read_buf(&mut self.buffer).await, Ok(1..))
    }
}

enum Sending {
    Chunks,
    Length,
    Done,
}

/// A request in progress.
pub struct Exchange<'c> {
    connection: &'c mut Connection,
    sending: Sending,
    incoming: Incoming,
}

impl<'c> Exchange<'c> {
    fn new(connection: &'c mut Connection, method: &str, sending: Sending) -> Self {
        Self { connection, sending, incoming: Incoming::new(method) }
    }

    pub(crate) async fn send(&mut self, piece: Bytes) -> bool {
        match self.sending {
            Sending::Chunks if piece.is_empty() => true,
            Sending::Chunks => self.write(&chunk(&piece)).await,
            Sending::Length => self.write(&piece).await,
            Sending::Done => panic!("the request's body has ended"),
        }
    }

    pub(crate) async fn finish(&mut self, trailers: &[(&str, &str)]) -> bool {
        match std::mem::replace(&mut self.sending, Sending::Done) {
            Sending::Chunks => self.write(last_chunk(trailers).as_bytes()).await,
            _ => true,
        }
    }

    pub(crate) async fn head(&mut self) -> u16 {
        self.incoming.head(&mut self.connection.reader).await
    }

    pub(crate) async fn interim(&mut self) -> Vec<u16> {
        let Self { connection, incoming, .. } = self;
        while incoming.interim.is_empty() && matches!(incoming.framing, Framing::Head) {
            if !incoming.parse_head(&mut connection.reader.buffer) && !connection.reader.fill().await {
                break;
            }
        }
        incoming.interim.clone()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.incoming.headers
    }

    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        self.incoming.piece(&mut self.connection.reader).await
    }

    pub(crate) async fn rest(&mut self) -> Answer {
        self.incoming.rest(&mut self.connection.reader).await
    }

    async fn write(&mut self, bytes: &[u8]) -> bool {
        let writer = &mut self.connection.writer;
        soon(async { writer.write_all(bytes).await.is_ok() && writer.flush().await.is_ok() }).await
    }
}

/// How far the response has been read.
#[derive(Debug)]
enum Framing {
    Head,
    Left(u64),
    ChunkSize,
    ChunkData(u64),
    ToClose,
    Ended(End),
}

struct Incoming {
    method: String,
    framing: Framing,
    status: u16,
    interim: Vec<u16>,
    headers: HeaderMap,
    trailers: HeaderMap,
}

impl Incoming {
    fn new(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            framing: Framing::Head,
            status: 0,
            interim: Vec::new(),
            headers: HeaderMap::new(),
            trailers: HeaderMap::new(),
        }
    }

    async fn head(&mut self, reader: &mut Reader) -> u16 {
        while matches!(self.framing, Framing::Head) {
            if self.parse_head(&mut reader.buffer) {
                continue;
            }
            if !reader.fill().await {
                self.framing = Framing::Ended(End::Cut);
            }
        }
        self.status
    }

    async fn piece(&mut self, reader: &mut Reader) -> Option<Bytes> {
        self.head(reader).await;
        loop {
            if let Some(piece) = self.parse_body(&mut reader.buffer) {
                return Some(piece);
            }
            if matches!(self.framing, Framing::Ended(_)) {
                return None;
            }
            if !reader.fill().await {
                let end = if matches!(self.framing, Framing::ToClose) { End::Close } else { End::Cut };
                self.framing = Framing::Ended(end);
            }
        }
    }

    async fn rest(&mut self, reader: &mut Reader) -> Answer {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(reader).await {
            body.extend_from_slice(&piece);
        }
        let Framing::Ended(end) = &self.framing else { unreachable!("a body without a piece has ended") };
        Answer {
            status: self.status,
            interim: self.interim.clone(),
            headers: self.headers.clone(),
            body,
            trailers: self.trailers.clone(),
            end: end.clone(),
        }
    }

    /// Parses a head, interim or final, and returns whether there was one.
    fn parse_head(&mut self, buffer: &mut BytesMut) -> bool {
        let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return false,
            Err(error) => panic!("the response is not HTTP/1: {error}: {buffer:?}"),
        };
        let status = response.code.expect("it is complete");
        let old = response.version == Some(0);
        let headers = fields_of(response.headers);
        buffer.advance(length);
        if (100..200).contains(&status) && status != 101 {
            self.interim.push(status);
            return true;
        }
        self.status = status;
        self.framing = framing(&self.method, status, old, &headers);
        self.headers = headers;
        true
    }

    fn parse_body(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        loop {
            match &mut self.framing {
                Framing::Head | Framing::Ended(_) => return None,
                Framing::Left(0) => self.framing = Framing::Ended(End::Length),
                Framing::ChunkData(0) => {
                    if buffer.len() < 2 {
                        return None;
                    }
                    assert_eq!(&buffer[..2], b"\r\n", "a chunk is followed by CR LF");
                    buffer.advance(2);
                    self.framing = Framing::ChunkSize;
                }
                Framing::Left(left) | Framing::ChunkData(left) => {
                    let here = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= here as u64;
                    return (here > 0).then(|| buffer.split_to(here).freeze());
                }
                Framing::ToClose => return (!buffer.is_empty()).then(|| buffer.split().freeze()),
                Framing::ChunkSize => {
                    let (start, size) = chunk_size(buffer)?;
                    if size > 0 {
                        buffer.advance(start);
                        self.framing = Framing::ChunkData(size);
                        continue;
                    }
                    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
                    match httparse::parse_headers(&buffer[start..], &mut fields) {
                        Ok(httparse::Status::Complete((length, fields))) => {
                            self.trailers = fields_of(fields);
                            buffer.advance(start + length);
                            self.framing = Framing::Ended(End::LastChunk);
                        }
                        Ok(httparse::Status::Partial) => return None,
                        Err(error) => panic!("the trailers are not HTTP/1: {error}: {buffer:?}"),
                    }
                }
            }
        }
    }
}

/// The framing of a response (RFC 9112, 6.3).
fn framing(method: &str, status: u16, old: bool, headers: &HeaderMap) -> Framing {
    let length = headers.get("content-length");
    let chunked = headers.get("transfer-encoding");
    assert!(length.is_none() || chunked.is_none(), "both lengths: {headers:?}");
    if method == "HEAD" || status == 204 || status == 304 {
        return Framing::Ended(End::Length);
    }
    match (length, chunked) {
        (_, Some(value)) => {
            assert_eq!(value, "chunked");
            assert!(!old, "chunked to HTTP/1.0");
            Framing::ChunkSize
        }
        (Some(value), None) => {
            let length = value.to_str().ok().and_then(|value| value.parse().ok());
            Framing::Left(length.unwrap_or_else(|| panic!("not a length: {value:?}")))
        }
        (None, None) => Framing::ToClose,
    }
}

/// The offset of the chunk's data, and its size.
fn chunk_size(buffer: &[u8]) -> Option<(usize, u64)> {
    match httparse::parse_chunk_size(buffer) {
        Ok(httparse::Status::Complete(parsed)) => Some(parsed),
        Ok(httparse::Status::Partial) => None,
        Err(_) => panic!("not a chunk size: {buffer:?}"),
    }
}

fn fields_of(fields: &[httparse::Header<'_>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).expect("httparse has checked it");
        headers.append(name, HeaderValue::from_bytes(field.value).expect("httparse has checked it"));
    }
    headers
}

/// Encodes head and body of a request.
fn encode(ask: &Ask) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", ask.method, ask.path, ask.authority);
    for (name, value) in &ask.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &match &ask.body {
        Payload::None => String::new(),
        Payload::Whole(body) => format!("content-length: {}\r\n", body.len()),
        Payload::Open(Some(length)) => format!("content-length: {length}\r\n"),
        Payload::Unsized(..) | Payload::Open(None) => "transfer-encoding: chunked\r\n".to_owned(),
    };
    if let Payload::Unsized(_, trailers) = &ask.body
        && !trailers.is_empty()
    {
        let names: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
        head += &format!("trailer: {}\r\n", names.join(", "));
    }
    let mut bytes = (head + "\r\n").into_bytes();
    match &ask.body {
        Payload::None | Payload::Open(_) => {}
        Payload::Whole(body) => bytes.extend_from_slice(body),
        Payload::Unsized(body, trailers) => {
            for piece in body.chunks(16 << 10) {
                bytes.extend_from_slice(&chunk(piece));
            }
            let trailers: Vec<_> = trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            bytes.extend_from_slice(last_chunk(&trailers).as_bytes());
        }
    }
    bytes
}

fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn last_chunk(trailers: &[(&str, &str)]) -> String {
    let trailers: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("0\r\n{trailers}\r\n")
}
