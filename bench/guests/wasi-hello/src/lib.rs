//! `hello, world` for wasi:http 0.2: what the hello guest does, for other hosts.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let text = b"hello, world\n";
        let headers = Fields::new();
        let fields = [
            ("content-type", b"text/plain; charset=utf-8".to_vec()),
            ("content-length", text.len().to_string().into_bytes()),
        ];
        for (name, value) in fields {
            headers.set(name, &[value]).expect("both names may be set, and the fields are still mutable");
        }
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("a response gives its body once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a body gives its stream once");
        // A client that left is no concern of the handler.
        let _ = stream.blocking_write_and_flush(text);
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
