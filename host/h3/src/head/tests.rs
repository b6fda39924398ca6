//! One test per rule, named after its section in RFC 9114.

use super::*;
use proptest::prelude::*;

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
const WEBSOCKET: [(&str, &str); 5] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "a.example"),
    (":path", "/chat"),
];

fn field(name: &[u8], value: &[u8]) -> Field {
    Field { name: Bytes::copy_from_slice(name), value: Bytes::copy_from_slice(value), never_indexed: false }
}

fn fields(list: &[(&str, &str)]) -> Vec<Field> {
    list.iter().map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect()
}

fn request(list: &[(&str, &str)]) -> Result<RequestHead, Fault> {
    read_request(fields(list), true)
}

/// GET with more fields.
fn get(more: &[(&str, &str)]) -> Result<RequestHead, Fault> {
    request(&[&GET, more].concat())
}

/// GET with one pseudo-header field left out or replaced.
fn changed(name: &str, value: Option<&str>) -> Result<RequestHead, Fault> {
    let list: Vec<_> = GET
        .into_iter()
        .filter_map(|(key, old)| if key == name { value.map(|value| (key, value)) } else { Some((key, old)) })
        .collect();
    request(&list)
}

#[track_caller]
fn malformed(result: Result<RequestHead, Fault>, reason: &str) {
    assert_eq!(result.err(), Some(Fault::Stream { code: crate::Code::MESSAGE_ERROR, reason: leak(reason) }));
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

#[test]
fn a_request() {
    let head = get(&[("accept", "*/*"), ("x", ""), ("te", "trailers"), ("content-length", "5")]).expect("it is good");
    assert_eq!(head.method, Method::GET);
    assert_eq!(head.uri, "https://a.example/");
    assert_eq!(head.headers.len(), 4);
    assert_eq!((head.content_length, head.protocol), (Some(5), None));
}

#[test]
fn section_4_2_upper_case_names() {
    malformed(get(&[("Accept", "*/*")]), "a field name in upper case");
    malformed(request(&[(":Method", "GET")]), "an unknown pseudo-header field");
}

#[test]
fn section_4_2_names_are_tokens() {
    for name in ["", "a b", "a:", "a\n", "caf\u{e9}", "a\0", "a/b"] {
        malformed(get(&[(name, "x")]), "a field name is not a token");
    }
}

#[test]
fn section_4_2_connection_specific_fields() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        malformed(get(&[(name, "x")]), "a field that belongs to a connection");
    }
}

#[test]
fn section_4_2_te() {
    assert!(get(&[("te", "trailers")]).is_ok());
    for value in ["gzip", "trailers, gzip", "", "trailers;q=1"] {
        malformed(get(&[("te", value)]), "te other than trailers");
    }
}

#[test]
fn section_4_2_1_cookie_crumbs_are_joined() {
    let head = get(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]).expect("it is good");
    assert_eq!(head.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
}

#[test]
fn section_4_3_pseudo_header_fields_come_first() {
    let list = [("accept", "*/*"), (":method", "GET")];
    malformed(request(&list), "a pseudo-header field after a regular one");
    malformed(get(&[("accept", "*/*"), (":path", "/")]), "a pseudo-header field after a regular one");
}

#[test]
fn section_4_3_unknown_pseudo_header_fields() {
    malformed(get(&[(":foo", "x")]), "an unknown pseudo-header field");
    malformed(get(&[(":", "x")]), "an unknown pseudo-header field");
    malformed(get(&[(":status", "200")]), ":status in a request");
}

#[test]
fn section_4_3_none_in_trailers() {
    for name in [":path", ":status", ":x"] {
        assert!(read_trailers(fields(&[("a", "b"), (name, "/")])).is_err(), "{name}");
    }
    assert_eq!(read_trailers(fields(&[("a", "b")])).map(|trailers| trailers.len()), Ok(1));
}

#[test]
fn section_4_2_holds_for_trailers() {
    for (name, value) in [("A", "b"), ("connection", "close"), ("a", " b"), ("a", "b\n"), ("a b", "c")] {
        assert!(read_trailers(fields(&[(name, value)])).is_err(), "{name}");
    }
}

#[test]
fn section_4_3_1_each_is_needed_once() {
    for (name, value) in GET {
        malformed(get(&[(name, value)]), "a pseudo-header field comes twice");
    }
    malformed(changed(":method", None), "there is no :method");
    malformed(changed(":scheme", None), "there is no :scheme");
    malformed(changed(":path", None), "there is no :path");
    malformed(changed(":authority", None), "there is neither :authority nor host");
}

#[test]
fn section_4_3_1_authority_and_host() {
    let list: Vec<_> = GET.into_iter().filter(|(name, _)| *name != ":authority").chain([("host", "b:1")]).collect();
    assert_eq!(request(&list).expect("host is enough").uri, "https://b:1/");
    assert!(get(&[("host", "A.Example")]).is_ok());
    malformed(get(&[("host", "b")]), ":authority and host contradict each other");
    malformed(get(&[("host", "")]), "host is not a host and a port");
    malformed(get(&[("host", "a.example"), ("host", "a.example")]), "host comes twice");
    for bad in ["", "user@a", "a b", "a/b", "a:b", "a:123456", "[::1", "a,b\u{e9}", "a\0"] {
        malformed(changed(":authority", Some(bad)), ":authority is not a host and a port");
    }
    for good in ["a:1", "[::1]:80", "127.0.0.1"] {
        assert!(changed(":authority", Some(good)).is_ok(), "{good}");
    }
}

#[test]
fn section_4_3_1_path() {
    for bad in ["", "a", "*", "/a b", "/a#b", "https://a.example/", "/\r\n", "/\0"] {
        malformed(changed(":path", Some(bad)), ":path is not a path");
    }
    assert_eq!(changed(":path", Some("/a?b=c&d")).expect("it is good").uri.query(), Some("b=c&d"));
    let options = [(":method", "OPTIONS"), (":scheme", "https"), (":authority", "a"), (":path", "*")];
    assert_eq!(request(&options).expect("it is good").uri.path(), "*");
}

#[test]
fn section_4_3_1_method_and_scheme() {
    for bad in ["", "G T", "GET\n", "G\u{e9}T"] {
        malformed(changed(":method", Some(bad)), ":method is not a token");
    }
    for bad in ["", "ht tp", "1http\n"] {
        malformed(changed(":scheme", Some(bad)), ":scheme is not a scheme");
    }
}

#[test]
fn section_4_4_connect() {
    let head = request(&[(":method", "CONNECT"), (":authority", "a:443")]).expect("it is good");
    assert_eq!((head.method, head.uri.to_string()), (Method::CONNECT, "a:443".to_owned()));
    malformed(request(&[(":method", "CONNECT")]), "CONNECT without :authority");
    malformed(request(&[(":method", "CONNECT"), (":authority", "a")]), "CONNECT without a port");
    for more in [(":scheme", "https"), (":path", "/")] {
        malformed(request(&[(":method", "CONNECT"), (":authority", "a:1"), more]), "CONNECT with :scheme or :path");
    }
}

#[test]
fn rfc_9220_section_3_extended_connect() {
    let head = request(&WEBSOCKET).expect("it is good");
    assert_eq!(head.protocol.map(|protocol| protocol.to_string()), Some("websocket".to_owned()));
    assert_eq!(head.uri, "https://a.example/chat");
    malformed(read_request(fields(&WEBSOCKET), false), ":protocol was not offered");
    malformed(get(&[(":protocol", "websocket")]), ":protocol without CONNECT");
    for missing in [":scheme", ":path", ":authority"] {
        let list: Vec<_> = WEBSOCKET.into_iter().filter(|(name, _)| *name != missing).collect();
        assert!(request(&list).is_err(), "{missing}");
    }
    let list: Vec<_> = WEBSOCKET.map(|(name, value)| (name, if name == ":protocol" { "a b" } else { value })).to_vec();
    malformed(request(&list), ":protocol is not a token");
}

#[test]
fn section_10_3_values() {
    for value in ["a\rb", "a\nb", "a\0b", "a\x01", "\x7f"] {
        malformed(get(&[("x", value)]), "a field value with control bytes");
    }
    for value in [" a", "a ", "\ta", "a\t", " "] {
        malformed(get(&[("x", value)]), "space around a field value");
    }
    assert!(read_request([fields(&GET), vec![field(b"x", b"a\tb \xff")]].concat(), true).is_ok());
}

#[test]
fn section_4_1_2_content_length() {
    for value in ["", "+5", "-1", "0x5", "5, 5", "5 5", "\u{665}"] {
        malformed(get(&[("content-length", value)]), "content-length is not a number");
    }
    malformed(get(&[("content-length", "99999999999999999999")]), "content-length is too large");
    malformed(get(&[("content-length", "5"), ("content-length", "5")]), "content-length comes twice");
}

#[test]
fn section_4_2_responses_lose_what_belongs_to_a_connection() {
    let mut headers = HeaderMap::new();
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "server"] {
        headers.insert(name, HeaderValue::from_static("x"));
    }
    let status = StatusCode::NO_CONTENT;
    let names: Vec<_> = response_fields(&status, &headers).map(|field| field.name.to_vec()).collect();
    assert_eq!(names, [b":status".to_vec(), b"server".to_vec()]);
}

proptest! {
    #[test]
    fn hostile_fields_never_panic(
        list in prop::collection::vec(
            ("(:(method|path|scheme|authority|protocol)|host|cookie|te|content-length|[ -~]{0,8})",
             prop::collection::vec(any::<u8>(), 0..12)), 0..12),
        good in any::<bool>(),
    ) {
        let hostile: Vec<Field> = list.iter().map(|(name, value)| field(name.as_bytes(), value)).collect();
        let list = if good { [fields(&GET), hostile].concat() } else { hostile };
        if let Ok(head) = read_request(list, true) {
            for (name, value) in &head.headers {
                prop_assert!(!name.as_str().bytes().any(|byte| byte.is_ascii_uppercase()));
                prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
            prop_assert!(head.uri.authority().is_some());
        }
    }
}
