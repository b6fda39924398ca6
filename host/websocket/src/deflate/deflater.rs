//! The sending stream of permessage-deflate (RFC 7692, 7.2.1).

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, FlushCompress};

use super::{Level, TAIL, WindowBits};

/// Compresses the messages of one direction of one session.
pub(crate) struct Deflater {
    /// Allocated with the first compressed message.
    stream: Option<Compress>,
    level: Level,
    window: WindowBits,
    /// Whether messages refer back to earlier ones.
    takeover: bool,
}

impl Deflater {
    /// Makes a deflater; `None` for a window that zlib cannot compress with.
    pub fn new(level: Level, (window, takeover): (WindowBits, bool)) -> Option<Self> {
        let usable = window > WindowBits::MIN;
        usable.then_some(Self { stream: None, level, window, takeover })
    }

    /// Whether the next message can be decompressed without this one.
    pub fn forgets(&self) -> bool {
        !self.takeover
    }

    /// Appends a message's compressed form, without its tail.
    pub fn compress(&mut self, payload: &[u8], out: &mut BytesMut) {
        if payload.is_empty() {
            // RFC 7692, 7.2.3.6: an empty block, which zlib would not write twice in a row.
            out.put_u8(0x00);
            return;
        }
        self.piece(payload, true, out);
    }

    /// Appends the compressed form of a part of a message, which is not empty; the message's tail is left out. The
    /// output is the same however a message is cut.
    pub fn piece(&mut self, mut payload: &[u8], last: bool, out: &mut BytesMut) {
        let stream = self.stream.get_or_insert_with(|| {
            let level = Compression::new(self.level.get().into());
            Compress::new_with_window_bits(level, false, self.window.get())
        });
        let flush = if last { FlushCompress::Sync } else { FlushCompress::None };
        // Mostly enough for all of it; more is made as needed.
        let mut room = payload.len() / 2 + 64;
        loop {
            let start = out.len();
            out.resize(start + room, 0);
            let (total_in, total_out) = (stream.total_in(), stream.total_out());
            let result = stream.compress(payload, &mut out[start..], flush);
            // Both fit: no more than the slices' lengths were added.
            let consumed = (stream.total_in() - total_in) as usize;
            let produced = (stream.total_out() - total_out) as usize;
            payload = &payload[consumed..];
            out.truncate(start + produced);
            debug_assert!(result.is_ok(), "a deflate stream that is not finished cannot fail");
            // Remaining room means that all input was taken, and the flush is complete.
            if produced < room {
                break;
            }
            room = (payload.len() / 2).max(4096);
        }
        debug_assert!(payload.is_empty());
        if !last {
            return;
        }
        debug_assert!(out.ends_with(&TAIL));
        // RFC 7692, 7.2.1: the flush ends in an empty block, whose last four bytes are left out.
        out.truncate(out.len() - TAIL.len());
        if !self.takeover {
            stream.reset();
        }
    }

    /// Frees the stream if the next message does not need it.
    pub fn release(&mut self) {
        if !self.takeover {
            self.stream = None;
        }
    }

    /// An estimate of the bytes held.
    pub fn memory(&self) -> usize {
        self.stream.as_ref().map_or(0, |_| Self::cost(self.window))
    }

    /// An estimate of the bytes that a stream holds once it is used.
    pub fn cost(window: WindowBits) -> usize {
        // The window twice, as many two-byte links, and the hash heads and symbol buffers, which do not depend on it.
        (4 << window.zlib()) + STATE
    }
}

/// The bytes that zlib-rs allocates for any window: hash heads, symbol buffers, state, as measured in
/// `tests/memory.rs`.
const STATE: usize = 244 << 10;
