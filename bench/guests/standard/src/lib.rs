//! The answers of the scenarios that a component of wasi:http 0.2 can give, for any host of such components.

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

#[path = "../../../tools/src/scenarios.rs"]
mod scenarios;

static BYTES: [u8; 64 << 10] = [b'x'; 64 << 10];

/// Bytes that are read or written at once. `blocking-write-and-flush` takes no more.
const PIECE: usize = 4096;

struct Standard;

wasip2::http::proxy::export!(Standard);

impl wasip2::exports::http::incoming_handler::Guest for Standard {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        match target.as_str() {
            "/" => hello(out),
            "/json" => answer(out, "application/json", scenarios::JSON_BODY),
            "/large" => answer(out, "application/octet-stream", &BYTES),
            "/streaming" => stream(out),
            "/echo" => answer(out, "application/octet-stream", &collect(&request)),
            "/form" => answer(out, "text/plain", pairs(&collect(&request)).to_string().as_bytes()),
            "/collect" => answer(out, "text/plain", format!("{}\n", collect(&request).len()).as_bytes()),
            "/count" => answer(out, "text/plain", format!("{}\n", count(&request)).as_bytes()),
            "/drain" => {
                count(&request);
                answer(out, "text/plain", b"ok");
            }
            path if path.starts_with("/api/v1/items/") && matches!(request.method(), Method::Get) => hello(out),
            _ => respond(out, 404, "text/plain", Some(0), |_| ()),
        }
    }
}

fn hello(out: ResponseOutparam) {
    answer(out, "text/plain", b"alive\r\n");
}

fn answer(out: ResponseOutparam, media: &str, body: &[u8]) {
    respond(out, 200, media, Some(body.len()), |write| {
        for piece in body.chunks(PIECE) {
            write(piece);
        }
    });
}

/// Four pieces, each of which leaves by itself.
fn stream(out: ResponseOutparam) {
    respond(out, 200, "application/octet-stream", None, |write| {
        for _ in 0..4 {
            write(&BYTES[..scenarios::PIECE]);
        }
    });
}

fn respond(out: ResponseOutparam, status: u16, media: &str, length: Option<usize>, body: impl FnOnce(&dyn Fn(&[u8]))) {
    let headers = Fields::new();
    let length = length.map(|length| ("content-length", length.to_string()));
    for (name, value) in [("content-type", media.to_owned())].into_iter().chain(length) {
        headers.set(name, &[value.into_bytes()]).expect("both names may be set, and the fields are still mutable");
    }
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("it is a status");
    let outgoing = response.body().expect("a response gives its body once");
    ResponseOutparam::set(out, Ok(response));
    let stream = outgoing.write().expect("a body gives its stream once");
    // A client that left is no concern of the handler.
    body(&|piece| drop(stream.blocking_write_and_flush(piece)));
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
}

fn collect(request: &IncomingRequest) -> Vec<u8> {
    let mut body = Vec::new();
    read(request, |piece| body.extend_from_slice(piece));
    body
}

fn count(request: &IncomingRequest) -> usize {
    let mut total = 0;
    read(request, |piece| total += piece.len());
    total
}

fn read(request: &IncomingRequest, mut take: impl FnMut(&[u8])) {
    let body: IncomingBody = request.consume().expect("a request gives its body once");
    let stream = body.stream().expect("a body gives its stream once");
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => take(&piece),
            Err(StreamError::Closed) => return,
            Err(error) => panic!("the body broke off: {error:?}"),
        }
    }
}

/// The number of pairs of a form, each decoded.
fn pairs(form: &[u8]) -> usize {
    form_urlencoded::parse(form).count()
}
