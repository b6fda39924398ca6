//! Runs handlers on the machine's own target, in a plain `cargo test`: a request made of values goes in, the response
//! comes out. No component is built and no server is started.
//!
//! ```
//! use roadrunner_guest::{IntoResponse, Request};
//! use roadrunner_guest::testing::TestRequest;
//!
//! fn hello(request: Request) -> impl IntoResponse {
//!     format!("hello, {}\n", request.param("name").unwrap_or("world".to_owned()))
//! }
//!
//! let response = TestRequest::get("/hello/you").param("name", "you").send(hello);
//! assert_eq!((response.status(), response.text()), (200, "hello, you\n".to_owned()));
//! ```
//!
//! Streams are written to their end. Sessions are held for the test, which sends them events and messages:
//! [`TestResponse::event_loop`] and [`TestResponse::websocket`]. [`TestHost`], of which each thread has one, answers
//! the handler's calls to the host.
//!
//! Not covered: routing (a test names the parameters itself), limits, time, WebTransport, hibernation.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Mutex;

use crate::fields::Fields;
use crate::log::Level;
use crate::native::sql as native;
use crate::native::types as wit;
use crate::native::{Host, with_host};
use crate::request::ClientCertificate;
use crate::response::{
    Event, IntoResponse, Next, Range, Response, Sender, Session, Shape, WebSocketHandler, WebTransportHandler, Writer,
    WsMessage,
};
use crate::{Error, Request, Result, Upgrade, sql};

/// How many bytes of a stream a client reads before it leaves, unless the test sets it.
const READS: usize = 16 << 20;

/// A request under construction.
pub struct TestRequest {
    request: wit::Request,
    pieces: VecDeque<Vec<u8>>,
    trailers: Vec<(String, Vec<u8>)>,
    end: Option<wit::Error>,
    has_body: bool,
    reads: usize,
}

impl TestRequest {
    /// Makes a request with this method for a path, with or without a query: HTTP/1.1 to `http://localhost`, from
    /// `127.0.0.1:50000`.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let request = wit::Request {
            method: method.to_owned(),
            scheme: "http".to_owned(),
            authority: "localhost".to_owned(),
            path: path.to_owned(),
            query,
            peer: "127.0.0.1:50000".to_owned(),
            ..wit::Request::default()
        };
        Self { request, pieces: VecDeque::new(), trailers: Vec::new(), end: None, has_body: false, reads: READS }
    }

    /// Makes a GET request.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Makes a POST request with a body.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).piece(body)
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.request.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Adds a piece of the body, which one read returns as a whole unless it asks for less.
    #[must_use]
    pub fn piece(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.has_body = true;
        self.pieces.push_back(bytes.into());
        self
    }

    /// Adds a trailer field after the body.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.has_body = true;
        self.trailers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Makes the body end with an error: reading beyond its pieces fails.
    #[must_use]
    pub fn cut_short(mut self, error: Error) -> Self {
        self.has_body = true;
        self.end = Some(error.into());
        self
    }

    /// Sets the text that the route's pattern captured under a name.
    #[must_use]
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.request.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the name of the route.
    #[must_use]
    pub fn route(mut self, name: &str) -> Self {
        self.request.route = Some(name.to_owned());
        self
    }

    /// Sets the client's address with its port.
    #[must_use]
    pub fn peer(mut self, address: &str) -> Self {
        self.request.peer = address.to_owned();
        self
    }

    /// Sets the scheme, `http` or `https`, and the host.
    #[must_use]
    pub fn origin(mut self, scheme: &str, authority: &str) -> Self {
        self.request.scheme = scheme.to_owned();
        self.request.authority = authority.to_owned();
        self
    }

    /// Sets the client's TLS certificate.
    #[must_use]
    pub fn client_certificate(mut self, certificate: ClientCertificate) -> Self {
        let ClientCertificate { subject, issuer, serial, names, sha256 } = certificate;
        self.request.certificate = Some(wit::ClientCertificate { subject, issuer, serial, names, sha256 });
        self
    }

    /// Makes the request a handshake.
    #[must_use]
    pub fn upgrade(mut self, upgrade: Upgrade) -> Self {
        self.request.upgrade = Some(match upgrade {
            Upgrade::WebSocket(subprotocols) => wit::Upgrade::Websocket(subprotocols),
            Upgrade::WebTransport => wit::Upgrade::Webtransport,
        });
        self
    }

    /// Sets how many bytes of a stream or an event loop the client reads before it leaves; a write beyond them fails
    /// with [`Error::Closed`].
    ///
    /// # Defaults
    /// 16 MiB
    #[must_use]
    pub fn reads(mut self, bytes: usize) -> Self {
        self.reads = bytes;
        self
    }

    /// The request, for functions that take one.
    pub fn build(self) -> Request {
        let body = wit::Body { pieces: Mutex::new(self.pieces), end: self.end, trailers: self.trailers };
        let body = Mutex::new(self.has_body.then_some(body));
        Request::from(wit::Request { body, ..self.request })
    }

    /// Calls a handler, and runs a stream's closure to its end. The `log` crate's lines go to [`TestHost`].
    pub fn send<R: IntoResponse>(self, handler: impl FnOnce(Request) -> R) -> TestResponse {
        crate::log::bridge();
        let reads = self.reads;
        TestResponse::of(handler(self.build()).into_response(), reads)
    }
}

impl std::fmt::Debug for TestRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wit::Request { method, path, query, .. } = &self.request;
        f.debug_struct("TestRequest").field("method", method).field("path", path).field("query", query).finish()
    }
}

/// The answer of a handler.
#[derive(Debug)]
pub struct TestResponse {
    status: u16,
    headers: Fields,
    trailers: Fields,
    writer: wit::BodyWriter,
    error: Option<Error>,
    rest: Rest,
}

/// The rest of a response besides head and body.
enum Rest {
    File { directory: String, path: String, range: Option<Range> },
    Loop(Box<dyn Session>),
    None,
    WebSocket { handler: Box<dyn WebSocketHandler>, subprotocol: Option<String> },
    WebTransport(Box<dyn WebTransportHandler>),
}

impl TestResponse {
    fn of(response: Response, reads: usize) -> Self {
        let Response { status, headers, shape } = response;
        let writer = wit::BodyWriter { chunks: RefCell::default(), left: Cell::new(reads) };
        let mut made = Self { status, headers, trailers: Fields::new(), writer, error: None, rest: Rest::None };
        match shape {
            Shape::Buffered { body, trailers } => {
                made.writer.chunks.borrow_mut().push(body);
                made.trailers = trailers;
            }
            Shape::EventLoop { session, .. } => made.rest = Rest::Loop(session),
            Shape::SendFile { directory, path, range } => made.rest = Rest::File { directory, path, range },
            Shape::Stream(write) => match write(&Writer::new(&made.writer)) {
                Ok(trailers) => made.trailers = trailers,
                Err(error) => made.error = Some(error),
            },
            Shape::WebSocket { handler, subprotocol } => made.rest = Rest::WebSocket { handler, subprotocol },
            Shape::WebTransport(handler) => made.rest = Rest::WebTransport(handler),
        }
        made
    }

    /// The status; 101 for a WebSocket.
    pub fn status(&self) -> u16 {
        match self.rest {
            Rest::WebSocket { .. } => 101,
            _ => self.status,
        }
    }

    /// The first value of a header as text; bytes that are not UTF-8 become U+FFFD.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Every header field. The host adds its own to them.
    pub fn headers(&self) -> &Fields {
        &self.headers
    }

    /// The body of a buffered response or a stream, as far as the client has read it.
    pub fn body(&self) -> Vec<u8> {
        self.writer.chunks.borrow().concat()
    }

    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// The body in the chunks in which a stream wrote it.
    pub fn chunks(&self) -> Vec<Vec<u8>> {
        self.writer.chunks.borrow().clone()
    }

    /// The trailer fields.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// Why a stream was aborted.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The directory and the path of a sendfile response.
    pub fn file(&self) -> Option<(&str, &str)> {
        match &self.rest {
            Rest::File { directory, path, .. } => Some((directory, path)),
            _ => None,
        }
    }

    /// The part of the file that the handler chose: the first byte, and the number of bytes; `None` for the rest of the
    /// file.
    pub fn file_range(&self) -> Option<(u64, Option<u64>)> {
        match &self.rest {
            Rest::File { range: Some(Range { start, length }), .. } => Some((*start, *length)),
            _ => None,
        }
    }

    /// The session of an event loop.
    ///
    /// # Panics
    /// When the response has another shape.
    pub fn event_loop(self) -> TestLoop {
        match self.rest {
            Rest::Loop(session) => TestLoop { session, writer: self.writer },
            _ => panic!("the response is no event loop: {self:?}"),
        }
    }

    /// The session of a WebTransport handshake, to call those of its callbacks that do not use the session.
    ///
    /// # Panics
    /// When the response has another shape.
    pub fn webtransport(self) -> Box<dyn WebTransportHandler> {
        match self.rest {
            Rest::WebTransport(handler) => handler,
            _ => panic!("the response is no WebTransport session: {self:?}"),
        }
    }

    /// The session of a WebSocket, before its `on_open` is called.
    ///
    /// # Panics
    /// When the response has another shape.
    pub fn websocket(self) -> TestWebSocket {
        match self.rest {
            Rest::WebSocket { handler, subprotocol } => {
                TestWebSocket { handler, subprotocol, sender: wit::WsSender::default() }
            }
            _ => panic!("the response is no WebSocket: {self:?}"),
        }
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File { .. } => "sendfile",
            Self::Loop(_) => "loop",
            Self::None => "buffered or stream",
            Self::WebSocket { .. } => "websocket",
            Self::WebTransport(_) => "webtransport",
        })
    }
}

/// A held event loop.
pub struct TestLoop {
    session: Box<dyn Session>,
    writer: wit::BodyWriter,
}

impl TestLoop {
    /// Wakes the session.
    ///
    /// # Errors
    /// Those of the session.
    pub fn event(&mut self, event: Event) -> Result<Next> {
        self.session.on_event(event, &Writer::new(&self.writer))
    }

    /// The text written since the last call.
    pub fn written(&mut self) -> String {
        String::from_utf8_lossy(&self.writer.chunks.take().concat()).into_owned()
    }
}

impl std::fmt::Debug for TestLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestLoop").finish_non_exhaustive()
    }
}

/// An accepted WebSocket.
pub struct TestWebSocket {
    handler: Box<dyn WebSocketHandler>,
    subprotocol: Option<String>,
    sender: wit::WsSender,
}

impl TestWebSocket {
    /// The chosen subprotocol.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Completes the handshake.
    ///
    /// # Errors
    /// Those of the session.
    pub fn open(&mut self) -> Result<Next> {
        self.handler.on_open(&Sender::new(&self.sender))
    }

    /// Sends a message to the session.
    ///
    /// # Errors
    /// Those of the session.
    pub fn message(&mut self, message: impl Into<WsMessage>) -> Result<Next> {
        self.handler.on_message(message.into(), &Sender::new(&self.sender))
    }

    /// Wakes the session.
    ///
    /// # Errors
    /// Those of the session.
    pub fn event(&mut self, event: Event) -> Result<Next> {
        self.handler.on_event(event, &Sender::new(&self.sender))
    }

    /// The messages sent since the last call.
    pub fn sent(&mut self) -> Vec<WsMessage> {
        self.sender.sent.take().into_iter().map(WsMessage::from).collect()
    }

    /// The code and the reason with which the session was closed.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.sender.closed.borrow().clone()
    }
}

impl std::fmt::Debug for TestWebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestWebSocket").finish_non_exhaustive()
    }
}

/// The host of this thread's handlers: its answers, and their output.
#[derive(Debug)]
pub struct TestHost(());

impl TestHost {
    /// Makes an empty host for this thread, from here on.
    pub fn fresh() -> Self {
        with_host(|host| *host = Host::default());
        Self(())
    }

    /// Sets a value of [`crate::config`].
    #[must_use]
    pub fn config(self, key: &str, value: &str) -> Self {
        with_host(|host| host.config.insert(key.to_owned(), value.to_owned()));
        self
    }

    /// Grants a secret of [`crate::secrets`].
    #[must_use]
    pub fn secret(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        with_host(|host| host.secrets.insert(name.to_owned(), value.into()));
        self
    }

    /// Grants a database of [`crate::sql`], whose statements are answered by `answer`. It hears of transactions by the
    /// statements `begin`, `commit` and `rollback`. The count of `execute` is that of the answer's rows.
    #[must_use]
    pub fn database(
        self,
        name: &str,
        answer: impl Fn(&str, &[sql::Value]) -> sql::Result<sql::Rows> + 'static,
    ) -> Self {
        #[expect(clippy::result_large_err, reason = "as in the bindings")]
        let answer = move |statement: &str, parameters: &[native::Value]| {
            let parameters: Vec<_> = parameters.iter().cloned().map(sql::Value::from).collect();
            match answer(statement, &parameters) {
                Ok(rows) => Ok(native::Rows {
                    columns: rows
                        .columns
                        .into_iter()
                        .map(|sql::Column { name, type_name }| native::Column { name, type_name })
                        .collect(),
                    rows: rows.rows.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect(),
                }),
                Err(sql::Error::Host(error)) => Err(native::Failure::Host(error.into())),
                Err(sql::Error::Fault(fault)) => {
                    let sql::Fault { code, message, detail, hint, constraint, position } = *fault;
                    Err(native::Failure::Fault(native::Fault { code, message, detail, hint, constraint, position }))
                }
            }
        };
        with_host(|host| host.databases.insert(name.to_owned(), native::Answers(std::rc::Rc::new(answer))));
        self
    }

    /// Grants an empty store of [`crate::store`]. Entries do not expire in it.
    #[must_use]
    pub fn store(self, name: &str) -> Self {
        with_host(|host| host.stores.insert(name.to_owned(), Default::default()));
        self
    }

    /// Grants an origin, `https://api.example.com`, to [`crate::client`], with the answer to each request.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn origin(
        self,
        origin: &str,
        answer: impl Fn(http::Request<Vec<u8>>) -> http::Response<Vec<u8>> + 'static,
    ) -> Self {
        let answer = crate::native::Origin(std::rc::Rc::new(answer));
        with_host(|host| host.origins.insert(origin.to_owned(), answer));
        self
    }

    /// Names a route with its pattern, `/orders/:id`, for [`crate::routes::url_for`].
    #[must_use]
    pub fn route(self, name: &str, pattern: &str) -> Self {
        with_host(|host| host.routes.insert(name.to_owned(), pattern.to_owned()));
        self
    }

    /// The lines of the log since the last call.
    pub fn log(&self) -> Vec<(Level, String)> {
        with_host(|host| std::mem::take(&mut host.lines))
    }

    /// The messages published since the last call: topics with payloads.
    pub fn published(&self) -> Vec<(String, Vec<u8>)> {
        with_host(|host| std::mem::take(&mut host.published))
    }

    /// The subscribed topics.
    pub fn subscriptions(&self) -> Vec<String> {
        with_host(|host| host.subscriptions.clone())
    }

    /// The active timers: id, milliseconds, and whether it repeats.
    pub fn timers(&self) -> Vec<(u64, u64, bool)> {
        with_host(|host| host.timers.clone())
    }
}
