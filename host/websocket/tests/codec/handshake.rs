//! The opening handshake (RFC 6455, 4; RFC 8441, 5).

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use roadrunner_websocket::DeflateConfig;
use roadrunner_websocket::handshake::{AnswerError, ClientHandshake, NotOffered, Refusal, ServerHandshake, is_upgrade};

use crate::support::with_takeover;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

const RIGHT: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The valid handshake with the lines of one name replaced.
fn with(name: &str, values: &[&str]) -> Result<ServerHandshake, Refusal> {
    let mut lines: Vec<_> = RIGHT.into_iter().filter(|(other, _)| *other != name).collect();
    lines.extend(values.iter().map(|value| (name, *value)));
    ServerHandshake::upgrade(&Method::GET, Version::HTTP_11, &headers(&lines))
}

#[test]
fn section_4_2_2_the_rfcs_own_handshake() {
    let handshake = ServerHandshake::upgrade(&Method::GET, Version::HTTP_11, &headers(&RIGHT)).unwrap();
    assert_eq!(handshake.status(), StatusCode::SWITCHING_PROTOCOLS);
    let expected = headers(&[
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]);
    assert_eq!(handshake.answer(None, None).unwrap(), expected);
}

#[test]
fn section_4_2_1_what_is_required() {
    for (name, values, refusal) in [
        ("upgrade", &["WebSocket"][..], None),
        ("upgrade", &["h2c, websocket"], None),
        ("upgrade", &["h2c", "websocket"], None),
        ("upgrade", &["websockets"], Some(Refusal::Upgrade)),
        ("upgrade", &[], Some(Refusal::Upgrade)),
        ("connection", &["keep-alive, UPGRADE"], None),
        ("connection", &["keep-alive", "upgrade"], None),
        ("connection", &["keep-alive"], Some(Refusal::Upgrade)),
        ("connection", &[], Some(Refusal::Upgrade)),
        ("sec-websocket-version", &["8"], Some(Refusal::Version { upgrade: true })),
        ("sec-websocket-version", &["13", "13"], Some(Refusal::Version { upgrade: true })),
        ("sec-websocket-version", &[], Some(Refusal::Version { upgrade: true })),
        ("sec-websocket-key", &[], Some(Refusal::Key)),
        ("sec-websocket-key", &[""], Some(Refusal::Key)),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"], Some(Refusal::Key)),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="], Some(Refusal::Key)),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j"], Some(Refusal::Key)),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZWVl"], Some(Refusal::Key)),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j?Q=="], Some(Refusal::Key)),
        ("sec-websocket-extensions", &["foo; bar; baz=\"1\""], None),
        ("sec-websocket-extensions", &["foo bar"], Some(Refusal::Field)),
        ("sec-websocket-protocol", &["chat"], None),
        ("sec-websocket-protocol", &["a b"], Some(Refusal::Field)),
    ] {
        assert_eq!(with(name, values).err(), refusal, "{name}: {values:?}");
    }
    for (method, version) in [(Method::POST, Version::HTTP_11), (Method::GET, Version::HTTP_10)] {
        let refused = ServerHandshake::upgrade(&method, version, &headers(&RIGHT)).err();
        assert_eq!(refused, Some(Refusal::Request));
    }
    assert!(is_upgrade(&headers(&RIGHT)) && !is_upgrade(&HeaderMap::new()));
}

#[test]
fn section_4_4_a_wrong_version_is_told_the_right_one() {
    let refusal = with("sec-websocket-version", &["7"]).unwrap_err();
    assert_eq!(refusal.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(refusal.headers()["sec-websocket-version"], "13");
    assert_eq!(refusal.headers()["upgrade"], "websocket");
    let refusal = ServerHandshake::connect(&headers(&[])).unwrap_err();
    assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
    assert_eq!(refusal.headers(), headers(&[("sec-websocket-version", "13")]));
    let refusal = with("sec-websocket-key", &[]).unwrap_err();
    assert_eq!((refusal.status(), refusal.headers().len()), (StatusCode::BAD_REQUEST, 0));
}

#[test]
fn subprotocols_come_in_order_and_once_and_only_they_may_be_chosen() {
    let handshake = with("sec-websocket-protocol", &["b, a", "c,,b"]).unwrap();
    assert_eq!(handshake.protocols(), ["b", "a", "c"]);
    assert_eq!(handshake.answer(Some("a"), None).unwrap()["sec-websocket-protocol"], "a");
    assert_eq!(handshake.answer(Some("A"), None), Err(NotOffered));
}

#[test]
fn extensions_of_several_lines_are_one_list() {
    let handshake = with(
        "sec-websocket-extensions",
        &["permessage-deflate; server_max_window_bits=8", "x, permessage-deflate; client_max_window_bits=9"],
    )
    .unwrap();
    let params = handshake.deflate(&with_takeover()).unwrap();
    let answer = handshake.answer(None, Some(&params)).unwrap();
    assert_eq!(answer["sec-websocket-extensions"], "permessage-deflate; client_max_window_bits=9");
}

#[test]
fn rfc8441_5_neither_key_nor_upgrade() {
    let request = ClientHandshake::connect(&["chat"], Some(DeflateConfig::default()));
    assert!(!request.request().contains_key("sec-websocket-key"));
    assert!(!request.request().contains_key("upgrade"));
    let handshake = ServerHandshake::connect(&request.request()).unwrap();
    assert_eq!(handshake.status(), StatusCode::OK);
    let params = handshake.deflate(&DeflateConfig::default());
    let answer = handshake.answer(Some("chat"), params.as_ref()).unwrap();
    assert!(!answer.contains_key("sec-websocket-accept") && !answer.contains_key("connection"));
    let opened = request.verify(StatusCode::OK, &answer).unwrap();
    assert_eq!((opened.protocol.as_deref(), opened.deflate), (Some("chat"), params));
}

#[test]
fn section_4_1_a_client_judges_the_answer() {
    let request = ClientHandshake::upgrade(&["chat", "not a token"], None).unwrap();
    let handshake = ServerHandshake::upgrade(&Method::GET, Version::HTTP_11, &request.request()).unwrap();
    assert_eq!(handshake.protocols(), ["chat"]);
    let answer = handshake.answer(None, None).unwrap();
    let verify = |change: &dyn Fn(&mut HeaderMap)| {
        let mut answer = answer.clone();
        change(&mut answer);
        request.verify(StatusCode::SWITCHING_PROTOCOLS, &answer).err()
    };
    assert_eq!(verify(&|_| {}), None);
    assert_eq!(verify(&|answer| drop(answer.remove("upgrade"))), Some(AnswerError::Upgrade));
    assert_eq!(verify(&|answer| drop(answer.remove("sec-websocket-accept"))), Some(AnswerError::Accept));
    let put = |name: &'static str, value: &'static str| {
        verify(&|answer| drop(answer.insert(name, HeaderValue::from_static(value))))
    };
    assert_eq!(put("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), Some(AnswerError::Accept));
    assert_eq!(put("sec-websocket-protocol", "other"), Some(AnswerError::Protocol));
    assert_eq!(put("sec-websocket-extensions", "permessage-deflate"), Some(AnswerError::Extension));
    assert_eq!(request.verify(StatusCode::OK, &answer), Err(AnswerError::Status(StatusCode::OK)));
}
