//! Sends the host too much: in one call, in many, or in a response.

use std::io::Write;

use roadrunner_guest::log::{Level, write as log};
use roadrunner_guest::{Fields, IntoResponse, Request, Response, Result, Stream, bus};

const MIB: usize = 1024 * 1024;

/// Asks for a header whose name has so many MiB.
pub fn header_name(request: &Request, mib: usize) -> String {
    format!("{:?}\n", request.header_bytes(&"x".repeat(mib * MIB)))
}

/// One line of so many MiB.
pub fn log_line(mib: usize) -> &'static str {
    log(Level::Info, &"x".repeat(mib * MIB));
    "logged\n"
}

/// So many lines.
pub fn log_lines(n: u64) -> String {
    for line in 0..n {
        log(Level::Info, &format!("line {line}"));
    }
    format!("logged {n}\n")
}

/// So many lines on standard output and standard error.
pub fn print(n: u64) -> String {
    let mut failed = 0;
    for line in 0..n {
        failed += u64::from(writeln!(std::io::stdout(), "line {line}").is_err());
        failed += u64::from(writeln!(std::io::stderr(), "line {line}").is_err());
    }
    format!("printed {n}, failed {failed}\n")
}

/// One message of so many MiB.
pub fn publish(mib: usize) -> String {
    tell(bus::publish("flood", vec![b'x'; mib * MIB]))
}

/// So many messages of 1 KiB.
pub fn publish_many(n: u64) -> String {
    let payload = [b'x'; 1024];
    for sent in 0..n {
        if let Err(error) = bus::publish("flood", payload) {
            return format!("published {sent}: {error}\n");
        }
    }
    format!("published {n}\n")
}

/// A topic whose name has so many MiB.
pub fn topic(mib: usize) -> String {
    tell(bus::subscribe(&"x".repeat(mib * MIB)).map(|()| 0))
}

/// A stream with one chunk of so many MiB.
pub fn write(mib: usize) -> Stream {
    Stream::new(move |out| out.write(vec![b'x'; mib * MIB]))
}

/// A buffered body of so many MiB.
pub fn body(mib: usize) -> Response {
    Response::buffered(vec![b'x'; mib * MIB])
}

/// A header value of so many KiB.
pub fn header(kib: usize) -> Response {
    "ok\n".into_response().header("x-large", "x".repeat(kib * 1024))
}

/// A header field whose name is this many KiB of a character that steers a terminal.
pub fn name(kib: usize) -> Response {
    "ok\n".into_response().header("\u{1b}".repeat(kib << 10), "x")
}

/// A buffered text of so many MiB that is not easily compressed.
pub fn text(mib: usize) -> Response {
    let mut state: u64 = 88_172_645_463_325_252;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state % 26) as u8
    };
    let text: Vec<u8> = (0..mib * MIB).map(letter).collect();
    Response::buffered(text).header("content-type", "text/plain")
}

/// So many header fields.
pub fn headers(n: u64) -> Response {
    let mut response = "ok\n".into_response();
    for field in 0..n {
        response = response.add_header(format!("x-field-{field}"), "value");
    }
    response
}

/// So many trailer fields.
pub fn trailers(n: u64) -> Response {
    let trailers: Fields = (0..n).map(|field| (format!("x-field-{field}"), "value")).collect();
    "ok\n".into_response().trailers(trailers)
}

fn tell(result: Result<u32>) -> String {
    match result {
        Ok(count) => format!("ok {count}\n"),
        Err(error) => format!("{error}\n"),
    }
}
