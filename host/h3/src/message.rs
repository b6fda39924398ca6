//! The frames of one request stream, as a state machine: bytes in; field sections and body data out.
//!
//! It enforces the order of frames (RFC 9114 section 4.1), the limit on a HEADERS frame before any of it is kept, and
//! the agreement of `content-length` with DATA (section 4.1.2). It does not decode QPACK.

use bytes::{Bytes, BytesMut};

use crate::code::{Code, Fault};
use crate::frame::{FrameParser, FrameType, Piece};

/// A result of [`MessageReader::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Some of the body; never empty.
    Data(Bytes),
    /// The encoded field section at the front of the message.
    Headers(Bytes),
    /// A HEADERS frame whose declared length is over the limit; neither it nor anything after it is read.
    TooLarge {
        /// The declared length, in bytes.
        length: u64,
    },
    /// The encoded field section at the end of the message.
    Trailers(Bytes),
    /// The stream is not a message: it belongs to a WebTransport session. The following bytes are the session's, and
    /// must not be given to [`MessageReader::next`].
    WebTransport {
        /// The stream of the session's CONNECT.
        session: u64,
    },
}

/// Reads one message.
#[derive(Clone, Debug)]
pub struct MessageReader {
    frames: FrameParser,
    phase: Phase,
    max_section: u64,
    /// The section being collected; never more than `max_section` bytes.
    section: Option<BytesMut>,
    content_length: Option<u64>,
    received: u64,
    webtransport: bool,
    /// No frame has come yet.
    untouched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Headers,
    Body,
    /// After a successful CONNECT, where only DATA is allowed (section 4.4).
    Tunnel,
    Ended,
    /// Abandoned: all bytes are dropped.
    Rejected,
}

impl MessageReader {
    /// Makes a reader that takes HEADERS frames of up to `max_section` bytes.
    pub fn new(max_section: u64) -> MessageReader {
        MessageReader {
            frames: FrameParser::default(),
            phase: Phase::Headers,
            max_section,
            section: None,
            content_length: None,
            received: 0,
            webtransport: false,
            untouched: true,
        }
    }

    /// Notes that WebTransport was offered: the stream may turn out to belong to a session.
    pub fn allow_webtransport(&mut self) {
        self.webtransport = true;
    }

    /// Sets the length that DATA must add up to, from the head of the message.
    pub fn expect_length(&mut self, content_length: u64) {
        self.content_length = Some(content_length);
    }

    /// Notes that the message is a CONNECT: only DATA and unknown frames may follow.
    pub fn become_tunnel(&mut self) {
        self.phase = Phase::Tunnel;
    }

    /// Takes an event from the front of `input`. `None` when it needs more, and then `input` is empty.
    ///
    /// # Errors
    /// `H3_FRAME_UNEXPECTED` for a frame out of order or out of place; `H3_MESSAGE_ERROR` for more DATA than announced.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Event>, Fault> {
        while let Some(piece) = self.frames.next(input) {
            match piece {
                Piece::Begin { kind, length } => {
                    if let Some(event) = self.begin(kind, length)? {
                        return Ok(Some(event));
                    }
                }
                Piece::Payload(bytes) => match &mut self.section {
                    Some(section) => section.extend_from_slice(&bytes),
                    None => return Ok(Some(Event::Data(bytes))),
                },
                Piece::End => {
                    if let Some(section) = self.section.take() {
                        let section = section.freeze();
                        return Ok(Some(match self.phase {
                            Phase::Headers => {
                                self.phase = Phase::Body;
                                Event::Headers(section)
                            }
                            _ => {
                                self.phase = Phase::Ended;
                                Event::Trailers(section)
                            }
                        }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Checks that the stream may end here.
    ///
    /// # Errors
    /// - `H3_FRAME_ERROR`, for the connection, inside a frame (section 7.1).
    /// - `H3_REQUEST_INCOMPLETE` before the head is complete (section 4.1).
    /// - `H3_MESSAGE_ERROR` for less DATA than announced (section 4.1.2).
    pub fn finish(&self) -> Result<(), Fault> {
        self.frames.finish()?;
        match self.phase {
            Phase::Headers => Err(Fault::stream(Code::REQUEST_INCOMPLETE, "the stream ends before HEADERS")),
            Phase::Body | Phase::Ended if self.content_length.is_some_and(|length| length != self.received) => {
                Err(Fault::malformed("the body is shorter than content-length"))
            }
            _ => Ok(()),
        }
    }

    /// The length that DATA must add up to, if the head announced one.
    pub fn announced(&self) -> Option<u64> {
        self.content_length
    }

    fn begin(&mut self, kind: FrameType, length: u64) -> Result<Option<Event>, Fault> {
        let unexpected = |reason: &str| Err(Fault::connection(Code::FRAME_UNEXPECTED, reason));
        if self.phase == Phase::Rejected {
            self.frames.skip();
            return Ok(None);
        }
        let untouched = std::mem::replace(&mut self.untouched, false);
        match kind {
            // draft-ietf-webtrans-http3-02 section 4.2: the signal has no length; the session is in its place.
            FrameType::WEBTRANSPORT_STREAM if self.webtransport && untouched => {
                Ok(Some(Event::WebTransport { session: length }))
            }
            FrameType::WEBTRANSPORT_STREAM if self.webtransport => {
                Err(Fault::connection(Code::FRAME_ERROR, "WEBTRANSPORT_STREAM inside a message"))
            }
            FrameType::DATA => match self.phase {
                // Section 4.1: a DATA frame before any HEADERS frame, or after the trailers.
                Phase::Headers => unexpected("DATA before HEADERS"),
                Phase::Ended => unexpected("DATA after the trailers"),
                _ => {
                    self.received = self.received.saturating_add(length);
                    match self.content_length {
                        Some(expected) if self.received > expected => {
                            Err(Fault::malformed("the body is longer than content-length"))
                        }
                        _ => Ok(None),
                    }
                }
            },
            FrameType::HEADERS => match self.phase {
                Phase::Ended => unexpected("HEADERS after the trailers"),
                // Section 4.4: known frames other than DATA.
                Phase::Tunnel => unexpected("HEADERS in a tunnel"),
                _ if length > self.max_section => {
                    self.phase = Phase::Rejected;
                    self.frames.skip();
                    Ok(Some(Event::TooLarge { length }))
                }
                _ => {
                    // Not reserved at once: a client that declares a large section and sends little should cost little.
                    self.section = Some(BytesMut::new());
                    Ok(None)
                }
            },
            // Section 4.8: unknown frames may come anywhere, even between the parts of a message.
            kind if kind.is_unknown() => {
                self.frames.skip();
                Ok(None)
            }
            // Section 7.2: the table of allowed frames; section 7.2.8: the frame types of HTTP/2.
            FrameType::PUSH_PROMISE => unexpected("PUSH_PROMISE from a client"),
            kind => unexpected(&format!("frame type {:#x} on a request stream", kind.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::write_header;
    use proptest::prelude::*;

    const HEADERS: u64 = 1;
    const DATA: u64 = 0;

    fn frames(frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, payload) in frames {
            write_header(FrameType(*kind), payload.len() as u64, &mut bytes);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    /// Returns all events, with adjacent data joined, or the fault.
    fn read(mut reader: MessageReader, pieces: &[&[u8]]) -> Result<Vec<Event>, Fault> {
        let mut events = Vec::new();
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = reader.next(&mut input)? {
                match (events.last_mut(), event) {
                    (Some(Event::Data(before)), Event::Data(data)) => *before = [&before[..], &data].concat().into(),
                    (_, event) => events.push(event),
                }
            }
        }
        reader.finish().map(|()| events)
    }

    fn outcome(list: &[(u64, &[u8])]) -> Result<Vec<Event>, Code> {
        read(MessageReader::new(100), &[&frames(list)]).map_err(|fault| fault.code())
    }

    fn with_length(length: u64, list: &[(u64, &[u8])]) -> Option<Code> {
        let mut reader = MessageReader::new(100);
        reader.expect_length(length);
        read(reader, &[&frames(list)]).err().map(|fault| fault.code())
    }

    #[test]
    fn section_4_1_a_whole_message() {
        let list: [(u64, &[u8]); 6] =
            [(HEADERS, b"h"), (0x21, b"grease"), (DATA, b"a"), (DATA, b""), (DATA, b"b"), (HEADERS, b"t")];
        let (headers, data, trailers) = (Bytes::from("h"), Bytes::from("ab"), Bytes::from("t"));
        assert_eq!(outcome(&list), Ok(vec![Event::Headers(headers), Event::Data(data), Event::Trailers(trailers)]));
    }

    #[test]
    fn section_4_1_frames_out_of_order() {
        for list in [
            &[(DATA, &b"a"[..])][..],
            &[(HEADERS, b"h"), (HEADERS, b"t"), (DATA, b"a")],
            &[(HEADERS, b"h"), (HEADERS, b"t"), (HEADERS, b"t")],
        ] {
            assert_eq!(outcome(list), Err(Code::FRAME_UNEXPECTED));
        }
    }

    #[test]
    fn section_7_2_frames_that_are_never_allowed_here() {
        for kind in [0x3, 0x4, 0x5, 0x7, 0xd, 0x2, 0x6, 0x8, 0x9, 0xf0700, 0xf0701] {
            assert_eq!(outcome(&[(HEADERS, b"h"), (kind, b"\0")]), Err(Code::FRAME_UNEXPECTED), "{kind:#x}");
        }
    }

    #[test]
    fn section_4_1_incomplete() {
        assert_eq!(outcome(&[]), Err(Code::REQUEST_INCOMPLETE));
        assert_eq!(outcome(&[(0x21, b"x")]), Err(Code::REQUEST_INCOMPLETE));
        let whole = frames(&[(HEADERS, b"h"), (DATA, b"data")]);
        for end in 1..whole.len() {
            let read = read(MessageReader::new(100), &[&whole[..end]]).map_err(|fault| fault.code());
            // At byte 3, HEADERS is complete and DATA has not begun.
            let expected = if end == 3 { None } else { Some(Code::FRAME_ERROR) };
            assert_eq!(read.err(), expected, "section 7.1, cut at {end}");
        }
    }

    #[test]
    fn section_4_1_2_content_length() {
        assert_eq!(with_length(2, &[(HEADERS, b"h"), (DATA, b"a"), (DATA, b"b")]), None);
        assert_eq!(with_length(2, &[(HEADERS, b"h"), (DATA, b"a"), (HEADERS, b"t")]), Some(Code::MESSAGE_ERROR));
        assert_eq!(with_length(2, &[(HEADERS, b"h"), (DATA, b"abc")]), Some(Code::MESSAGE_ERROR));
        assert_eq!(with_length(2, &[(HEADERS, b"h")]), Some(Code::MESSAGE_ERROR));
        assert_eq!(with_length(0, &[(HEADERS, b"h")]), None);
    }

    #[test]
    fn section_4_2_2_a_large_section_is_refused_by_its_length() {
        let mut bytes = Vec::new();
        write_header(FrameType::HEADERS, 1 << 40, &mut bytes);
        bytes.extend_from_slice(&[0; 5000]);
        let mut reader = MessageReader::new(100);
        let mut input = Bytes::from(bytes);
        assert_eq!(reader.next(&mut input), Ok(Some(Event::TooLarge { length: 1 << 40 })));
        assert_eq!(reader.next(&mut input), Ok(None));
        assert!(reader.section.is_none());
    }

    #[test]
    fn section_4_4_a_tunnel_has_no_headers() {
        let mut reader = MessageReader::new(100);
        reader.become_tunnel();
        let fault = read(reader, &[&frames(&[(DATA, b"a"), (0x21, b""), (HEADERS, b"t")])]);
        assert_eq!(fault.err().map(|fault| fault.code()), Some(Code::FRAME_UNEXPECTED));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_message(
            list in prop::collection::vec((prop_oneof![Just(0u64), Just(1), Just(0x21), Just(4), 0u64..16], prop::collection::vec(any::<u8>(), 0..120)), 0..6),
            step in 1usize..40,
        ) {
            let list: Vec<(u64, &[u8])> = list.iter().map(|(kind, payload)| (*kind, &payload[..])).collect();
            let bytes = frames(&list);
            let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
            prop_assert_eq!(read(MessageReader::new(100), &pieces), read(MessageReader::new(100), &[&bytes]));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..40) {
            let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
            prop_assert_eq!(read(MessageReader::new(50), &pieces), read(MessageReader::new(50), &[&bytes]));
        }
    }
}
