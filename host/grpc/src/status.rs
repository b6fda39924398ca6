//! A status as fields and as bytes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::code::Code;
use crate::protocol::Protocol;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The most bytes of a message before it is encoded.
const MAX_MESSAGE: usize = 1 << 10;

/// The bytes of a message that are encoded: all but those from space to tilde, and the percent sign
/// (PROTOCOL-HTTP2.md, Status-Message). Bytes that are not ASCII always are.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The end of a frame's header in gRPC-Web: a frame with this flag has trailer fields (PROTOCOL-WEB.md).
const TRAILERS: u8 = 0x80;

/// The code and the message in which a call ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text for the caller.
    pub message: Cow<'static, str>,
}

impl Status {
    /// Makes a status.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The fields of an answer that is over with its head (PROTOCOL-HTTP2.md, Trailers-Only). The status of the answer
    /// is 200.
    pub fn head(&self, protocol: &Protocol) -> HeaderMap {
        let mut fields = self.trailers();
        fields.insert(header::CONTENT_TYPE, protocol.content_type().clone());
        fields
    }

    /// The trailer fields of an answer.
    pub fn trailers(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(3);
        fields.insert(STATUS, HeaderValue::from(u16::from(self.code.number())));
        if !self.message.is_empty() {
            fields.insert(MESSAGE, encoded(&self.message));
        }
        fields
    }

    /// The last bytes of a body, for a protocol that has its trailer fields there.
    pub fn in_body(&self, protocol: &Protocol) -> Option<Bytes> {
        if protocol.is_grpc() {
            return None;
        }
        let mut fields = format!("grpc-status: {}\r\n", self.code).into_bytes();
        if !self.message.is_empty() {
            fields.extend_from_slice(b"grpc-message: ");
            fields.extend_from_slice(encoded(&self.message).as_bytes());
            fields.extend_from_slice(b"\r\n");
        }
        let length = u32::try_from(fields.len()).expect("a message is at most three times its limit of 1 KiB");
        let mut frame = vec![TRAILERS];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.append(&mut fields);
        Some(if protocol.is_text() { BASE64_STANDARD.encode(frame).into() } else { frame.into() })
    }
}

/// The code in the fields of a head or in trailer fields; none if they have none.
pub fn status_of(fields: &HeaderMap) -> Option<Code> {
    let value = fields.get(&STATUS)?;
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).map_or(Code::Unknown, Code::of))
}

fn encoded(message: &str) -> HeaderValue {
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    HeaderValue::from_str(&percent_encode(message.as_bytes(), ENCODED).to_string())
        .expect("printable ASCII is a valid value")
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn protocol(value: &'static str) -> Protocol {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
        Protocol::of(&headers).expect("a protocol")
    }

    #[test]
    fn a_head_has_the_status_and_the_content_type() {
        let head = Status::new(Code::Internal, "50 % lost\n").head(&protocol("application/grpc+proto"));
        assert_eq!(head["content-type"], "application/grpc+proto");
        assert_eq!(head["grpc-status"], "13");
        assert_eq!(head["grpc-message"], "50 %25 lost%0A");
        assert_eq!(status_of(&head), Some(Code::Internal));
    }

    #[test]
    fn success_has_no_message() {
        let trailers = Status::new(Code::Ok, "").trailers();
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers["grpc-status"], "0");
    }

    #[test]
    fn a_body_of_the_web_ends_with_its_trailers() {
        let status = Status::new(Code::Internal, "lost");
        let frame = status.in_body(&protocol("application/grpc-web+proto")).expect("a frame");
        assert_eq!(&frame[..], b"\x80\0\0\0\x25grpc-status: 13\r\ngrpc-message: lost\r\n");
        let text = status.in_body(&protocol("application/grpc-web-text")).expect("a frame");
        assert_eq!(BASE64_STANDARD.decode(text).expect("base64"), frame);
        assert_eq!(status.in_body(&protocol("application/grpc")), None);
    }

    #[test]
    fn a_status_that_is_no_number_is_unknown() {
        for (value, code) in
            [("0", Code::Ok), ("7", Code::PermissionDenied), ("99", Code::Unknown), ("x", Code::Unknown)]
        {
            let fields = HeaderMap::from_iter([(STATUS, HeaderValue::from_static(value))]);
            assert_eq!(status_of(&fields), Some(code), "{value}");
        }
        assert_eq!(status_of(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn a_message_comes_back(message in "\\PC{0,200}") {
            let value = encoded(&message);
            let text = value.to_str().expect("ASCII");
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(percent_decode_str(text).decode_utf8().expect("UTF-8"), message);
        }

        #[test]
        fn a_long_message_is_cut_between_characters(message in "[a-zä€]{0,3000}") {
            let value = encoded(&message);
            let decoded = percent_decode_str(value.to_str().expect("ASCII")).decode_utf8().expect("UTF-8").into_owned();
            prop_assert!(decoded.len() <= MAX_MESSAGE && message.starts_with(&decoded));
        }
    }
}
