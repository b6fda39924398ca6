//! The answers of the scenarios (bench/tools/src/scenarios.rs), byte for byte, from one component.

use std::time::Duration;

use roadrunner_guest::{
    Event, EventLoop, IntoResponse, Next, Pairs, Request, Response, Result, Sse, StatusCode, Stream, WebSocket,
    handler, timers,
};

#[path = "../../../tools/src/scenarios.rs"]
mod scenarios;

static PIECE: [u8; scenarios::DOWNLOAD_PIECE] = [b'x'; scenarios::DOWNLOAD_PIECE];

#[handler]
fn workload(request: Request) -> Response {
    match request.path().as_str() {
        "/" => hello(),
        "/json" => scenarios::JSON_BODY.into_response().header("content-type", "application/json"),
        "/echo" => echo(&request).into_response(),
        "/large" => PIECE.as_slice().into_response(),
        "/form" => form(&request).into_response(),
        "/drain" => count(&request).map(|_| "ok").into_response(),
        "/gzip" => scenarios::RECORDS.as_slice().into_response().header("content-type", "application/json"),
        "/streaming" => stream(4, scenarios::PIECE).into_response(),
        "/ws" => sockets().into_response(),
        "/events" => events().into_response(),
        "/idle" => EventLoop::new(|_, _| Ok(Next::Continue)).into_response(),
        "/collect" => collect(&request).into_response(),
        "/count" => count(&request).map(|total| format!("{total}\n")).into_response(),
        "/download" => download().into_response(),
        // Each of these has a route in the manifest.
        path if path.starts_with("/api/v1/items/") || path.starts_with("/c/") => hello(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn hello() -> Response {
    "alive\r\n".into_response()
}

fn echo(request: &Request) -> Result<Vec<u8>> {
    request.body().read_to_end()
}

/// The number of pairs in a form.
fn form(request: &Request) -> Result<String> {
    Ok(Pairs::parse(&request.body().read_to_end()?).len().to_string())
}

/// Holds the whole body, and answers its size.
fn collect(request: &Request) -> Result<String> {
    Ok(format!("{}\n", request.body().read_to_end()?.len()))
}

/// Lets go of each piece, and returns the size of all.
fn count(request: &Request) -> Result<u64> {
    let mut body = request.body();
    let mut total = 0;
    while let Some(piece) = body.read()? {
        total += piece.len() as u64;
    }
    Ok(total)
}

fn sockets() -> WebSocket {
    WebSocket::new(|message, out| {
        out.send(message)?;
        Ok(Next::Continue)
    })
}

fn events() -> Sse {
    timers::every(Duration::from_millis(scenarios::EVENT_PERIOD_MS));
    Sse::new(|event, out| {
        if let Event::Timer(_) = event {
            out.data(scenarios::EVENT)?;
        }
        Ok(Next::Continue)
    })
}

/// As many pieces as the client takes, up to a gibibyte.
fn download() -> Stream {
    stream(scenarios::DOWNLOAD / scenarios::DOWNLOAD_PIECE as u64, scenarios::DOWNLOAD_PIECE)
        .header("content-length", scenarios::DOWNLOAD.to_string())
}

fn stream(pieces: u64, size: usize) -> Stream {
    Stream::new(move |out| {
        for _ in 0..pieces {
            out.write(&PIECE[..size])?;
        }
        Ok(())
    })
    .header("content-type", "application/octet-stream")
}
