//! The native server that the benchmarks compare with: hyper, host/h3, and the answers of the scenarios.
//!
//! It has no limits, no log, no metrics and no router beyond a map of paths: it is the ceiling, not a product. Files
//! come from memory.

mod body;
mod websocket;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, RANGE};
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use roadrunner_h3::{ConnectionInfo, DrainTrigger, Pool, PoolKeys, RequestBody, Service};
use roadrunner_values::TransportSettings;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::scenarios::{self, Does, SCENARIOS};
use crate::tls;
pub use body::Answer;

/// The compression level of Roadrunner's middleware.
const LEVEL: Compression = Compression::new(6);

/// A server. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Native(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fixed: HashMap<String, Fixed>,
    started: Instant,
    delay: fn(Duration) -> Duration,
}

/// An answer that is always the same.
#[derive(Clone, Debug)]
struct Fixed {
    media: HeaderValue,
    body: Bytes,
}

impl Native {
    /// The server of the scenarios.
    #[must_use]
    pub fn new() -> Self {
        Self::with_delay(|_| Duration::ZERO)
    }

    /// The same, with answers that wait: for a time that depends on the time since now.
    #[must_use]
    pub fn with_delay(delay: fn(Duration) -> Duration) -> Self {
        let mut fixed = HashMap::new();
        let plain = SCENARIOS.iter().filter(|scenario| {
            (scenario.body)().is_empty()
                && scenario.status == 200
                && matches!(scenario.does, Does::Ask | Does::Batch(_) | Does::Connect)
        });
        for scenario in plain {
            let body = Bytes::from((scenario.answer)());
            for path in scenario.paths() {
                fixed.insert(path, Fixed { media: HeaderValue::from_static(scenario.media), body: body.clone() });
            }
        }
        // These are made for each request.
        for path in ["/gzip", "/streaming"] {
            fixed.remove(path);
        }
        Self(Arc::new(Inner { fixed, started: Instant::now(), delay }))
    }

    /// Serves HTTP/1.1.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve_http1(self, listener: TcpListener) -> Result<()> {
        self.accept(listener, |native, socket| async move {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).pipeline_flush(true);
            let connection = builder.serve_connection(TokioIo::new(socket), native.service());
            // A loader that stops resets its connections.
            let _ = connection.with_upgrades().await;
        })
        .await
    }

    /// Serves HTTP/2 over TLS, with the certificate in this folder.
    ///
    /// # Errors
    /// There is no certificate, or the listener fails.
    pub async fn serve_http2(self, listener: TcpListener, certificate: &Path) -> Result<()> {
        let acceptor = TlsAcceptor::from(Arc::new(tls::server(certificate, "h2")?));
        self.accept(listener, move |native, socket| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(socket) = acceptor.accept(socket).await else { return };
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // As Roadrunner's defaults.
                builder.timer(TokioTimer::new()).initial_stream_window_size(1 << 20);
                builder.initial_connection_window_size(1 << 20).max_concurrent_streams(200);
                let _ = builder.serve_connection(TokioIo::new(socket), native.service()).await;
            }
        })
        .await
    }

    /// Serves HTTP/3, with the certificate in this folder.
    ///
    /// # Errors
    /// There is no certificate, or the address is taken.
    pub async fn serve_http3(self, address: SocketAddr, certificate: &Path) -> Result<()> {
        let tls = tls::server(certificate, "h3")?;
        let config = TransportSettings::default();
        let pool = Pool::bind(address, roadrunner_h3::quinn(&config, tls)?, &config.http3, &PoolKeys::random()?)?;
        let (_trigger, signal) = DrainTrigger::new();
        roadrunner_h3::serve(pool, Arc::new(self), Arc::new(config), signal).await;
        Ok(())
    }

    async fn accept<F>(self, listener: TcpListener, serve: impl Fn(Self, TcpStream) -> F) -> Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let (socket, _) = listener.accept().await.context("the listener failed")?;
            socket.set_nodelay(true)?;
            tokio::spawn(serve(self.clone(), socket));
        }
    }

    fn service(
        self,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Response<Answer>,
        Error = hyper::Error,
        Future: Send + 'static,
    > {
        service_fn(move |request| {
            let native = self.clone();
            async move { native.incoming(request).await }
        })
    }

    async fn incoming(&self, mut request: Request<Incoming>) -> Result<Response<Answer>, hyper::Error> {
        if request.uri().path() == "/ws" && request.version() == Version::HTTP_11 {
            return Ok(websocket::accept(&mut request));
        }
        self.answer(request).await
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Response<Answer>, B::Error>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let delay = (self.0.delay)(self.0.started.elapsed());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some(fixed) = self.0.fixed.get(request.uri().path()) {
            return Ok(match request.headers().get(RANGE) {
                Some(range) => fixed.range(range),
                None => full(fixed.media.clone(), fixed.body.clone()),
            });
        }
        let text = HeaderValue::from_static("text/plain");
        Ok(match request.uri().path() {
            "/echo" => {
                let body = request.into_body().collect().await?.to_bytes();
                full(HeaderValue::from_static("application/octet-stream"), body)
            }
            "/form" => {
                let body = request.into_body().collect().await?.to_bytes();
                full(text, form_urlencoded::parse(&body).count().to_string().into())
            }
            "/drain" => {
                count(request.into_body()).await?;
                full(text, Bytes::from_static(b"ok"))
            }
            "/collect" => full(text, format!("{}\n", request.into_body().collect().await?.to_bytes().len()).into()),
            "/count" => full(text, format!("{}\n", count(request.into_body()).await?).into()),
            "/gzip" if request.headers().contains_key(ACCEPT_ENCODING) => compressed(),
            "/streaming" => Response::new(Answer::pieces(4, scenarios::PIECE)),
            "/download" => {
                let pieces = scenarios::DOWNLOAD / scenarios::DOWNLOAD_PIECE as u64;
                let mut response = Response::new(Answer::pieces(pieces, scenarios::DOWNLOAD_PIECE));
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(scenarios::DOWNLOAD));
                response
            }
            "/events" => {
                let mut response = Response::new(Answer::events());
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                response
            }
            "/idle" => Response::new(Answer::Idle),
            _ => status(StatusCode::NOT_FOUND),
        })
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Native {
    type Body = Answer;

    async fn call(&self, request: Request<RequestBody>, _: Arc<ConnectionInfo>) -> Response<Answer> {
        let mut response = self.answer(request).await.unwrap_or_else(|_| status(StatusCode::BAD_REQUEST));
        let length = http_body::Body::size_hint(response.body()).exact();
        let headers = response.headers_mut();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        // Of the length that a date has; hyper adds one to its answers.
        headers.insert(DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
        response
    }
}

impl Fixed {
    /// One range, `bytes=FIRST-LAST`.
    fn range(&self, range: &HeaderValue) -> Response<Answer> {
        let parse = |range: &HeaderValue| {
            let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last && last < self.body.len()).then(|| self.body.slice(first..=last))
        };
        match parse(range) {
            Some(part) => {
                let mut response = full(self.media.clone(), part);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                response
            }
            None => status(StatusCode::RANGE_NOT_SATISFIABLE),
        }
    }
}

async fn count<B: http_body::Body<Data = Bytes> + Unpin>(mut body: B) -> Result<u64, B::Error> {
    let mut total = 0;
    while let Some(frame) = poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await {
        total += frame?.data_ref().map_or(0, |piece| piece.len() as u64);
    }
    Ok(total)
}

fn full(media: HeaderValue, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer::full(body));
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

fn status(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn compressed() -> Response<Answer> {
    let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
    let body = encoder.write_all(&scenarios::RECORDS).and_then(|()| encoder.finish());
    let mut response = full(HeaderValue::from_static("application/json"), body.expect("a vector takes it").into());
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}
