//! The answers of the native server in bench/tools, byte for byte, from a guest.

use std::time::Duration;

use roadrunner_guest::{
    Event, IntoResponse, Json, Next, Request, Response, Result, Sse, StatusCode, Stream, handler, timers,
};

#[path = "../../../tools/src/answers.rs"]
mod answers;

#[handler]
fn workload(request: Request) -> Response {
    match request.path().as_str() {
        "/hello" => answers::HELLO.into_response(),
        "/echo" => echo(&request).into_response(),
        "/bytes" => answers::BYTES.as_slice().into_response(),
        "/json" => Json(answers::order()).into_response(),
        "/events" => events().into_response(),
        "/collect" => collect(&request).into_response(),
        "/count" => count(&request).into_response(),
        "/download" => download().into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn echo(request: &Request) -> Result<Vec<u8>> {
    request.body().read_to_end()
}

/// Holds the whole body, and answers its size.
fn collect(request: &Request) -> Result<String> {
    Ok(format!("{}\n", request.body().read_to_end()?.len()))
}

/// Lets go of each piece, and answers the size of all.
fn count(request: &Request) -> Result<String> {
    let mut body = request.body();
    let mut total: u64 = 0;
    while let Some(piece) = body.read()? {
        total += piece.len() as u64;
    }
    Ok(format!("{total}\n"))
}

fn events() -> Sse {
    timers::every(Duration::from_millis(answers::EVENT_PERIOD_MS));
    Sse::new(|event, out| {
        if let Event::Timer(_) = event {
            out.data(answers::EVENT)?;
        }
        Ok(Next::Continue)
    })
}

/// As many pieces as the client takes, up to a gibibyte.
fn download() -> Stream {
    Stream::new(|out| {
        for _ in 0..answers::DOWNLOAD / answers::BYTES.len() as u64 {
            out.write(answers::BYTES.as_slice())?;
        }
        Ok(())
    })
    .header("content-length", answers::DOWNLOAD.to_string())
}
