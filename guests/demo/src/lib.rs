//! The routes of `cargo xtask demo`: one for each shape, and a page at `/` that shows them live.
//!
//! The routes are kept stable; guests/README.md has the table.

mod greeter;
mod store;

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use roadrunner_guest::{
    Event, Html, IntoResponse, Json, Next, Request, Response, SendFile, Sse, StatusCode, Stream, WebSocket,
    WebTransport, WtEvent, bus, config, handler, log, percent_decode, secrets, timers,
};
use serde::Serialize;

#[handler]
fn demo(request: Request) -> Response {
    let path = request.path();
    match path.as_str() {
        "/" => Html(include_str!("index.html")).into_response(),
        "/hello" => "hello, world\n".into_response(),
        "/echo" => echo(&request).into_response(),
        "/stream" => stream(&request).into_response(),
        "/clock" => clock().into_response(),
        "/json" => json(&request).into_response(),
        "/room" => room().into_response(),
        "/settings" => settings().into_response(),
        "/upload" => upload(&request).into_response(),
        "/ws" => ws().into_response(),
        "/wt" => wt().into_response(),
        "/secret" => secret(&request),
        _ => {
            if let Some(file) = path.strip_prefix("/files/") {
                SendFile::new("files", percent_decode(file)).into_response()
            } else if let Some(operation) = path.strip_prefix("/store/") {
                store::answer(&request, operation)
            } else if path.starts_with("/demo.v1.Greeter/") {
                greeter::answer(request)
            } else {
                (StatusCode::NOT_FOUND, "there is nothing here\n").into_response()
            }
        }
    }
}

/// What a secret is leaves the guest here, because this shows that it is there.
fn secret(request: &Request) -> Response {
    match secrets::get(request.query_pairs().get("name").unwrap_or_default()) {
        Some(secret) => secret.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Sends each piece of the request body back as it arrives, then the request's trailers.
fn echo(request: &Request) -> Stream {
    let mut body = request.body();
    let mut stream = Stream::new(move |out| {
        while let Some(piece) = body.read()? {
            out.write(piece)?;
        }
        body.trailers()
    });
    for copied in ["content-type", "trailer"] {
        if let Some(value) = request.header_bytes(copied) {
            stream = stream.header(copied, value);
        }
    }
    stream
}

/// `n` chunks (10), `delay` milliseconds (0) after each but the last, and their number as a trailer.
fn stream(request: &Request) -> Stream {
    let query = request.query_pairs();
    let chunks: u64 = query.parsed("n").unwrap_or(10);
    let delay = Duration::from_millis(query.parsed("delay").unwrap_or(0));
    Stream::new(move |out| {
        for chunk in 0..chunks {
            if chunk > 0 && !delay.is_zero() {
                thread::sleep(delay);
            }
            writeln!(out, "chunk {chunk}")?;
        }
        Ok([("x-chunks", chunks.to_string())])
    })
    .header("content-type", "text/plain; charset=utf-8")
    .trailer_names(&["x-chunks"])
}

/// A tick a second.
fn clock() -> Sse {
    timers::every(Duration::from_secs(1));
    let mut ticks: u64 = 0;
    Sse::new(move |event, out| {
        if let Event::Timer(_) = event {
            ticks += 1;
            out.data(ticks.to_string())?;
        }
        Ok(Next::Continue)
    })
}

/// What a small API answers.
#[derive(Serialize)]
struct Answer {
    message: &'static str,
    method: String,
    version: String,
    peer: String,
}

fn json(request: &Request) -> Json<Answer> {
    Json(Answer {
        message: "hello, world",
        method: request.method().to_string(),
        version: format!("{:?}", request.version()),
        peer: request.peer(),
    })
}

/// Speaks to itself on the topic `room`, leaves it with the third tick of a timer, and says how many still listen.
fn room() -> roadrunner_guest::Result<Sse> {
    bus::subscribe("room")?;
    let start = timers::after(Duration::from_millis(1));
    let (mut clock, mut ticks) = (0, 0);
    Ok(Sse::new(move |event, out| {
        match event {
            Event::Message(message) => out.data(String::from_utf8_lossy(&message.payload))?,
            Event::Timer(id) if id == start => {
                bus::publish("room", "ping")?;
                clock = timers::every(Duration::from_millis(20));
            }
            Event::Timer(_) => {
                ticks += 1;
                if ticks == 3 {
                    timers::cancel(clock);
                    bus::unsubscribe("room");
                    out.data(bus::publish("room", "unheard")?.to_string())?;
                }
            }
            _ => {}
        }
        Ok(Next::Continue)
    }))
}

/// The manifest's value for `greeting`; the log says that it was asked for.
fn settings() -> String {
    log::warn!("the greeting was asked for");
    format!("{}\n", config::get("greeting").unwrap_or_else(|| "none".to_owned()))
}

/// Counts the bytes of a body of any size without keeping them.
fn upload(request: &Request) -> roadrunner_guest::Result<String> {
    let mut body = request.body();
    let mut count: u64 = 0;
    while let Some(piece) = body.read()? {
        count += piece.len() as u64;
    }
    Ok(format!("{count}\n"))
}

/// Sends each message back.
fn ws() -> WebSocket {
    WebSocket::new(|message, out| {
        out.send(message)?;
        Ok(Next::Continue)
    })
}

/// Echoes each bidirectional stream, answers a unidirectional stream with one of its own, and echoes datagrams.
fn wt() -> WebTransport {
    // The streams of the client by the ones that they are answered on.
    let mut answers: HashMap<u64, u64> = HashMap::new();
    WebTransport::new(move |event, session| {
        match event {
            WtEvent::Opened { id, bidirectional: true } => {
                answers.insert(id, id);
            }
            WtEvent::Opened { id, bidirectional: false } => {
                match session.open_unidirectional() {
                    Ok(answer) => drop(answers.insert(id, answer)),
                    // Over the host's limit: the client may try again.
                    Err(_) => session.stop(id, 0),
                }
            }
            WtEvent::Data { id, bytes } => {
                if let Some(answer) = answers.get(&id) {
                    session.send(*answer, bytes)?;
                }
            }
            WtEvent::Finished(id) => {
                if let Some(answer) = answers.remove(&id) {
                    session.finish(answer);
                }
            }
            WtEvent::Reset { id, code } => {
                if let Some(answer) = answers.remove(&id) {
                    session.reset(answer, code);
                }
            }
            WtEvent::Stopped { id, code } => {
                // The client's stream of which nobody wants the echo.
                let echoed = answers.iter().find(|(_, answer)| **answer == id).map(|(stream, _)| *stream);
                if let Some(stream) = echoed {
                    answers.remove(&stream);
                    session.stop(stream, code);
                }
            }
            WtEvent::Datagram(bytes) => {
                // One that does not fit the path is lost, as any may be.
                let _ = session.send_datagram(bytes);
            }
            _ => {}
        }
        Ok(Next::Continue)
    })
}
