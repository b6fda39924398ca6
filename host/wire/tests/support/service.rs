//! The service of all tests: a path for each behaviour.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use roadrunner_wire::{Abort, BodyError, Connection, Exchange, Protocol, ResponseBody, Service};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::{SLOW, TICK, Told};

/// The service, which reports to the test.
pub(super) struct App {
    pub(super) tell: mpsc::UnboundedSender<Told>,
    pub(super) given: Arc<AtomicUsize>,
}

impl Service for App {
    async fn call(&self, mut exchange: Exchange) -> Response<ResponseBody> {
        let path = exchange.request.uri().path().to_owned();
        let _ = self.tell.send(Told::Began(path.clone()));
        let probe = Probe { path: path.clone(), tell: self.tell.clone(), connection: Arc::clone(&exchange.connection) };
        match path.as_str() {
            "/hello" => {
                probe.done();
                Response::new(ResponseBody::full("hello, world\n"))
            }
            "/whoami" => {
                probe.done();
                let connection = &exchange.connection;
                Response::new(ResponseBody::full(format!(
                    "{} {} {} {:?} {} {} {}",
                    exchange.scheme(),
                    exchange.authority(),
                    connection.protocol,
                    exchange.request.version(),
                    connection.listener,
                    connection.tls.as_ref().map_or("plain", |tls| tls.version),
                    exchange.request.uri(),
                )))
            }
            "/echo" => {
                Response::new(ResponseBody::new(Echo { body: exchange.request.into_body(), probe: Some(probe) }))
            }
            "/count" => {
                let result = exchange.request.into_body().collect().await;
                let tell = self.tell.clone();
                probe.done();
                match result {
                    Ok(body) => {
                        let trailers = body.trailers().map_or(0, HeaderMap::len);
                        Response::new(ResponseBody::full(format!("{} {trailers}", body.to_bytes().len())))
                    }
                    Err(error) => {
                        let timed_out = matches!(error, BodyError::TimedOut(_));
                        let _ = tell.send(Told::BodyError(path, error, Instant::now()));
                        let mut response = Response::new(ResponseBody::full("body\n"));
                        *response.status_mut() =
                            if timed_out { StatusCode::REQUEST_TIMEOUT } else { StatusCode::BAD_REQUEST };
                        response
                    }
                }
            }
            // Holds the body without reading it.
            "/hang" => {
                let _held = (&mut exchange, &probe);
                pending().await
            }
            // Does not read the body, and answers when it has had time to come.
            "/slow" => {
                tokio::time::sleep(SLOW).await;
                probe.done();
                Response::new(ResponseBody::full("hello, world\n"))
            }
            // Sends a head, then a piece, and only then lets go of the request's body.
            "/late" => {
                probe.done();
                Response::new(ResponseBody::new(Late {
                    wait: Some(Box::pin(tokio::time::sleep(SLOW))),
                    _held: exchange,
                }))
            }
            // One piece after the other.
            "/ticks" => Response::new(ResponseBody::new(Ticks { wait: tokio::time::interval(TICK), _probe: probe })),
            "/session" => {
                let mut response =
                    Response::new(ResponseBody::new(Idle { sent: false, _probe: probe, _exchange: exchange }));
                response.extensions_mut().insert(roadrunner_wire::Held);
                response
            }
            // Sends a head and one piece, and then nothing.
            "/idle" => Response::new(ResponseBody::new(Idle { sent: false, _probe: probe, _exchange: exchange })),
            "/flood" => Response::new(ResponseBody::new(Flood { given: Arc::clone(&self.given), _probe: probe })),
            "/abort" => {
                probe.done();
                Response::new(ResponseBody::new(Fails { sent: false, panics: false }))
            }
            "/panic-in-body" => {
                probe.done();
                Response::new(ResponseBody::new(Fails { sent: false, panics: true }))
            }
            "/panic" => {
                probe.done();
                panic!("a panic that a test asked for")
            }
            "/trailers" => {
                probe.done();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("42"));
                let mut response = Response::new(ResponseBody::full_with_trailers("data", trailers));
                response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
                response
            }
            "/dirty" => {
                probe.done();
                let mut response = Response::new(ResponseBody::full("clean"));
                let headers = response.headers_mut();
                headers.insert("connection", HeaderValue::from_static("keep-alive, x-secret"));
                headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
                headers.insert("transfer-encoding", HeaderValue::from_static("gzip"));
                headers.insert("upgrade", HeaderValue::from_static("h2c"));
                headers.insert("content-length", HeaderValue::from_static("99"));
                response
            }
            "/close" => {
                probe.done();
                let mut response = Response::new(ResponseBody::full("bye"));
                response.headers_mut().insert("connection", HeaderValue::from_static("close"));
                response
            }
            "/big" => {
                probe.done();
                Response::new(ResponseBody::full(vec![b'x'; 2 * 1024 * 1024 + 1]))
            }
            // More than kernels buffer for a socket.
            "/huge" => {
                probe.done();
                Response::new(ResponseBody::full(vec![b'x'; HUGE]))
            }
            "/total/flood" | "/total/huge" | "/total/hello" => {
                roadrunner_wire::end_by(Instant::now() + super::TOTAL);
                let body = match path.as_str() {
                    "/total/flood" => ResponseBody::new(Flood { given: Arc::clone(&self.given), _probe: probe }),
                    "/total/huge" => {
                        probe.done();
                        ResponseBody::full(vec![b'x'; HUGE])
                    }
                    _ => {
                        probe.done();
                        ResponseBody::full("hello, world\n")
                    }
                };
                Response::new(body)
            }
            "/no-content" => {
                probe.done();
                let mut response = Response::new(ResponseBody::full("never seen"));
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            "/tunnel" => {
                probe.done();
                tunnel(exchange)
            }
            _ => {
                probe.done();
                let mut response = Response::new(ResponseBody::full("not found\n"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }
}

/// Echoes the bytes of a tunnel.
fn tunnel(mut exchange: Exchange) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    let Some(request) = exchange.take_tunnel().filter(|request| request.names("echo")) else {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    if exchange.connection.protocol == Protocol::Http1 {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
    }
    tokio::spawn(async move {
        let tunnel = request.accept().await.expect("a tunnel");
        let (mut read, mut write) = tokio::io::split(tunnel);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    response
}

/// Reports when it is dropped, unless it is done.
pub struct Probe {
    path: String,
    tell: mpsc::UnboundedSender<Told>,
    connection: Arc<Connection>,
}

impl Probe {
    fn done(self) {
        let mut probe = std::mem::ManuallyDrop::new(self);
        probe.path.clear();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        let _ = self.tell.send(Told::Dropped(path, self.connection.ending(), Instant::now()));
    }
}

struct Echo {
    body: roadrunner_wire::RequestBody,
    probe: Option<Probe>,
}

impl Body for Echo {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(None) = polled
            && let Some(probe) = self.probe.take()
        {
            probe.done();
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(|_| Abort)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

struct Idle {
    sent: bool,
    _probe: Probe,
    _exchange: Exchange,
}

impl Body for Idle {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if std::mem::replace(&mut self.sent, true) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"first")))))
    }
}

struct Late {
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    _held: Exchange,
}

impl Body for Late {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let Some(wait) = &mut self.wait else { return Poll::Ready(None) };
        std::task::ready!(wait.as_mut().poll(cx));
        self.wait = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"late")))))
    }
}

struct Ticks {
    wait: tokio::time::Interval,
    _probe: Probe,
}

impl Body for Ticks {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        self.wait.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"tick")))))
    }
}

struct Flood {
    given: Arc<AtomicUsize>,
    _probe: Probe,
}

impl Body for Flood {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        static PIECE: [u8; 8192] = [b'f'; 8192];
        self.given.fetch_add(PIECE.len(), SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
    }
}

struct Fails {
    sent: bool,
    panics: bool,
}

impl Body for Fails {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if std::mem::replace(&mut self.sent, true) {
            assert!(!self.panics, "a panic that a test asked for");
            return Poll::Ready(Some(Err(Abort)));
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"first")))))
    }
}

const HUGE: usize = 32 << 20;
