//! Tracks HTTP/2 frame headers, for budgets and deadlines that h2 does not have. Bytes in, verdicts out.
//!
//! h2 itself counts streams that are reset before they are accepted, and CONTINUATION frames. It answers any number of
//! PINGs and SETTINGS, and reads any number of frames without effect; each costs this side more than the peer. This
//! module does not judge whether a frame is valid: h2 does.

use std::time::{Duration, Instant};

/// Tracks the frames that a client sends.
#[derive(Debug)]
pub(crate) struct Inbound {
    walk: Walk,
    cheap: Budget,
    resets: Budget,
    in_head: bool,
    /// The frame being read ends a field section.
    ends_head: bool,
    settings_seen: bool,
    last_stream: u32,
}

/// A budget is spent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flood;

impl Inbound {
    pub(crate) fn new(cheap_per_second: u32, resets_per_second: u32) -> Inbound {
        Inbound {
            walk: Walk { skip: PREFACE_LENGTH, ..Walk::default() },
            cheap: Budget::new(cheap_per_second),
            resets: Budget::new(resets_per_second),
            in_head: false,
            ends_head: false,
            settings_seen: false,
            last_stream: 0,
        }
    }

    /// Takes the next bytes. `sent` is how many DATA and HEADERS frames this side has sent so far.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], sent: u64) -> Result<(), Flood> {
        while let Some(frame) = self.walk.next(&mut bytes) {
            self.frame(frame, sent)?;
        }
        if self.ends_head && self.walk.is_between_frames() {
            self.in_head = false;
            self.ends_head = false;
        }
        Ok(())
    }

    fn frame(&mut self, frame: FrameHeader, sent: u64) -> Result<(), Flood> {
        if self.ends_head {
            self.in_head = false;
            self.ends_head = false;
        }
        match frame.kind {
            // An empty DATA frame without END_STREAM is the cheapest way to keep a stream busy.
            DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => Ok(()),
            HEADERS | CONTINUATION => {
                self.last_stream = self.last_stream.max(frame.stream);
                self.in_head = true;
                self.ends_head = frame.flags & END_HEADERS != 0;
                Ok(())
            }
            RST_STREAM => self.resets.spend(0),
            SETTINGS => {
                self.settings_seen = true;
                self.cheap.spend(sent)
            }
            _ => self.cheap.spend(sent),
        }
    }

    /// Whether a field section has begun and not ended.
    pub(crate) fn in_head(&self) -> bool {
        self.in_head
    }

    /// Whether the client's first SETTINGS frame has come (RFC 9113, 3.4).
    pub(crate) fn settings_seen(&self) -> bool {
        self.settings_seen
    }

    /// The highest stream that the client has opened.
    pub(crate) fn last_stream(&self) -> u32 {
        self.last_stream
    }
}

/// Tracks the frames that this side sends.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    walk: Walk,
    frames: u64,
}

impl Outbound {
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.walk.next(&mut bytes) {
            // A flood provokes answers to PING and SETTINGS, so these must not add to its budget.
            self.frames += u64::from(matches!(frame.kind, DATA | HEADERS));
        }
    }

    /// The number of DATA and HEADERS frames that were begun.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether a frame of our own could be inserted now.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.walk.is_between_frames()
    }
}

/// Makes a GOAWAY frame (RFC 9113, 6.8) with ENHANCE_YOUR_CALM (RFC 9113, 7).
pub(crate) fn calm_down(last_stream: u32) -> [u8; 17] {
    let mut frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ENHANCE_YOUR_CALM];
    frame[9..13].copy_from_slice(&last_stream.to_be_bytes());
    frame
}

/// Finds frame headers in a byte stream that comes in arbitrary pieces.
#[derive(Debug, Default)]
struct Walk {
    header: [u8; HEADER_LENGTH],
    have: usize,
    /// Bytes before the next header.
    skip: usize,
}

/// A frame header (RFC 9113, 4.1).
struct FrameHeader {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Walk {
    fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = &bytes[skipped..];
        let taken = (HEADER_LENGTH - self.have).min(bytes.len());
        if self.skip > 0 || taken == 0 {
            return None;
        }
        self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        *bytes = &bytes[taken..];
        if self.have < HEADER_LENGTH {
            return None;
        }
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.header;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        self.have = 0;
        self.skip = length;
        Some(FrameHeader { length, kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]) })
    }

    fn is_between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }
}

/// A budget of frames per second, plus two for each DATA or HEADERS frame that this side has sent. The clock is read
/// only when the count runs out.
#[derive(Debug)]
struct Budget {
    per_second: u64,
    spent: u64,
    since: Instant,
    sent_before: u64,
}

impl Budget {
    fn new(per_second: u32) -> Budget {
        Budget { per_second: u64::from(per_second), spent: 0, since: Instant::now(), sent_before: 0 }
    }

    fn spend(&mut self, sent: u64) -> Result<(), Flood> {
        self.spent += 1;
        if self.spent <= self.per_second + 2 * (sent - self.sent_before) {
            return Ok(());
        }
        let now = Instant::now();
        if now.duration_since(self.since) < Duration::from_secs(1) {
            return Err(Flood);
        }
        self.since = now;
        self.spent = 1;
        self.sent_before = sent;
        Ok(())
    }
}

const PREFACE_LENGTH: usize = 24;
const HEADER_LENGTH: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

const ENHANCE_YOUR_CALM: u8 = 0xb;

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: u8 = 0x6;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_state() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[0; 6]));
        bytes.extend(frame(HEADERS, 0, 7, &[1; 20]));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 7, &[1; 3]));
        bytes.extend(frame(DATA, 0, 7, &[9; 300]));
        for step in 1..bytes.len() {
            let mut inbound = Inbound::new(1, 0);
            for piece in bytes.chunks(step) {
                inbound.feed(piece, 0).expect("one SETTINGS frame is within the budget");
            }
            assert!(inbound.settings_seen() && !inbound.in_head() && inbound.walk.is_between_frames(), "{step}");
            assert_eq!(inbound.last_stream(), 7);
        }
    }

    #[test]
    fn a_head_is_open_until_its_last_byte() {
        let mut inbound = Inbound::new(1, 0);
        inbound.feed(PREFACE, 0).expect("no frame yet");
        let headers = frame(HEADERS, END_HEADERS, 1, &[1; 4]);
        inbound.feed(&headers[..12], 0).expect("within budget");
        assert!(inbound.in_head());
        inbound.feed(&headers[12..], 0).expect("within budget");
        assert!(!inbound.in_head());
    }

    #[test]
    fn what_is_sent_earns_more() {
        let mut inbound = Inbound::new(2, 0);
        inbound.feed(PREFACE, 0).expect("no frame yet");
        let ping = frame(PING, 0, 0, &[0; 8]);
        assert_eq!(inbound.feed(&ping, 0), Ok(()));
        assert_eq!(inbound.feed(&ping, 0), Ok(()));
        assert_eq!(inbound.feed(&ping, 0), Err(Flood));
        assert_eq!(inbound.feed(&ping, 1), Ok(()));
    }
}
