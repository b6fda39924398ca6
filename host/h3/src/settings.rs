//! SETTINGS (RFC 9114 section 7.2.4).

use bytes::BufMut;

use crate::code::{Code, Fault};
use crate::frame::{self, FrameType};
use crate::varint;

/// The settings that one side sends at the start of a connection. An absent setting has the value of `default()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// SETTINGS_QPACK_MAX_TABLE_CAPACITY (0x01, RFC 9204 section 5), in bytes.
    pub qpack_max_table_capacity: u64,
    /// SETTINGS_QPACK_BLOCKED_STREAMS (0x07, RFC 9204 section 5).
    pub qpack_blocked_streams: u64,
    /// SETTINGS_MAX_FIELD_SECTION_SIZE (0x06), in bytes, including 32 per field. `None` means no limit.
    pub max_field_section_size: Option<u64>,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (0x08, RFC 9220): extended CONNECT may be used. Only a server's has a meaning.
    pub enable_connect_protocol: bool,
    /// SETTINGS_H3_DATAGRAM (0x33, RFC 9297): HTTP datagrams may be sent.
    pub h3_datagram: bool,
    /// SETTINGS_ENABLE_WEBTRANSPORT of draft-ietf-webtrans-http3-02 (0x2b603742), which stock Chromium uses.
    pub webtransport_draft_02: bool,
    /// SETTINGS_WEBTRANSPORT_MAX_SESSIONS of draft-ietf-webtrans-http3-07 (0xc671706a): sessions at a time.
    pub webtransport_max_sessions: u64,
}

/// The most bytes of SETTINGS payload that are read: some 250 settings, where real peers send ten.
pub const MAX_PAYLOAD: u64 = 4096;

impl Settings {
    /// Appends a whole SETTINGS frame, with a reserved identifier to keep the peer honest (section 7.2.4.1).
    ///
    /// `grease` chooses the reserved identifier and its value; any number will do.
    pub fn write_frame(&self, grease: u64, out: &mut impl BufMut) {
        let mut payload = Vec::with_capacity(64);
        let mut put = |id: u64, value: u64| {
            varint::write(id, &mut payload);
            varint::write(value, &mut payload);
        };
        put(QPACK_MAX_TABLE_CAPACITY, self.qpack_max_table_capacity);
        put(QPACK_BLOCKED_STREAMS, self.qpack_blocked_streams);
        if let Some(size) = self.max_field_section_size {
            put(MAX_FIELD_SECTION_SIZE, size);
        }
        if self.enable_connect_protocol {
            put(ENABLE_CONNECT_PROTOCOL, 1);
        }
        if self.h3_datagram {
            put(H3_DATAGRAM, 1);
            // Clients older than RFC 9297, such as Chromium's draft-02 WebTransport, look for the draft's number.
            put(H3_DATAGRAM_DRAFT_04, 1);
        }
        if self.webtransport_draft_02 {
            put(ENABLE_WEBTRANSPORT_DRAFT_02, 1);
        }
        if self.webtransport_max_sessions > 0 {
            put(WEBTRANSPORT_MAX_SESSIONS_DRAFT_07, self.webtransport_max_sessions);
        }
        put(0x1f * (grease % 0x100_0000) + 0x21, grease % 0x100);
        frame::write_header(FrameType::SETTINGS, payload.len() as u64, out);
        out.put_slice(&payload);
    }

    /// Reads the payload of a SETTINGS frame. Unknown settings are ignored.
    ///
    /// # Errors
    /// - `H3_FRAME_ERROR` for a payload that ends inside a setting (section 7.1).
    /// - `H3_SETTINGS_ERROR` for a repeated identifier, an identifier of HTTP/2, and a value out of range (sections
    ///   7.2.4 and 7.2.4.1).
    pub fn read_payload(mut payload: &[u8]) -> Result<Settings, Fault> {
        let error = |reason: String| Fault::connection(Code::SETTINGS_ERROR, reason);
        let mut settings = Settings::default();
        let mut seen: Vec<u64> = Vec::new();
        while !payload.is_empty() {
            let (Some(id), Some(value)) = (varint::read(&mut payload), varint::read(&mut payload)) else {
                return Err(Fault::connection(Code::FRAME_ERROR, "SETTINGS ends inside a setting"));
            };
            // Section 7.2.4: the same identifier MUST NOT occur more than once. The frame is at most MAX_PAYLOAD bytes.
            if seen.contains(&id) {
                return Err(error(format!("setting {id:#x} comes twice")));
            }
            seen.push(id);
            let flag = || match value {
                0 | 1 => Ok(value == 1),
                _ => Err(error(format!("setting {id:#x} is {value}, not 0 or 1"))),
            };
            match id {
                // Sections 7.2.4.1 and 11.2.2.
                0x00 | 0x02..=0x05 => return Err(error(format!("setting {id:#x} is reserved"))),
                QPACK_MAX_TABLE_CAPACITY => settings.qpack_max_table_capacity = value,
                QPACK_BLOCKED_STREAMS => settings.qpack_blocked_streams = value,
                MAX_FIELD_SECTION_SIZE => settings.max_field_section_size = Some(value),
                // RFC 8441 section 3.
                ENABLE_CONNECT_PROTOCOL => settings.enable_connect_protocol = flag()?,
                // RFC 9297 section 2.1.1.
                H3_DATAGRAM => settings.h3_datagram |= flag()?,
                H3_DATAGRAM_DRAFT_04 => settings.h3_datagram |= flag()?,
                ENABLE_WEBTRANSPORT_DRAFT_02 => settings.webtransport_draft_02 = flag()?,
                WEBTRANSPORT_MAX_SESSIONS_DRAFT_07 => settings.webtransport_max_sessions = value,
                _ => {}
            }
        }
        Ok(settings)
    }
}

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const QPACK_BLOCKED_STREAMS: u64 = 0x07;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;
const H3_DATAGRAM_DRAFT_04: u64 = 0xff_d277;
const ENABLE_WEBTRANSPORT_DRAFT_02: u64 = 0x2b60_3742;
const WEBTRANSPORT_MAX_SESSIONS_DRAFT_07: u64 = 0xc671_706a;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(settings: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (id, value) in settings {
            varint::write(*id, &mut bytes);
            varint::write(*value, &mut bytes);
        }
        bytes
    }

    fn code(settings: &[(u64, u64)]) -> Option<Code> {
        Settings::read_payload(&payload(settings)).err().map(|fault| fault.code())
    }

    #[test]
    fn section_7_2_4_duplicates() {
        assert_eq!(code(&[(6, 1), (6, 1)]), Some(Code::SETTINGS_ERROR));
        assert_eq!(code(&[(0x4242, 1), (0x4242, 2)]), Some(Code::SETTINGS_ERROR), "of unknown ones too");
        assert_eq!(code(&[(6, 1), (7, 1)]), None);
    }

    #[test]
    fn section_7_2_4_1_reserved() {
        for id in [0, 2, 3, 4, 5] {
            assert_eq!(code(&[(id, 0)]), Some(Code::SETTINGS_ERROR));
        }
    }

    #[test]
    fn flags_are_zero_or_one() {
        for id in [0x8, 0x33] {
            assert_eq!(code(&[(id, 2)]), Some(Code::SETTINGS_ERROR));
            assert_eq!(code(&[(id, 0)]), None);
        }
    }

    #[test]
    fn section_7_1_truncation() {
        let mut bytes = payload(&[(6, 100_000)]);
        bytes.pop();
        assert_eq!(Settings::read_payload(&bytes).err().map(|fault| fault.code()), Some(Code::FRAME_ERROR));
        assert_eq!(Settings::read_payload(&[6]).err().map(|fault| fault.code()), Some(Code::FRAME_ERROR));
    }

    proptest! {
        #[test]
        fn round_trip(
            numbers in prop::array::uniform4(0..=varint::MAX),
            flags in prop::array::uniform4(any::<bool>()),
            grease: u64,
        ) {
            let settings = Settings {
                qpack_max_table_capacity: numbers[0],
                qpack_blocked_streams: numbers[1],
                max_field_section_size: flags[3].then_some(numbers[2]),
                enable_connect_protocol: flags[0],
                h3_datagram: flags[1],
                webtransport_draft_02: flags[2],
                webtransport_max_sessions: numbers[3],
            };
            let mut frame = Vec::new();
            settings.write_frame(grease, &mut frame);
            let mut input = &frame[..];
            prop_assert_eq!(varint::read(&mut input), Some(4));
            prop_assert_eq!(varint::read(&mut input), Some(input.len() as u64));
            prop_assert_eq!(Settings::read_payload(input), Ok(settings));
        }

        #[test]
        fn hostile_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Settings::read_payload(&bytes);
        }
    }
}
