//! Arbitrary header fields: never a panic, and the answer fits the offer.
//!
//! Input: two bytes of settings, then lines, each a digit that selects the field and a value.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};
use libfuzzer_sys::fuzz_target;
use roadrunner_websocket::handshake::{Extension, ServerHandshake};
use roadrunner_websocket::{DeflateConfig, WindowBits};

fuzz_target!(|data: &[u8]| {
    let [settings, windows, lines @ ..] = data else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        let name = HeaderName::from_static(FIELDS[usize::from(*name) % FIELDS.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let bits = |bits: u8| WindowBits::new(8 + bits % 8).expect("in range");
    let config = DeflateConfig {
        server_context_takeover: settings & 1 != 0,
        client_context_takeover: settings & 2 != 0,
        server_window: bits(*windows),
        client_window: bits(windows >> 4),
        ..DeflateConfig::default()
    };
    let handshakes =
        [ServerHandshake::upgrade(&Method::GET, Version::HTTP_11, &headers), ServerHandshake::connect(&headers)];
    for handshake in handshakes {
        match handshake {
            Ok(handshake) => judge(&handshake, &config),
            Err(refusal) => assert!(refusal.status().is_client_error()),
        }
    }
});

fn judge(handshake: &ServerHandshake, config: &DeflateConfig) {
    let params = handshake.deflate(config);
    let protocol = handshake.protocols().last().map(String::as_str);
    let answer = handshake.answer(protocol, params.as_ref()).expect("it was offered");
    let Some(params) = params else {
        assert!(!answer.contains_key("sec-websocket-extensions"));
        return;
    };
    assert!(params.server_max_window_bits > WindowBits::MIN);
    assert!(params.server_max_window_bits <= config.server_window);
    assert!(config.server_context_takeover || params.server_no_context_takeover);
    assert!(config.client_context_takeover || params.client_no_context_takeover);
    let parsed = Extension::parse(answer["sec-websocket-extensions"].as_bytes()).expect("well-formed");
    assert_eq!(parsed.len(), 1);
    // A client that allows everything understands the answer as intended.
    let open =
        DeflateConfig { server_context_takeover: true, client_context_takeover: true, ..DeflateConfig::default() };
    let agreed = open.agree(&parsed[0]).expect("the answer is in order");
    assert_eq!(agreed.server_max_window_bits, params.server_max_window_bits);
    assert_eq!(agreed.client_max_window_bits, params.client_max_window_bits);
    assert_eq!(agreed.server_no_context_takeover, params.server_no_context_takeover);
}

const FIELDS: [&str; 6] = [
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "sec-websocket-key",
    "upgrade",
    "connection",
];
