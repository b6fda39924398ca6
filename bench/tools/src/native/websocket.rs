//! The native server's WebSocket: it echoes messages, without compression.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use roadrunner_websocket::handshake::ServerHandshake;
use roadrunner_websocket::{Config, Event, Message, Role, Session, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Answer, status};

/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// Answers a handshake, and echoes from then on.
pub fn accept(request: &mut Request<Incoming>) -> Response<Answer> {
    let handshake = match ServerHandshake::upgrade(request.method(), request.version(), request.headers()) {
        Ok(handshake) => handshake,
        Err(refusal) => return status(refusal.status()),
    };
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        // A loader that stops resets its connections.
        if let Ok(socket) = upgrade.await {
            let _ = echo(TokioIo::new(socket)).await;
        }
    });
    let mut response = Response::new(Answer::full(Bytes::new()));
    *response.status_mut() = handshake.status();
    *response.headers_mut() = handshake.answer(None, None).expect("no subprotocol is always accepted");
    response
}

async fn echo(mut socket: TokioIo<Upgraded>) -> Result<()> {
    let mut session = Session::new(Role::Server, Arc::new(Config::default()), None, Instant::now());
    while session.state() != State::Closed {
        let now = Instant::now();
        while let Some(event) = session.next_event(now) {
            match event {
                Event::Message(Message::Text(text)) => session.send_text(&text, now)?,
                Event::Message(Message::Binary(bytes)) => session.send_binary(&bytes, now)?,
                Event::Ended(_) => {}
            }
        }
        while !session.outgoing().is_empty() {
            let written = socket.write(session.outgoing()).await?;
            session.written(written);
        }
        if socket.read_buf(session.read_buffer(READ)).await? == 0 {
            bail!("the client left");
        }
    }
    Ok(())
}
