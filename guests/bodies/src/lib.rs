//! Ways to read a request body, or not to. Routes with the body modes `auto` and `manual` both make sense.

use std::io::Read;
use std::thread;
use std::time::Duration;

use roadrunner_guest::{Error, IntoResponse, Rejection, Request, Response, Result, StatusCode, handler, log};

#[handler]
fn body(request: Request) -> Response {
    match request.path().as_str() {
        "/after-end" => after_end(&request).into_response(),
        "/all" => all(&request).into_response(),
        "/count" => count(&request).into_response(),
        "/digest" => digest(&request).into_response(),
        "/drop" => drop_it(&request).into_response(),
        "/error" => error(&request).into_response(),
        "/form" => form(&request).into_response(),
        "/half" => half(&request).into_response(),
        "/ignore" => "ignored\n".into_response(),
        "/late" => late(&request).into_response(),
        "/multipart" => multipart(&request).into_response(),
        "/slow" => slow(&request).into_response(),
        "/std-read" => std_read(&request).into_response(),
        "/trailers" => trailers(&request, true).into_response(),
        "/trailers/unread" => trailers(&request, false).into_response(),
        "/twice" => twice(&request).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Reads on after the end.
fn after_end(request: &Request) -> Result<String> {
    let mut body = request.body();
    let whole = body.read_to_end()?;
    let again = body.read_to_end()?;
    let piece = body.read()?;
    Ok(format!("{} then {} then {}\n", whole.len(), again.len(), if piece.is_none() { "none" } else { "some" }))
}

/// Reads all in one call.
fn all(request: &Request) -> Result<String> {
    Ok(format!("{}\n", request.body().read_to_end()?.len()))
}

/// Reads piece by piece, at most `max` bytes each.
fn count(request: &Request) -> Result<String> {
    let max: u32 = request.query_pairs().parsed("max").unwrap_or(0);
    let mut body = request.body();
    let (mut bytes, mut largest) = (0, 0);
    while let Some(piece) = body.read_up_to(max)? {
        bytes += piece.len();
        largest = largest.max(piece.len());
    }
    Ok(format!("{bytes} bytes, largest piece {largest}\n"))
}

/// FNV-1a of the body, for tests that want to know that it arrived as it was sent.
fn digest(request: &Request) -> Result<String> {
    let mut body = request.body();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut bytes: u64 = 0;
    while let Some(piece) = body.read()? {
        bytes += piece.len() as u64;
        for byte in piece {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Ok(format!("{bytes} {hash:016x}\n"))
}

/// Takes the body and drops it unread.
fn drop_it(request: &Request) -> &'static str {
    drop(request.body());
    "dropped\n"
}

/// Reads all, and says how that failed: to the client, who may be gone, and to the log.
fn error(request: &Request) -> String {
    let end = match request.body().read_to_end() {
        Ok(whole) => format!("whole {}", whole.len()),
        Err(Error::TooLarge(limit)) => format!("too-large {limit}"),
        Err(Error::Closed) => "closed".to_owned(),
        Err(Error::Timeout) => "timeout".to_owned(),
        Err(error) => error.to_string(),
    };
    log::info!("body: {end}");
    format!("{end}\n")
}

fn form(request: &Request) -> Result<String, Rejection> {
    let pairs = request.form()?;
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}\n")).collect())
}

/// Reads `n` bytes and leaves the rest.
fn half(request: &Request) -> Result<String> {
    let mut wanted: u32 = request.query_pairs().parsed("n").unwrap_or(1);
    let mut body = request.body();
    let mut bytes = 0;
    while wanted > 0 {
        let Some(piece) = body.read_up_to(wanted)? else {
            break;
        };
        bytes += piece.len();
        wanted -= piece.len() as u32;
    }
    Ok(format!("{bytes}\n"))
}

/// Sleeps `ms` milliseconds before the first read.
fn late(request: &Request) -> Result<String> {
    thread::sleep(Duration::from_millis(request.query_pairs().parsed("ms").unwrap_or(500)));
    all(request)
}

/// Sleeps `ms` milliseconds before each read of at most `max` bytes.
fn slow(request: &Request) -> Result<String> {
    let query = request.query_pairs();
    let pause = Duration::from_millis(query.parsed("ms").unwrap_or(10));
    let max = query.parsed("max").unwrap_or(1024);
    let mut body = request.body();
    let mut bytes = 0;
    loop {
        thread::sleep(pause);
        let Some(piece) = body.read_up_to(max)? else {
            break;
        };
        bytes += piece.len();
    }
    Ok(format!("{bytes}\n"))
}

/// Reads through `std::io::Read` with a small buffer.
fn std_read(request: &Request) -> Result<String> {
    let mut body = request.body();
    let mut buffer = [0; 7];
    let mut bytes = 0;
    loop {
        let read = Read::read(&mut body, &mut buffer)?;
        if read == 0 {
            return Ok(format!("{bytes}\n"));
        }
        bytes += read;
    }
}

/// The trailer fields, a line each, asked for after reading the body or without.
fn trailers(request: &Request, read: bool) -> Result<String> {
    let mut body = request.body();
    if read {
        while body.read()?.is_some() {}
    }
    let trailers = body.trailers()?;
    Ok(trailers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value))).collect())
}

/// Asks the request for its body twice.
fn twice(request: &Request) -> Result<String> {
    let mut first = request.body();
    let mut second = request.body();
    Ok(format!("{} and {}\n", first.read_to_end()?.len(), second.read_to_end()?.len()))
}

/// What the parts of a form with files are, read piece by piece.
fn multipart(request: &Request) -> Result<String, Rejection> {
    let mut form = request.multipart()?;
    let mut lines = String::new();
    while let Some(mut part) = form.next_part()? {
        let mut bytes = 0;
        while let Some(piece) = part.read()? {
            bytes += piece.len();
        }
        let file = part.file_name().unwrap_or("-");
        lines += &format!("{} {file} {} {bytes}\n", part.name(), part.content_type().unwrap_or("-".to_owned()));
    }
    Ok(lines)
}
