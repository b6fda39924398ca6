//! A standard component, `wasi:http/proxy` 0.2, made with the public crate `wasip2` alone. It does what such components
//! do, right and wrong; the path says what.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureTrailers, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" | "/wasi02/hello" => text(out, "hello from a standard component\n"),
            "/request" => text(out, &describe(&request)),
            "/status" => answer(out, query.parse().unwrap_or(200), &[("x-a", "1"), ("x-a", "2")], b"status\n"),
            "/empty" => ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new()))),
            "/set" => {
                let blanks = query.replace('_', " ");
                answer(out, 200, &pairs(&blanks), b"five!");
            }
            "/claimed" => {
                let (body, stream) = start(out, 200, &[("content-length", "5")]);
                write(&stream, b"five!");
                sleep(300);
                println!("work after the body");
                finish(body, stream, None);
            }
            "/length" => answer(out, 200, &[("content-length", query)], b"five!"),
            "/echo" | "/wasi02/echo" => echo(&request, out),
            "/splice" => splice(&request, out),
            "/repeated-length" => match repeated_length(query) {
                Some(fields) => set(out, fields, b"five!"),
                None => text(out, "refused\n"),
            },
            "/sum" => sum(&request, out),
            "/never-set" => {}
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("on purpose".to_owned())))),
            "/trap" => panic!("on purpose"),
            "/trap-after-set" => {
                let (_body, _stream) = start(out, 200, &[]);
                panic!("on purpose")
            }
            "/trap-mid-stream" => {
                let (_body, stream) = start(out, 200, &[]);
                write(&stream, &vec![b'x'; 300_000]);
                panic!("on purpose")
            }
            "/not-finished" => {
                let (body, stream) = start(out, 200, &[]);
                write(&stream, &vec![b'x'; 300_000]);
                drop(stream);
                std::mem::forget(body);
            }
            "/dropped" => {
                let (body, stream) = start(out, 200, &[]);
                write(&stream, b"some");
                drop(stream);
                drop(body);
            }
            "/large" => {
                let (body, stream) = start(out, 200, &[]);
                let size: usize = query.parse().unwrap_or(0);
                let pattern: Vec<u8> = (0..size).map(|offset| offset as u8).collect();
                write(&stream, &pattern);
                finish(body, stream, None);
            }
            "/slow" => {
                let (body, stream) = start(out, 200, &[]);
                for _ in 0..1000 {
                    if !write(&stream, b"tick\n") {
                        return;
                    }
                    sleep(20);
                }
                finish(body, stream, None);
            }
            "/after" => {
                let (body, stream) = start(out, 200, &[]);
                write(&stream, b"answered\n");
                finish(body, stream, None);
                sleep(300);
                println!("work after the response");
            }
            "/sleep" => {
                sleep(query.parse().unwrap_or(0));
                text(out, "awake\n");
            }
            "/spin" =>
            {
                #[expect(clippy::empty_loop, reason = "that is what it is for")]
                loop {}
            }
            "/spin-mid-stream" => {
                let (_body, stream) = start(out, 200, &[]);
                write(&stream, &vec![b'x'; 300_000]);
                #[expect(clippy::empty_loop, reason = "that is what it is for")]
                loop {}
            }
            "/memory" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            "/fields" => {
                let fields = Fields::new();
                let value = vec![b'x'; 1000];
                let added = (0..query.parse().unwrap_or(0))
                    .take_while(|n: &u32| fields.append(&format!("x-{n}"), &value).is_ok())
                    .count();
                text(out, &format!("{added}\n"));
            }
            "/forbidden" => {
                let fields = Fields::new();
                let refused = fields.append("connection", b"close").is_err()
                    && fields.append("transfer-encoding", b"chunked").is_err()
                    && fields.append("host", b"x").is_err();
                text(out, if refused { "refused\n" } else { "taken\n" });
            }
            "/files" => text(out, &format!("{}\n", std::fs::read_dir("/").is_ok())),
            "/file" => match std::fs::read_to_string(query) {
                Ok(content) => text(out, &content),
                Err(error) => answer(out, 409, &[], error.to_string().as_bytes()),
            },
            "/fetch" => fetch(query, out),
            "/flood" => flood(query, out),
            "/counter" => {
                static ANSWERED: AtomicU32 = AtomicU32::new(0);
                text(out, &format!("{}\n", ANSWERED.fetch_add(1, Relaxed) + 1));
            }
            _ => answer(out, 404, &[], b"not found\n"),
        }
    }
}

/// Header fields from a query.
fn pairs(query: &str) -> Vec<(&str, &str)> {
    query.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

fn start(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> (OutgoingBody, OutputStream) {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).expect("a field");
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("the body, for the first time");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream, for the first time");
    (body, stream)
}

fn answer(out: ResponseOutparam, status: u16, headers: &[(&str, &str)], bytes: &[u8]) {
    let (body, stream) = start(out, status, headers);
    write(&stream, bytes);
    drop(stream);
    // A length that is not true is an error here; the host has to see to the client.
    let _ = OutgoingBody::finish(body, None);
}

fn text(out: ResponseOutparam, text: &str) {
    answer(out, 200, &[("content-type", "text/plain")], text.as_bytes());
}

fn finish(body: OutgoingBody, stream: OutputStream, trailers: Option<Fields>) {
    drop(stream);
    OutgoingBody::finish(body, trailers).expect("a body that is whole");
}

/// False once the client is gone.
fn write(stream: &OutputStream, mut bytes: &[u8]) -> bool {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        ready.block();
        let Ok(room) = stream.check_write() else { return false };
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        if stream.write(piece).is_err() {
            return false;
        }
        bytes = rest;
    }
    true
}

fn sleep(ms: u64) {
    monotonic_clock::subscribe_duration(ms * 1_000_000).block();
}

fn describe(request: &IncomingRequest) -> String {
    let method = match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Other(other) => other,
        _ => "other".to_owned(),
    };
    let scheme = match request.scheme() {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        _ => "other",
    };
    let mut text = format!(
        "{method} {scheme} {} {}\n",
        request.authority().unwrap_or_default(),
        request.path_with_query().unwrap_or_default()
    );
    for (name, value) in request.headers().entries() {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(&value));
    }
    text
}

/// Sends back each piece as it comes, and the trailer fields.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body, for the first time");
    let (body, stream) = start(out, 200, &[]);
    let input = incoming.stream().expect("the stream, for the first time");
    loop {
        match input.blocking_read(64 << 10) {
            Ok(piece) => {
                if !write(&stream, &piece) {
                    return;
                }
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => panic!("the request's body ended early"),
        }
    }
    drop(input);
    let trailers = trailers(incoming).map(|trailers| Fields::from_list(&trailers.entries()).expect("fields"));
    finish(body, stream, trailers);
}

/// Lets the host move the body from the request to the response.
fn splice(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body, for the first time");
    let (body, stream) = start(out, 200, &[]);
    let input = incoming.stream().expect("the stream, for the first time");
    while stream.blocking_splice(&input, 1 << 20).is_ok() {}
    drop(input);
    let trailers = trailers(incoming).map(|trailers| Fields::from_list(&trailers.entries()).expect("fields"));
    finish(body, stream, trailers);
}

/// Fields with a length that is given several times, in each way that there is; none where that is refused.
fn repeated_length(values: &str) -> Option<Fields> {
    let values: Vec<_> = values.split(',').map(|value| value.as_bytes().to_vec()).collect();
    let fields = Fields::new();
    values.iter().try_for_each(|value| fields.append("Content-Length", value)).ok()?;
    fields.set("content-length", &values).ok()?;
    let list: Vec<_> = values.into_iter().map(|value| ("content-length".to_owned(), value)).collect();
    let listed = Fields::from_list(&list).ok()?;
    (fields.get("content-length") == listed.get("content-length")).then_some(listed)
}

fn set(out: ResponseOutparam, fields: Fields, bytes: &[u8]) {
    let response = OutgoingResponse::new(fields);
    let body = response.body().expect("the body, for the first time");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream, for the first time");
    write(&stream, bytes);
    finish(body, stream, None);
}

/// Reads all, then answers with its length.
fn sum(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body, for the first time");
    let input = incoming.stream().expect("the stream, for the first time");
    let mut length = 0;
    let end = loop {
        match input.blocking_read(1 << 20) {
            Ok(piece) => length += piece.len(),
            Err(StreamError::Closed) => break "whole",
            Err(StreamError::LastOperationFailed(_)) => break "cut",
        }
    };
    text(out, &format!("{length} {end}\n"));
}

fn trailers(incoming: IncomingBody) -> Option<Fields> {
    let future: FutureTrailers = IncomingBody::finish(incoming);
    future.subscribe().block();
    future.get()?.ok()?.ok()?
}

fn request_to(url: &str) -> OutgoingRequest {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).expect("a scheme");
    request.set_authority(Some(authority)).expect("an authority");
    request.set_path_with_query(Some(&format!("/{path}"))).expect("a path");
    request
}

/// Asks another server, and streams its answer; or says which error it was.
fn fetch(url: &str, out: ResponseOutparam) {
    let options = RequestOptions::new();
    let _ = options.set_first_byte_timeout(Some(60_000_000_000));
    let future = match outgoing_handler::handle(request_to(url), Some(options)) {
        Ok(future) => future,
        Err(code) => return answer(out, 502, &[], format!("{code:?}\n").as_bytes()),
    };
    future.subscribe().block();
    let response = match future.get().and_then(Result::ok) {
        Some(Ok(response)) => response,
        Some(Err(code)) => return answer(out, 502, &[], format!("{code:?}\n").as_bytes()),
        None => panic!("an answer that is ready is not there"),
    };
    let incoming = response.consume().expect("the body, for the first time");
    let (body, stream) = start(out, response.status(), &[("x-fetched", "yes")]);
    let input = incoming.stream().expect("the stream, for the first time");
    loop {
        match input.blocking_read(64 << 10) {
            Ok(piece) => {
                if !write(&stream, &piece) {
                    return;
                }
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                write(&stream, format!("\n{}\n", error.to_debug_string()).as_bytes());
                break;
            }
        }
    }
    drop(input);
    finish(body, stream, None);
}

/// Asks the same server many times at once, and says how often it was answered.
fn flood(url: &str, out: ResponseOutparam) {
    let futures: Vec<_> = (0..20).map(|_| outgoing_handler::handle(request_to(url), None)).collect();
    let mut answered = Vec::new();
    let mut limited = 0;
    for future in futures {
        let Ok(future) = future else { continue };
        future.subscribe().block();
        match future.get() {
            Some(Ok(Ok(response))) => answered.push(response),
            Some(Ok(Err(ErrorCode::ConnectionLimitReached))) => limited += 1,
            _ => {}
        }
    }
    text(out, &format!("{} answered, {limited} over the limit\n", answered.len()));
}
