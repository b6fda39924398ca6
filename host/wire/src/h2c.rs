//! Switches from an HTTP/1.1 request with `Upgrade: h2c` to HTTP/2 (RFC 7540, 3.2; RFC 9113, 3.1 has made it obsolete,
//! but clients still ask for it). hyper does not support it. So the HTTP/1 side answers 101 and gives its socket back.
//! An HTTP/2 connection on that socket then gets the request as if the client had sent it there: as the HEADERS frame
//! of stream 1, inserted after the client's first SETTINGS. Bytes in, bytes out.
//!
//! `HTTP2-Settings` is checked and then ignored: the preface repeats the client's settings, and nothing is sent on a
//! stream before that (RFC 7540, 3.2.1).
//!
//! # Not covered
//!
//! Requests with a body, and those whose head does not fit into one frame, stay on HTTP/1.1: a server is free to ignore
//! `Upgrade`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, Request, Version, header};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;

/// Where a connection's HTTP/1 side leaves an upgrade that it has granted. Only connections that may switch to HTTP/2
/// have one.
#[derive(Debug)]
pub(crate) struct Doorway {
    /// Most bytes of the request as an HTTP/2 field section.
    max_section: usize,
    granted: Mutex<Option<Granted>>,
}

/// An upgrade that was answered with 101.
#[derive(Debug)]
pub(crate) struct Granted {
    /// Resolves to the socket when the answer was sent.
    pub(crate) socket: OnUpgrade,
    /// The request, as a HEADERS frame.
    pub(crate) request: Vec<u8>,
}

impl Doorway {
    pub(crate) fn new(max_section: u32) -> Doorway {
        Doorway { max_section: max_section as usize, granted: Mutex::new(None) }
    }

    /// Grants the upgrade if this validated request asks for one and is allowed one.
    pub(crate) fn grant(&self, request: &mut Request<impl Body>) -> bool {
        if !asks(request) {
            return false;
        }
        let Some(frame) = headers_frame(request, self.max_section) else {
            return false;
        };
        let Some(socket) = request.extensions_mut().remove::<OnUpgrade>() else {
            return false;
        };
        *self.granted.lock() = Some(Granted { socket, request: frame });
        true
    }

    pub(crate) fn take(&self) -> Option<Granted> {
        self.granted.lock().take()
    }
}

/// Whether the request asks for an upgrade (RFC 7540, 3.2 and 3.2.1).
fn asks(request: &Request<impl Body>) -> bool {
    let headers = request.headers();
    if !headers.contains_key(header::UPGRADE) || request.version() != Version::HTTP_11 {
        return false;
    }
    let mut settings = headers.get_all(HTTP2_SETTINGS).iter();
    let (Some(payload), None) = (settings.next(), settings.next()) else {
        return false;
    };
    request.body().is_end_stream()
        && lists(headers, &header::UPGRADE, "h2c")
        && lists(headers, &header::CONNECTION, "upgrade")
        && lists(headers, &header::CONNECTION, HTTP2_SETTINGS.as_str())
        && URL_SAFE_NO_PAD.decode(payload.as_bytes()).is_ok_and(|payload| payload.len() % SETTING == 0)
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    options(headers, name).any(|option| option.eq_ignore_ascii_case(wanted))
}

fn options<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Encodes the request as a single HEADERS frame of stream 1, with END_STREAM; `None` if it is too large. Its fields
/// are literals without indexing (RFC 7541, 6.2.2), so that both sides' tables stay in step.
fn headers_frame(request: &Request<impl Body>, max_section: usize) -> Option<Vec<u8>> {
    let headers = request.headers();
    let authority = headers.get(header::HOST)?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut section = Section { bytes: vec![0; HEADER_LENGTH], size: 0 };
    section.field(":method", request.method().as_str().as_bytes());
    section.field(":scheme", b"http");
    section.field(":authority", authority.as_bytes());
    section.field(":path", target.as_bytes());
    for (name, value) in headers {
        if !is_of_the_connection(name, headers) {
            section.field(name.as_str(), value.as_bytes());
        }
    }
    let Section { mut bytes, size } = section;
    let length = bytes.len() - HEADER_LENGTH;
    if size > max_section || length > LARGEST_FRAME {
        return None;
    }
    // RFC 9113, 4.1; the check above shows that `length` fits into three bytes.
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    bytes[..HEADER_LENGTH].copy_from_slice(&[l0, l1, l2, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 1]);
    Some(bytes)
}

/// Whether a field is left out: it is connection-specific (RFC 9113, 8.2.2), `Connection` names it (RFC 9110, 7.6.1),
/// it is `Host`, which has become `:authority`, or it is `Expect`, since there is no body.
fn is_of_the_connection(name: &HeaderName, headers: &HeaderMap) -> bool {
    const NEVER: [HeaderName; 9] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::HOST,
        HTTP2_SETTINGS,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    NEVER.contains(name)
        || lists(headers, &header::CONNECTION, name.as_str())
        || *name == header::TE && !headers.get_all(name).iter().all(|value| value == "trailers")
}

struct Section {
    bytes: Vec<u8>,
    /// The size, counted as for SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113, 6.5.2).
    size: usize,
}

impl Section {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.bytes.push(0);
        for text in [name.as_bytes(), value] {
            self.length(text.len());
            self.bytes.extend_from_slice(text);
        }
        self.size += name.len() + value.len() + 32;
    }

    /// Writes a length (RFC 7541, 5.1, with a prefix of seven bits).
    fn length(&mut self, length: usize) {
        const MOST: usize = 0x7f;
        if length < MOST {
            return self.bytes.push(length as u8);
        }
        self.bytes.push(MOST as u8);
        let mut rest = length - MOST;
        while rest >= 0x80 {
            self.bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }
}

/// Inserts a frame into the client's bytes, after its preface and its first frame.
#[derive(Debug)]
pub(crate) struct Injection {
    stage: Stage,
    frame: Vec<u8>,
    /// Bytes that have come and may not pass yet.
    pub(crate) waiting: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// This many bytes of the preface are still to come.
    Preface(usize),
    /// The first frame's header, as far as it has come.
    Header([u8; HEADER_LENGTH], usize),
    /// This many bytes of its payload are still to come.
    Payload(usize),
    /// The frame is due, from this byte on.
    Due(usize),
}

impl Injection {
    /// Makes an injection; `waiting` holds the bytes that the client has already sent.
    pub(crate) fn new(frame: Vec<u8>, waiting: Vec<u8>) -> Injection {
        Injection { stage: Stage::Preface(PREFACE_LENGTH), frame, waiting }
    }

    /// Takes the client's next bytes, and returns how many of them may pass before the frame.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let left = bytes.len() - at;
            match &mut self.stage {
                Stage::Preface(0) => self.stage = Stage::Header([0; HEADER_LENGTH], 0),
                Stage::Header([l0, l1, l2, ..], HEADER_LENGTH) => {
                    self.stage = Stage::Payload(u32::from_be_bytes([0, *l0, *l1, *l2]) as usize);
                }
                Stage::Payload(0) => self.stage = Stage::Due(0),
                Stage::Due(_) => return at,
                _ if left == 0 => return at,
                Stage::Preface(missing) | Stage::Payload(missing) => {
                    let taken = left.min(*missing);
                    *missing -= taken;
                    at += taken;
                }
                Stage::Header(header, have) => {
                    header[*have] = bytes[at];
                    *have += 1;
                    at += 1;
                }
            }
        }
    }

    /// Returns the next bytes of the frame, at most `most`, if the frame is due.
    pub(crate) fn due(&mut self, most: usize) -> Option<&[u8]> {
        let Stage::Due(from) = &mut self.stage else {
            return None;
        };
        let piece = &self.frame[*from..];
        let piece = &piece[..piece.len().min(most)];
        *from += piece.len();
        Some(piece)
    }

    /// Whether the frame has passed.
    pub(crate) fn has_passed(&self) -> bool {
        matches!(self.stage, Stage::Due(from) if from == self.frame.len())
    }
}

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The size of one setting in bytes (RFC 9113, 6.5.1).
const SETTING: usize = 6;

/// The length of the preface (RFC 9113, 3.4).
const PREFACE_LENGTH: usize = 24;

/// The length of a frame header (RFC 9113, 4.1 and 4.2).
const HEADER_LENGTH: usize = 9;
const LARGEST_FRAME: usize = 16_384;

const HEADERS: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestBody;

    fn request(fields: &[(&str, &str)], body: RequestBody) -> Request<RequestBody> {
        let mut builder = Request::builder().uri("/a?b").header("host", "example.com:80");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(body).expect("a request")
    }

    const GOOD: [(&str, &str); 3] = [
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "websocket, H2C"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
    ];

    #[test]
    fn who_may_upgrade() {
        let may = |fields: &[(&str, &str)]| asks(&request(fields, RequestBody::empty()));
        assert!(may(&GOOD));
        assert!(may(&[GOOD[0], GOOD[1], ("http2-settings", "")]), "no settings are settings too");
        for (missing, _) in GOOD {
            let rest: Vec<_> = GOOD.into_iter().filter(|(name, _)| *name != missing).collect();
            assert!(!may(&rest), "without {missing}");
        }
        assert!(!may(&[GOOD[0], GOOD[1], GOOD[2], GOOD[2]]), "two HTTP2-Settings");
        assert!(!may(&[("connection", "upgrade"), GOOD[1], GOOD[2]]));
        assert!(!may(&[GOOD[0], ("upgrade", "h2"), GOOD[2]]));
        for payload in ["AAMAAABk=", "AAMAAAB", "AAMAAABkAAQAAP//", "AAMAAABkAAQ", "!"] {
            assert!(!may(&[GOOD[0], GOOD[1], ("http2-settings", payload)]), "{payload}");
        }
        assert!(!asks(&request(&GOOD, RequestBody::from_bytes("body".into()))));
        let mut old = request(&GOOD, RequestBody::empty());
        *old.version_mut() = Version::HTTP_10;
        assert!(!asks(&old));
    }

    #[test]
    fn the_request_becomes_a_frame() {
        let long = "v".repeat(300);
        let more = [("te", "trailers"), ("x-hop", "1"), ("x", &*long), ("connection", "x-hop")];
        let frame = headers_frame(&request(&[&GOOD[..], &more].concat(), RequestBody::empty()), 16_384)
            .expect("it is small enough");
        let length = u8::try_from(frame.len() - 9 - 256).expect("between 256 and 511 bytes");
        assert_eq!(frame[..9], [0, 1, length, HEADERS, 5, 0, 0, 0, 1]);
        let text = String::from_utf8_lossy(&frame);
        for part in ["\0\x07:method\x03GET", "\0\x05:path\x04/a?b", "\0\x0a:authority\x0eexample.com:80", "trailers"] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        // 300 = 127 + 173, and 173 = 0x2d + 1 * 128.
        assert!(frame.windows(6).any(|bytes| bytes == [0, 1, b'x', 0x7f, 0xad, 0x01]));
        for part in ["upgrade", "settings", "x-hop", "host\x0e"] {
            assert!(!text.contains(part), "{part} in {text:?}");
        }
        assert!(headers_frame(&request(&[("x", &*long)], RequestBody::empty()), 300).is_none());
        let huge = "v".repeat(LARGEST_FRAME);
        assert!(headers_frame(&request(&[("x", &*huge)], RequestBody::empty()), 1 << 20).is_none());
    }

    #[test]
    fn the_frame_follows_the_first_one_in_any_pieces() {
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        sent.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
        let border = sent.len();
        sent.extend(b"what follows");
        for step in 1..=sent.len() {
            let mut injection = Injection::new(b"FRAME".to_vec(), Vec::new());
            let mut passed = 0;
            for piece in sent.chunks(step) {
                let taken = injection.feed(piece);
                passed += taken;
                if taken < piece.len() {
                    break;
                }
            }
            assert_eq!(passed, border, "by {step}");
            assert_eq!(injection.due(2), Some(&b"FR"[..]));
            assert_eq!(injection.due(9), Some(&b"AME"[..]));
            assert!(injection.has_passed());
        }
        let mut injection = Injection::new(b"FRAME".to_vec(), Vec::new());
        assert_eq!(injection.feed(&sent[..border - 1]), border - 1);
        assert_eq!(injection.due(9), None);
    }
}
