//! A native echo server over the codec: the cost of a WebSocket without a guest behind it, and the smallest complete
//! driver of a `Session`.
//!
//! `cargo run --release --example echo -- [ADDRESS] [--no-deflate | --takeover]`; listens on 127.0.0.1:9001 by default.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use roadrunner_websocket::handshake::{Refusal, ServerHandshake};
use roadrunner_websocket::{
    Config, DeflateConfig, DeflateParams, Event, Limits, Message, Role, SendError, Session, State,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut address = "127.0.0.1:9001".to_owned();
    let mut config = Config::with_deflate();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--no-deflate" => config.deflate = None,
            "--takeover" => {
                config.deflate = Some(DeflateConfig {
                    server_context_takeover: true,
                    client_context_takeover: true,
                    ..DeflateConfig::default()
                });
            }
            _ => address = argument,
        }
    }
    // Conformance suites send messages of 16 MiB and echo compresses them all.
    config.limits =
        Limits { frame_size: 17 << 20, message_size: 17 << 20, outgoing_message: 17 << 20, ..config.limits };
    let config = Arc::new(config);
    let listener = TcpListener::bind(&address).await?;
    println!("echo on ws://{address}/");
    loop {
        let (socket, _) = listener.accept().await?;
        let config = config.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(socket, config).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve(mut socket: TcpStream, config: Arc<Config>) -> Result<(), Error> {
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    let (length, opened) = loop {
        if socket.read_buf(&mut head).await? == 0 || head.len() > MAX_HEAD {
            return Ok(());
        }
        if let Some(opened) = open(&head, &config)? {
            break opened;
        }
    };
    let (answer, deflate) = match opened {
        Ok((answer, deflate)) => (render(StatusCode::SWITCHING_PROTOCOLS, &answer), deflate),
        Err(refusal) => {
            let answer = render(refusal.status(), &refusal.headers());
            socket.write_all(answer.as_bytes()).await?;
            return Ok(socket.shutdown().await?);
        }
    };
    socket.write_all(answer.as_bytes()).await?;
    let mut session = Session::new(Role::Server, config.clone(), deflate, Instant::now());
    // The bytes right after the handshake belong to the session.
    session.feed(&head[length..]);
    echo(&mut socket, &mut session).await?;
    // The client closes after this side (RFC 6455, 7.1.1). Its remaining bytes are read, since unread data would make
    // the kernel reset the connection and could lose the close frame.
    socket.shutdown().await?;
    let mut rest = vec![0; 16 << 10];
    let drained = async { while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(config.timers.close, drained).await;
    Ok(())
}

/// Drives the session until it is closed and everything is written.
async fn echo(socket: &mut TcpStream, session: &mut Session) -> Result<(), Error> {
    // A message that must wait until the earlier bytes are written.
    let mut waiting: Option<Message> = None;
    loop {
        let now = Instant::now();
        loop {
            if let Some(message) = waiting.take() {
                match send(session, &message, now) {
                    Err(SendError::QueueFull) => {
                        waiting = Some(message);
                        break;
                    }
                    Err(SendError::Closed) | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match session.next_event(now) {
                Some(Event::Message(message)) => waiting = Some(message),
                Some(Event::Ended(_)) | None => break,
            }
        }
        if !session.outgoing().is_empty() {
            let count = socket.write(session.outgoing()).await?;
            session.written(count);
            if session.is_blocked() || waiting.is_some() || !session.outgoing().is_empty() {
                continue;
            }
        }
        if session.state() == State::Closed {
            return Ok(());
        }
        let deadline = session.deadline();
        let timeout = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            read = socket.read_buf(session.read_buffer(READ)) => match read {
                Ok(count) if count > 0 => {}
                _ => session.feed_eof(),
            },
            () = timeout => session.handle_timeout(Instant::now()),
        }
    }
}

fn send(session: &mut Session, message: &Message, now: Instant) -> Result<(), SendError> {
    match message {
        Message::Text(text) => session.send_text(text, now),
        Message::Binary(payload) => session.send_binary(payload, now),
    }
}

type Opened = Result<(HeaderMap, Option<DeflateParams>), Refusal>;

/// Checks a request head, and returns its length. `None` if it is not complete.
fn open(head: &[u8], config: &Config) -> Result<Option<(usize, Opened)>, Error> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = request.parse(head)? else {
        return Ok(None);
    };
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        headers.append(HeaderName::from_bytes(field.name.as_bytes())?, HeaderValue::from_bytes(field.value)?);
    }
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes())?;
    let version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let opened = ServerHandshake::upgrade(&method, version, &headers).map(|handshake| {
        let deflate = config.deflate.as_ref().and_then(|deflate| handshake.deflate(deflate));
        let protocol = handshake.protocols().first().map(String::as_str);
        let answer = handshake.answer(protocol, deflate.as_ref());
        (answer.expect("the subprotocol is one of those offered"), deflate)
    });
    Ok(Some((length, opened)))
}

fn render(status: StatusCode, headers: &HeaderMap) -> String {
    let mut answer = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        answer.push_str("content-length: 0\r\n");
    }
    answer + "\r\n"
}

const MAX_HEAD: usize = 16 << 10;

const READ: usize = 16 << 10;
