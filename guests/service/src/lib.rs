//! A standard component of WASI 0.3, `wasi:http/service`, made with the public crate `wasip3` alone. It answers the same
//! paths as `standard` does, as far as WASI 0.3 knows what they are for.

use std::cell::Cell;
use std::fmt::Write as _;

use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, RequestOptions, Response, Scheme, Trailers};
use wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter, spawn_local};
use wasip3::{wit_future, wit_stream};

type End = Result<Option<Trailers>, ErrorCode>;

struct Component;

wasip3::http::service::export!(Component);

thread_local! {
    static ANSWERED: Cell<u32> = const { Cell::new(0) };
    static AT_ONCE: Cell<u32> = const { Cell::new(0) };
}

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" | "/wasi03/hello" => Ok(text("hello from a service\n")),
            "/request" => Ok(text(&describe(&request))),
            "/status" => Ok(answer(query.parse().unwrap_or(200), &[("x-a", "1"), ("x-a", "2")], b"status\n")),
            "/empty" => Ok(Response::new(Fields::new(), None, no_trailers()).0),
            "/set" => Ok(answer(200, &pairs(&query.replace('_', " ")), b"five!")),
            "/claimed" => {
                let (response, mut body, trailers) = start(200, &[("content-length", "5")]);
                spawn_local(async move {
                    body.write_all(b"five!".to_vec()).await;
                    sleep(300).await;
                    println!("work after the body");
                    finish(body, trailers, None).await;
                });
                Ok(response)
            }
            "/length" => Ok(answer(200, &[("content-length", query)], b"five!")),
            "/echo" | "/wasi03/echo" => Ok(echo(request)),
            "/pass" => {
                let (body, end) = consume(request);
                Ok(Response::new(Fields::new(), Some(body), end).0)
            }
            "/pass-trailers" => {
                let (mut input, end) = consume(request);
                let (mut body, contents) = wit_stream::new();
                spawn_local(async move {
                    while matches!(input.read(Vec::with_capacity(64 << 10)).await.0, StreamResult::Complete(_)) {}
                    body.write_all(b"read\n".to_vec()).await;
                });
                Ok(Response::new(Fields::new(), Some(contents), end).0)
            }
            "/forward" => client::send(forwarded(query, request)).await,
            "/relay" => {
                let answered = client::send(request_to(query)).await?;
                let (_, read) = wit_future::new(|| Ok(()));
                let (body, end) = Response::consume_body(answered, read);
                let fields = Fields::new();
                fields.append("x-relayed", b"yes").expect("a field");
                Ok(Response::new(fields, Some(body), end).0)
            }
            "/repeated-length" => Ok(match repeated_length(query) {
                Some(fields) => {
                    let (mut body, contents) = wit_stream::new();
                    spawn_local(async move {
                        body.write_all(b"five!".to_vec()).await;
                    });
                    Response::new(fields, Some(contents), no_trailers()).0
                }
                None => text("refused\n"),
            }),
            "/sum" => Ok(sum(request).await),
            "/error" => Err(ErrorCode::InternalError(Some("on purpose".to_owned()))),
            "/trap" => panic!("on purpose"),
            "/trap-after-set" => Ok(after(0, || panic!("on purpose"))),
            "/trap-mid-stream" => Ok(after(300_000, || panic!("on purpose"))),
            "/spin-mid-stream" => Ok(after(300_000, || {
                #[expect(clippy::empty_loop, reason = "that is what it is for")]
                loop {}
            })),
            "/not-finished" => {
                let (response, mut body, trailers) = start(200, &[]);
                spawn_local(async move {
                    body.write_all(vec![b'x'; 300_000]).await;
                    std::mem::forget((body, trailers));
                });
                Ok(response)
            }
            "/large" => {
                let size: usize = query.parse().unwrap_or(0);
                let pattern: Vec<u8> = (0..size).map(|offset| offset as u8).collect();
                Ok(answer(200, &[], pattern))
            }
            "/slow" => {
                let (response, mut body, trailers) = start(200, &[]);
                spawn_local(async move {
                    for _ in 0..1000 {
                        if !body.write_all(b"tick\n".to_vec()).await.is_empty() {
                            return;
                        }
                        sleep(20).await;
                    }
                    finish(body, trailers, None).await;
                });
                Ok(response)
            }
            "/after" => {
                let (response, mut body, trailers) = start(200, &[]);
                spawn_local(async move {
                    body.write_all(b"answered\n".to_vec()).await;
                    finish(body, trailers, None).await;
                    sleep(300).await;
                    println!("work after the response");
                });
                Ok(response)
            }
            "/sent" => {
                let (mut body, contents) = wit_stream::new();
                let (response, sent) = Response::new(Fields::new(), Some(contents), no_trailers());
                spawn_local(async move {
                    body.write_all(b"answered\n".to_vec()).await;
                    drop(body);
                    println!("sent: {:?}", sent.await);
                });
                Ok(response)
            }
            "/sleep" => {
                sleep(query.parse().unwrap_or(0)).await;
                Ok(text("awake\n"))
            }
            "/spin" =>
            {
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
            "/streams" => {
                let hoard: Vec<_> = (0..query.parse().unwrap_or(0)).map(|_| wit_stream::new::<u8>()).collect();
                Ok(text(&format!("{} streams\n", hoard.len())))
            }
            "/fields" => {
                let fields = Fields::new();
                let value = vec![b'x'; 1000];
                let added = (0..query.parse().unwrap_or(0))
                    .take_while(|n: &u32| fields.append(&format!("x-{n}"), &value).is_ok())
                    .count();
                Ok(text(&format!("{added}\n")))
            }
            "/forbidden" => {
                let fields = Fields::new();
                let refused = fields.append("connection", b"close").is_err()
                    && fields.append("transfer-encoding", b"chunked").is_err()
                    && fields.append("host", b"x").is_err();
                Ok(text(if refused { "refused\n" } else { "taken\n" }))
            }
            "/files" => Ok(text(&format!("{}\n", std::fs::read_dir("/").is_ok()))),
            "/fetch" => Ok(fetch(query).await),
            "/counter" => {
                let answered = ANSWERED.replace(ANSWERED.get() + 1) + 1;
                Ok(text(&format!("{answered}\n")))
            }
            "/at-once" => {
                AT_ONCE.set(AT_ONCE.get() + 1);
                sleep(query.parse().unwrap_or(0)).await;
                let at_once = AT_ONCE.get();
                sleep(query.parse().unwrap_or(0)).await;
                AT_ONCE.set(AT_ONCE.get() - 1);
                Ok(text(&format!("{at_once}\n")))
            }
            _ => Ok(answer(404, &[], b"not found\n")),
        }
    }
}

/// Header fields from a query.
fn pairs(query: &str) -> Vec<(&str, &str)> {
    query.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

/// A response whose body and end are still to come.
fn start(status: u16, headers: &[(&str, &str)]) -> (Response, StreamWriter<u8>, FutureWriter<End>) {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).expect("a field");
    }
    let (body, contents) = wit_stream::new();
    let (trailers, end) = wit_future::new(|| Err(ErrorCode::InternalError(Some("the task ended early".to_owned()))));
    let (response, _sent) = Response::new(fields, Some(contents), end);
    response.set_status_code(status).expect("a status");
    (response, body, trailers)
}

fn answer(status: u16, headers: &[(&str, &str)], bytes: impl Into<Vec<u8>>) -> Response {
    let (response, mut body, trailers) = start(status, headers);
    let bytes = bytes.into();
    spawn_local(async move {
        body.write_all(bytes).await;
        finish(body, trailers, None).await;
    });
    response
}

fn text(text: &str) -> Response {
    answer(200, &[("content-type", "text/plain")], text.as_bytes())
}

/// So many bytes, then what follows.
fn after(bytes: usize, then: impl FnOnce() + 'static) -> Response {
    let (response, mut body, trailers) = start(200, &[]);
    spawn_local(async move {
        body.write_all(vec![b'x'; bytes]).await;
        then();
        drop((body, trailers));
    });
    response
}

async fn finish(body: StreamWriter<u8>, trailers: FutureWriter<End>, fields: Option<Trailers>) {
    drop(body);
    // Nobody takes them when the client is gone.
    let _ = trailers.write(Ok(fields)).await;
}

fn no_trailers() -> FutureReader<End> {
    let (_, reader) = wit_future::new(|| Ok(None));
    reader
}

async fn sleep(ms: u64) {
    monotonic_clock::wait_for(ms * 1_000_000).await;
}

fn describe(request: &Request) -> String {
    let method = match request.get_method() {
        Method::Get => "GET".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Other(other) => other,
        _ => "other".to_owned(),
    };
    let scheme = match request.get_scheme() {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        _ => "other",
    };
    let authority = request.get_authority().unwrap_or_default();
    let mut text = format!("{method} {scheme} {authority} {}\n", request.get_path_with_query().unwrap_or_default());
    for (name, value) in request.get_headers().copy_all() {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(&value));
    }
    text
}

/// A request's body and its end. That of the guest's own reading is not told to anybody.
fn consume(request: Request) -> (StreamReader<u8>, FutureReader<End>) {
    let (_, read) = wit_future::new(|| Ok(()));
    Request::consume_body(request, read)
}

/// Sends back each piece as it comes, and the trailer fields.
fn echo(request: Request) -> Response {
    let (mut input, end) = consume(request);
    let (response, mut body, trailers) = start(200, &[]);
    spawn_local(async move {
        let mut buffer = Vec::with_capacity(64 << 10);
        loop {
            let (result, piece) = input.read(buffer).await;
            if !piece.is_empty() && !body.write_all(piece.clone()).await.is_empty() {
                return;
            }
            if !matches!(result, StreamResult::Complete(_)) {
                break;
            }
            buffer = piece;
            buffer.clear();
        }
        let end = end.await.expect("the request's body is whole");
        let end = end.map(|fields| Fields::from_list(&fields.copy_all()).expect("fields"));
        finish(body, trailers, end).await;
    });
    response
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

/// Reads all, then answers with its length.
async fn sum(request: Request) -> Response {
    let (mut input, end) = consume(request);
    let (mut length, mut buffer) = (0, Vec::with_capacity(1 << 20));
    loop {
        let (result, piece) = input.read(buffer).await;
        length += piece.len();
        if !matches!(result, StreamResult::Complete(_)) {
            break;
        }
        buffer = piece;
        buffer.clear();
    }
    text(&format!("{length} {}\n", if end.await.is_ok() { "whole" } else { "cut" }))
}

fn address(request: Request, url: &str) -> Request {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).expect("a scheme");
    request.set_authority(Some(authority)).expect("an authority");
    request.set_path_with_query(Some(&format!("/{path}"))).expect("a path");
    request
}

fn request_to(url: &str) -> Request {
    let options = RequestOptions::new();
    let _ = options.set_first_byte_timeout(Some(60_000_000_000));
    address(Request::new(Fields::new(), None, no_trailers(), Some(options)).0, url)
}

/// A request with the body of another one.
fn forwarded(url: &str, request: Request) -> Request {
    let (body, end) = consume(request);
    let (forwarded, _sent) = Request::new(Fields::new(), Some(body), end, None);
    forwarded.set_method(&Method::Post).expect("a method");
    address(forwarded, url)
}

/// Asks another server, and streams its answer; or says which error it was.
async fn fetch(url: &str) -> Response {
    let fetched = match client::send(request_to(url)).await {
        Ok(fetched) => fetched,
        Err(code) => return answer(502, &[], format!("{code:?}\n")),
    };
    let (response, mut body, trailers) = start(fetched.get_status_code(), &[("x-fetched", "yes")]);
    let (_, read) = wit_future::new(|| Ok(()));
    let (mut input, end) = Response::consume_body(fetched, read);
    spawn_local(async move {
        loop {
            let (result, piece) = input.read(Vec::with_capacity(64 << 10)).await;
            if !piece.is_empty() && !body.write_all(piece).await.is_empty() {
                return;
            }
            if !matches!(result, StreamResult::Complete(_)) {
                break;
            }
        }
        if let Err(code) = end.await {
            body.write_all(format!("\n{code:?}\n").into_bytes()).await;
        }
        finish(body, trailers, None).await;
    });
    response
}
