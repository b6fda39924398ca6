//! The client's control stream (RFC 9114 section 6.2.1), as a state machine: bytes in, events out.

use bytes::{Bytes, BytesMut};

use crate::code::{Code, Fault};
use crate::frame::{FrameParser, FrameType, Piece};
use crate::settings::{self, Settings};
use crate::varint;

/// An event on the client's control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// The client will accept no push at or above this identifier; it intends to leave (section 5.2).
    GoAway {
        /// Push identifier.
        push_id: u64,
    },
    /// The first frame.
    Settings(Settings),
}

/// Reads a client's control stream, for a server that never pushes.
#[derive(Clone, Debug, Default)]
pub struct ControlReader {
    frames: FrameParser,
    frame: Option<FrameType>,
    /// The payload of the frame being collected; at most [`settings::MAX_PAYLOAD`] bytes.
    payload: BytesMut,
    settings_seen: bool,
    max_push_id: Option<u64>,
    goaway: Option<u64>,
}

/// The most bytes of a PRIORITY_UPDATE: an identifier and a handful of parameters (RFC 9218 section 7).
const MAX_PRIORITY_UPDATE: u64 = 1024;

impl ControlReader {
    /// Takes an event from the front of `input`. `None` when it needs more, and then `input` is empty.
    ///
    /// # Errors
    /// Always for the connection: `H3_MISSING_SETTINGS`, `H3_FRAME_UNEXPECTED`, `H3_FRAME_ERROR`, `H3_ID_ERROR`,
    /// `H3_SETTINGS_ERROR`, `H3_EXCESSIVE_LOAD`.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<ControlEvent>, Fault> {
        while let Some(piece) = self.frames.next(input) {
            match piece {
                Piece::Begin { kind, length } => self.begin(kind, length)?,
                Piece::Payload(bytes) => self.payload.extend_from_slice(&bytes),
                Piece::End => {
                    if let Some(event) = self.end()? {
                        return Ok(Some(event));
                    }
                }
            }
        }
        Ok(None)
    }

    fn begin(&mut self, kind: FrameType, length: u64) -> Result<(), Fault> {
        let unexpected = |reason: &str| Err(Fault::connection(Code::FRAME_UNEXPECTED, reason));
        self.frame = Some(kind);
        if !self.settings_seen && kind != FrameType::SETTINGS {
            // Section 6.2.1.
            return Err(Fault::connection(Code::MISSING_SETTINGS, "the control stream does not begin with SETTINGS"));
        }
        match kind {
            FrameType::SETTINGS if self.settings_seen => unexpected("a second SETTINGS frame"),
            FrameType::SETTINGS => {
                self.settings_seen = true;
                within(length, settings::MAX_PAYLOAD)
            }
            FrameType::PRIORITY_UPDATE_REQUEST | FrameType::PRIORITY_UPDATE_PUSH => within(length, MAX_PRIORITY_UPDATE),
            // Section 7.1: exactly one integer.
            FrameType::CANCEL_PUSH | FrameType::GOAWAY | FrameType::MAX_PUSH_ID if !(1..=8).contains(&length) => {
                Err(Fault::connection(Code::FRAME_ERROR, "a frame of one identifier has another length"))
            }
            FrameType::CANCEL_PUSH | FrameType::GOAWAY | FrameType::MAX_PUSH_ID => Ok(()),
            kind if kind.is_unknown() => {
                self.frames.skip();
                self.frame = None;
                Ok(())
            }
            // Sections 7.2.1, 7.2.2, 7.2.5 and 7.2.8.
            kind => unexpected(&format!("frame type {:#x} on the control stream", kind.0)),
        }
    }

    fn end(&mut self) -> Result<Option<ControlEvent>, Fault> {
        let payload = self.payload.split().freeze();
        let identifier_error = |reason| Err(Fault::connection(Code::ID_ERROR, reason));
        match self.frame.take() {
            Some(FrameType::SETTINGS) => Settings::read_payload(&payload).map(ControlEvent::Settings).map(Some),
            Some(FrameType::GOAWAY) => {
                let push_id = only(&payload)?;
                // Section 5.2: identifiers of GOAWAY never grow.
                if self.goaway.is_some_and(|before| push_id > before) {
                    return identifier_error("GOAWAY with a larger identifier than before");
                }
                self.goaway = Some(push_id);
                Ok(Some(ControlEvent::GoAway { push_id }))
            }
            Some(FrameType::MAX_PUSH_ID) => {
                let push_id = only(&payload)?;
                // Section 7.2.7.
                if self.max_push_id.is_some_and(|before| push_id < before) {
                    return identifier_error("MAX_PUSH_ID shrinks");
                }
                self.max_push_id = Some(push_id);
                Ok(None)
            }
            Some(FrameType::CANCEL_PUSH) => {
                only(&payload)?;
                // Section 7.2.3: no push was ever promised.
                identifier_error("CANCEL_PUSH of a push that was not promised")
            }
            Some(FrameType::PRIORITY_UPDATE_REQUEST) => match varint::read(&mut &payload[..]) {
                None => Err(Fault::connection(Code::FRAME_ERROR, "PRIORITY_UPDATE without an identifier")),
                // RFC 9218 section 7.2: it must name a stream that a client can open for a request.
                Some(stream) if stream % 4 != 0 => identifier_error("PRIORITY_UPDATE for what is no request stream"),
                // Priorities are hints, and this server serves requests in the order of arrival.
                Some(_) => Ok(None),
            },
            Some(FrameType::PRIORITY_UPDATE_PUSH) => match varint::read(&mut &payload[..]) {
                None => Err(Fault::connection(Code::FRAME_ERROR, "PRIORITY_UPDATE without an identifier")),
                // RFC 9218 section 7.2: a push that was not promised.
                Some(_) => identifier_error("PRIORITY_UPDATE for a push that was not promised"),
            },
            _ => Ok(None),
        }
    }
}

/// Checks a declared length before any of it is kept.
fn within(length: u64, maximum: u64) -> Result<(), Fault> {
    match length > maximum {
        true => {
            Err(Fault::connection(Code::EXCESSIVE_LOAD, format!("a frame of {length} bytes on the control stream")))
        }
        false => Ok(()),
    }
}

/// Section 7.1: bytes after the last field of a frame are an error.
fn only(mut payload: &[u8]) -> Result<u64, Fault> {
    match varint::read(&mut payload) {
        Some(value) if payload.is_empty() => Ok(value),
        _ => Err(Fault::connection(Code::FRAME_ERROR, "a frame of one identifier has another length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::write_header;
    use proptest::prelude::*;

    const SETTINGS: (u64, &[u8]) = (4, &[]);

    fn frames(frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, payload) in frames {
            write_header(FrameType(*kind), payload.len() as u64, &mut bytes);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<ControlEvent>, Fault> {
        let mut reader = ControlReader::default();
        let mut events = Vec::new();
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = reader.next(&mut input)? {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn code(list: &[(u64, &[u8])]) -> Option<Code> {
        read(&[&frames(list)]).err().map(|fault| fault.code())
    }

    #[test]
    fn section_6_2_1_settings_come_first_and_once() {
        for kind in [0, 1, 7, 0xd, 0x21] {
            assert_eq!(code(&[(kind, &[0])]), Some(Code::MISSING_SETTINGS), "{kind:#x}");
        }
        assert_eq!(code(&[SETTINGS, (0x21, b"x"), SETTINGS]), Some(Code::FRAME_UNEXPECTED));
        assert_eq!(read(&[&frames(&[SETTINGS])]), Ok(vec![ControlEvent::Settings(Settings::default())]));
    }

    #[test]
    fn section_7_2_frames_that_are_never_allowed_here() {
        for kind in [0, 1, 5, 2, 6, 8, 9] {
            assert_eq!(code(&[SETTINGS, (kind, &[0])]), Some(Code::FRAME_UNEXPECTED), "{kind:#x}");
        }
    }

    #[test]
    fn section_5_2_goaway_never_grows() {
        assert_eq!(code(&[SETTINGS, (7, &[4]), (7, &[4]), (7, &[0])]), None);
        assert_eq!(code(&[SETTINGS, (7, &[4]), (7, &[5])]), Some(Code::ID_ERROR));
    }

    #[test]
    fn section_7_2_7_max_push_id_never_shrinks() {
        assert_eq!(code(&[SETTINGS, (0xd, &[4]), (0xd, &[5])]), None);
        assert_eq!(code(&[SETTINGS, (0xd, &[5]), (0xd, &[4])]), Some(Code::ID_ERROR));
    }

    #[test]
    fn section_7_2_3_cancel_push_of_nothing() {
        assert_eq!(code(&[SETTINGS, (3, &[0])]), Some(Code::ID_ERROR));
    }

    #[test]
    fn section_7_1_lengths() {
        for kind in [3, 7, 0xd] {
            for payload in [&b""[..], &[0, 0], &[0x40], &[0; 9]] {
                assert_eq!(code(&[SETTINGS, (kind, payload)]), Some(Code::FRAME_ERROR), "{kind:#x} {payload:?}");
            }
        }
    }

    #[test]
    fn rfc_9218_section_7_2_priority_updates() {
        assert_eq!(code(&[SETTINGS, (0xf0700, b"\x04u=1")]), None);
        assert_eq!(code(&[SETTINGS, (0xf0700, b"\x03u=1")]), Some(Code::ID_ERROR));
        assert_eq!(code(&[SETTINGS, (0xf0700, b"")]), Some(Code::FRAME_ERROR));
        assert_eq!(code(&[SETTINGS, (0xf0701, b"\0u=1")]), Some(Code::ID_ERROR));
    }

    #[test]
    fn lengths_are_refused_before_the_bytes_come() {
        for (before, kind) in [(&[][..], 4), (&[SETTINGS][..], 0xf0700)] {
            let mut bytes = frames(before);
            write_header(FrameType(kind), 1 << 40, &mut bytes);
            assert_eq!(read(&[&bytes]).err().map(|fault| fault.code()), Some(Code::EXCESSIVE_LOAD));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_split_anywhere(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..40) {
            let bytes = [&frames(&[SETTINGS])[..], &bytes].concat();
            let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
            prop_assert_eq!(read(&pieces), read(&[&bytes]));
        }
    }
}
