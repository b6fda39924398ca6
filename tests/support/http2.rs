//! HTTP/2 with the crate h2, which distinguishes resets and their codes from regular ends.

use std::future::poll_fn;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::task::JoinHandle;

use crate::client::{Answer, Ask, End, Io, Payload};
use crate::soon;

/// The most bytes that the server may send before the test reads, per stream.
const WINDOW: u32 = 1 << 20;

/// A connection. Dropping it closes the socket.
pub struct Connection {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
    scheme: &'static str,
}

impl Connection {
    pub(crate) async fn start(io: Io) -> Self {
        Self::start_with_window(io, WINDOW).await
    }

    /// Starts a connection with windows of this size, for the streams and for the connection.
    pub async fn start_with_window(io: Io, window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        builder.max_header_list_size(1 << 20);
        let (sender, connection) = soon(builder.handshake(io)).await.expect("an HTTP/2 handshake");
        Self { sender, driver: tokio::spawn(connection), scheme: "http" }
    }

    /// Sets `https` as its scheme.
    #[must_use]
    pub fn secure(mut self) -> Self {
        self.scheme = "https";
        self
    }

    /// Waits until the server has ended the connection; `None`, or the error that it gave.
    pub async fn ended(&mut self) -> Option<h2::Error> {
        soon(&mut self.driver).await.expect("the driver does not panic").err()
    }

    pub(crate) async fn fetch(&mut self, ask: Ask) -> Answer {
        let mut exchange = self.begin(&ask).await;
        let Some(mut outgoing) = exchange.outgoing.take() else { return soon(exchange.rest()).await };
        let (body, trailers) = match ask.body {
            Payload::Whole(body) => (body, Vec::new()),
            Payload::Unsized(body, trailers) => (body, trailers),
            Payload::None | Payload::Open(_) => panic!("this request's body is the test's to send"),
        };
        let send = async {
            // The server may answer before it has read everything.
            let _ = send(&mut outgoing, body).await && finish(&mut outgoing, &trailers);
        };
        soon(async { tokio::join!(send, exchange.rest()) }).await.1
    }

    pub(crate) async fn open(&mut self, ask: Ask) -> Exchange {
        let mut exchange = self.begin(&ask).await;
        match ask.body {
            Payload::Whole(body) => {
                exchange.send(body).await;
                exchange.finish(&[]);
            }
            Payload::Unsized(body, trailers) => {
                exchange.send(body).await;
                let trailers: Vec<_> = trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                exchange.finish(&trailers);
            }
            Payload::None | Payload::Open(_) => {}
        }
        exchange
    }

    /// Begins a GET alongside other requests.
    pub async fn begin_get(&mut self, path: &str) -> Exchange {
        self.begin(&Ask::get(path)).await
    }

    /// Does the same for another host.
    pub async fn begin_get_of(&mut self, host: &str, path: &str) -> Exchange {
        self.begin(&Ask::get(path).host(host)).await
    }

    async fn begin(&mut self, ask: &Ask) -> Exchange {
        let mut request = Request::builder()
            .method(ask.method.as_str())
            .uri(format!("{}://{}{}", self.scheme, ask.authority, ask.path))
            .version(http::Version::HTTP_2);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let length = match &ask.body {
            Payload::Whole(body) => Some(body.len() as u64),
            Payload::Open(length) => *length,
            Payload::None | Payload::Unsized(..) => None,
        };
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let ends = matches!(ask.body, Payload::None);
        let mut sender = soon(self.sender.clone().ready()).await.expect("the connection is open");
        let request = request.body(()).expect("a request");
        let (response, outgoing) = sender.send_request(request, ends).expect("the connection is open");
        Exchange {
            outgoing: (!ends).then_some(outgoing),
            state: State::Waiting(Box::new(response)),
            status: 0,
            headers: HeaderMap::new(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A stream.
pub struct Exchange {
    outgoing: Option<SendStream<Bytes>>,
    state: State,
    status: u16,
    headers: HeaderMap,
}

enum State {
    Waiting(Box<ResponseFuture>),
    Body(RecvStream),
    Ended(End, HeaderMap),
}

impl Exchange {
    pub(crate) async fn send(&mut self, piece: Bytes) -> bool {
        let outgoing = self.outgoing.as_mut().expect("the request's body has not ended");
        soon(send(outgoing, piece)).await
    }

    pub(crate) fn finish(&mut self, trailers: &[(&str, &str)]) -> bool {
        let mut outgoing = self.outgoing.take().expect("the request's body has not ended");
        let trailers: Vec<_> = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        finish(&mut outgoing, &trailers)
    }

    /// Resets the stream with this code, or with CANCEL if the request's body has ended.
    pub fn reset(mut self, reason: Reason) {
        // Without a sending half, dropping the receiving half resets the stream with CANCEL.
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.send_reset(reason);
        }
    }

    pub(crate) async fn head(&mut self) -> u16 {
        if let State::Waiting(response) = &mut self.state {
            match response.await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    self.status = head.status.as_u16();
                    self.headers = head.headers;
                    self.state = State::Body(body);
                }
                Err(error) => self.state = State::Ended(end(&error), HeaderMap::new()),
            }
        }
        self.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        self.head().await;
        let State::Body(body) = &mut self.state else { return None };
        loop {
            match body.data().await {
                Some(Ok(piece)) => {
                    let _ = body.flow_control().release_capacity(piece.len());
                    if !piece.is_empty() {
                        return Some(piece);
                    }
                }
                Some(Err(error)) => {
                    self.state = State::Ended(end(&error), HeaderMap::new());
                    return None;
                }
                None => {
                    self.state = match body.trailers().await {
                        Ok(trailers) => State::Ended(End::EndStream, trailers.unwrap_or_default()),
                        Err(error) => State::Ended(end(&error), HeaderMap::new()),
                    };
                    return None;
                }
            }
        }
    }

    pub(crate) async fn rest(&mut self) -> Answer {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            body.extend_from_slice(&piece);
        }
        let State::Ended(end, trailers) = &self.state else { unreachable!("a body without a piece has ended") };
        Answer {
            status: self.status,
            interim: Vec::new(),
            headers: self.headers.clone(),
            body,
            trailers: trailers.clone(),
            end: end.clone(),
        }
    }
}

fn end(error: &h2::Error) -> End {
    match error.reason() {
        Some(reason) if error.is_reset() => End::Reset(reason),
        _ => End::Cut,
    }
}

async fn send(outgoing: &mut SendStream<Bytes>, mut piece: Bytes) -> bool {
    while !piece.is_empty() {
        outgoing.reserve_capacity(piece.len());
        match poll_fn(|context| outgoing.poll_capacity(context)).await {
            Some(Ok(capacity)) => {
                let now = piece.split_to(capacity.min(piece.len()));
                if outgoing.send_data(now, false).is_err() {
                    return false;
                }
            }
            Some(Err(_)) | None => return false,
        }
    }
    true
}

fn finish(outgoing: &mut SendStream<Bytes>, trailers: &[(String, String)]) -> bool {
    if trailers.is_empty() {
        return outgoing.send_data(Bytes::new(), true).is_ok();
    }
    let fields = trailers.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        (name, HeaderValue::from_str(value).expect("a field value"))
    });
    outgoing.send_trailers(fields.collect()).is_ok()
}
