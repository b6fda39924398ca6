//! The native server that the benchmarks compare with: hyper, and the answers of bench/guests/workload.
//!
//! HTTP/1.1 and HTTP/2 (prior knowledge) have a port each. It has no limits, no log, no metrics and no router beyond a
//! match on the path: it is the ceiling, not a product. The allocator is the same as Roadrunner's.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Parser;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use roadrunner_bench::answers;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Interval, MissedTickBehavior, interval};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

#[derive(Debug, Parser)]
struct Options {
    /// Where to speak HTTP/1.1
    #[arg(long)]
    h1: SocketAddr,
    /// Where to speak HTTP/2 without TLS
    #[arg(long)]
    h2: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let http1 = TcpListener::bind(options.h1).await?;
    let http2 = TcpListener::bind(options.h2).await?;
    tokio::try_join!(accept(http1, serve_http1), accept(http2, serve_http2))?;
    Ok(())
}

async fn accept<F>(listener: TcpListener, serve: fn(TcpStream) -> F) -> Result<()>
where
    F: Future<Output = hyper::Result<()>> + Send + 'static,
{
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let connection = serve(socket);
        // A loader that stops resets its connections.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn serve_http1(socket: TcpStream) -> hyper::Result<()> {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new());
    builder.serve_connection(TokioIo::new(socket), service_fn(answer)).await
}

async fn serve_http2(socket: TcpStream) -> hyper::Result<()> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // As Roadrunner's defaults.
    builder.timer(TokioTimer::new()).initial_stream_window_size(1 << 20).initial_connection_window_size(1 << 20);
    builder.serve_connection(TokioIo::new(socket), service_fn(answer)).await
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, hyper::Error> {
    Ok(match request.uri().path() {
        "/hello" => full(TEXT, Bytes::from_static(answers::HELLO.as_bytes())),
        "/echo" => {
            let body = request.into_body().collect().await?.to_bytes();
            full(HeaderValue::from_static("application/octet-stream"), body)
        }
        "/bytes" => full(HeaderValue::from_static("application/octet-stream"), Bytes::from_static(&answers::BYTES)),
        "/json" => match serde_json::to_vec(&answers::order()) {
            Ok(text) => full(HeaderValue::from_static("application/json"), text.into()),
            Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
        },
        "/events" => events(),
        "/idle" => Response::new(Answer::Idle),
        "/collect" => full(TEXT, format!("{}\n", request.into_body().collect().await?.to_bytes().len()).into()),
        "/count" => full(TEXT, format!("{}\n", count(request.into_body()).await?).into()),
        "/download" => download(),
        _ => status(StatusCode::NOT_FOUND),
    })
}

async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        total += frame?.data_ref().map_or(0, |piece| piece.len() as u64);
    }
    Ok(total)
}

fn full(media: HeaderValue, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer::Full(Some(body)));
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

fn status(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::Full(None));
    *response.status_mut() = status;
    response
}

fn events() -> Response<Answer> {
    let mut ticks = interval(Duration::from_millis(answers::EVENT_PERIOD_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let event = Bytes::from(format!("data: {}\n\n", answers::EVENT));
    let mut response = Response::new(Answer::Events { ticks, event });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn download() -> Response<Answer> {
    let mut response = Response::new(Answer::Download { left: answers::DOWNLOAD });
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(answers::DOWNLOAD));
    response
}

/// The bodies of the answers.
enum Answer {
    Full(Option<Bytes>),
    Events { ticks: Interval, event: Bytes },
    Idle,
    Download { left: u64 },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Full(body) => body.take(),
            Self::Events { ticks, event } => {
                ready!(ticks.poll_tick(context));
                Some(event.clone())
            }
            Self::Idle => return Poll::Pending,
            Self::Download { left: 0 } => None,
            Self::Download { left } => {
                *left -= answers::BYTES.len() as u64;
                Some(Bytes::from_static(&answers::BYTES))
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Events { .. } | Self::Idle => SizeHint::default(),
            Self::Download { left } => SizeHint::with_exact(*left),
        }
    }
}
