//! Requests to other servers, on the machine's own target.
#![cfg(all(feature = "client", not(target_family = "wasm")))]

use std::io::Read as _;
use std::time::Duration;

use roadrunner_guest::client::{self, Error, Exchange, Timeouts};
use roadrunner_guest::http::{self, Request};
use roadrunner_guest::testing::{TestHost, TestRequest};
use roadrunner_guest::{IntoResponse as _, Response};

fn echo(request: Request<Vec<u8>>) -> http::Response<Vec<u8>> {
    let length = request.headers().get("content-length").map(|value| value.as_bytes().to_vec());
    let mut response = http::Response::new(request.body().clone());
    response.headers_mut().insert("x-path", request.uri().path().parse().expect("a value"));
    if let Some(length) = length {
        response.headers_mut().insert("x-length", length.try_into().expect("a value"));
    }
    response
}

#[test]
fn a_granted_origin_answers() {
    let _host = TestHost::fresh().origin("https://api.example.com", echo);
    let request = Request::post("https://api.example.com/a").extension(Timeouts::all(Duration::from_secs(1)));
    let mut response = client::send(request.body("tea").expect("a request")).expect("an answer");
    assert_eq!(
        (response.headers()["x-path"].as_bytes(), response.headers()["x-length"].as_bytes()),
        (&b"/a"[..], &b"3"[..])
    );
    assert_eq!(response.body_mut().read_to_end().expect("a body"), b"tea");

    let mut exchange =
        Exchange::start(Request::put("https://api.example.com/b").body(()).expect("a request")).expect("it");
    assert!(exchange.write("one ") && exchange.write("two"));
    exchange.finish(()).expect("it is whole");
    let mut text = String::new();
    exchange.response().expect("an answer").into_body().read_to_string(&mut text).expect("a body");
    assert_eq!(text, "one two");
    assert!(exchange.response().is_err(), "there is one answer");
}

#[test]
fn another_origin_is_refused_with_the_key_of_the_manifest() {
    let host = TestHost::fresh().origin("https://api.example.com", echo);
    let ask =
        |url: &str| client::send(Request::get(url).body("").expect("a request")).map(|_| ()).expect_err("it is not");
    for url in ["http://api.example.com/", "https://api.example.com:444/", "https://example.com/"] {
        let error = ask(url);
        assert!(matches!(&error, Error::NotGranted(why) if why.contains("`outbound`")), "{url}: {error}");
    }
    assert!(matches!(ask("/a"), Error::Invalid(_)));
    assert!(matches!(ask("ftp://example.com/"), Error::Invalid(_)));

    fn pass(_: roadrunner_guest::Request) -> Result<String, Response> {
        let request = Request::get("http://elsewhere.example/").body("").expect("a request");
        let mut answer = client::send(request).map_err(|error| error.into_response())?;
        Ok(answer.body_mut().read_to_end().map(|bytes| bytes.len().to_string()).unwrap_or_default())
    }
    let response = TestRequest::get("/").send(pass);
    assert_eq!((response.status(), response.text().as_str()), (500, "internal error\n"));
    assert!(host.log()[0].1.contains("http://elsewhere.example"));
}
