//! The receiving stream of permessage-deflate (RFC 7692, 7.2.2).
//!
//! Contract: output grows in steps, and the caller checks each step before the next is made, so that a bomb costs only
//! one step. Steps end at fixed places of the output, so that the checks do not depend on how the input was cut.

use flate2::{Decompress, FlushDecompress, Status};

use super::{TAIL, WindowBits};
use crate::violation::Violation;

/// Inflates the messages of one direction of one session.
pub(crate) struct Inflater {
    /// Allocated with the first compressed message.
    stream: Option<Decompress>,
    window: WindowBits,
    /// Whether messages refer back to earlier ones.
    takeover: bool,
    /// The last block was a final one, and nothing has followed it yet.
    ended: bool,
    /// The output of the last piece is not complete.
    unfinished: bool,
}

/// One step of output.
pub(crate) struct Step<'a> {
    /// The message so far.
    pub message: &'a [u8],
    /// Where this step's bytes begin in it.
    pub start: usize,
    /// The number of compressed bytes that this step took.
    pub consumed: usize,
}

impl Inflater {
    pub fn new((window, takeover): (WindowBits, bool)) -> Self {
        Self { stream: None, window, takeover, ended: false, unfinished: false }
    }

    /// Inflates the next piece of a message onto `message`, which exceeds `limit` by at most one byte: the judge must
    /// fail a message that is longer than the limit. Returns how much of the piece it took. That is not all of it if
    /// `work`, a budget for input and output bytes, is used up; see [`Self::is_unfinished`].
    pub fn push(
        &mut self,
        mut piece: &[u8],
        message: &mut Vec<u8>,
        limit: usize,
        work: &mut usize,
        judge: &mut dyn FnMut(Step<'_>) -> Result<(), Violation>,
    ) -> Result<usize, Violation> {
        let length = piece.len();
        if piece.is_empty() && !self.unfinished {
            return Ok(length);
        }
        self.ended = false;
        self.unfinished = false;
        let stream = self.stream.get_or_insert_with(|| Decompress::new_with_window_bits(false, self.window.zlib()));
        loop {
            if *work == 0 {
                self.unfinished = true;
                return Ok(length - piece.len());
            }
            let start = message.len();
            // To the end of the step or just beyond the limit; for small pieces, clearing a whole step is not
            // worthwhile.
            let room =
                (STEP - start % STEP).min(limit.saturating_add(1) - start).min(piece.len().saturating_mul(8).max(256));
            grow(message, start + room, limit.saturating_add(1));
            message.resize(start + room, 0);
            let (total_in, total_out) = (stream.total_in(), stream.total_out());
            let result = stream.decompress(piece, &mut message[start..], FlushDecompress::Sync);
            // Both fit: no more than the slices' lengths were added.
            let consumed = (stream.total_in() - total_in) as usize;
            let produced = (stream.total_out() - total_out) as usize;
            piece = &piece[consumed..];
            message.truncate(start + produced);
            *work = work.saturating_sub(consumed + produced);
            // The output before an error is checked before the error.
            judge(Step { message, start, consumed })?;
            match result {
                Err(_) => return Err(Violation::Inflate),
                // RFC 7692, 7.2.3.4: a message may contain a final block, and more blocks after it. zlib forgets its
                // window there; the message's own output is given back to it.
                Ok(Status::StreamEnd) => {
                    stream.reset(false);
                    let window = 1 << self.window.zlib();
                    let recent = &message[message.len().saturating_sub(window)..];
                    stream.set_dictionary(recent).map_err(|_| Violation::Inflate)?;
                    if piece.is_empty() {
                        self.ended = true;
                        return Ok(length);
                    }
                }
                Ok(_) if piece.is_empty() && produced < room => return Ok(length),
                Ok(_) if consumed == 0 && produced == 0 => return Err(Violation::Inflate),
                Ok(_) => {}
            }
        }
    }

    /// Ends a message.
    pub fn finish(
        &mut self,
        message: &mut Vec<u8>,
        limit: usize,
        judge: &mut dyn FnMut(Step<'_>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        // RFC 7692, 7.2.2: the sender left these four bytes out. After a final block they would begin a new block.
        if !self.ended {
            // All output is out by now, so there is no work left.
            let mut work = usize::MAX;
            self.push(&TAIL, message, limit, &mut work, judge)?;
        }
        if !self.takeover
            && let Some(stream) = &mut self.stream
        {
            stream.reset(false);
        }
        Ok(())
    }

    /// Whether more output comes, even without input, once there is work to spend.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Frees the stream if the next message does not need it. Must not be called inside a message.
    pub fn release(&mut self) {
        if !self.takeover {
            self.stream = None;
        }
    }

    /// An estimate of the bytes held.
    pub fn memory(&self) -> usize {
        self.stream.as_ref().map_or(0, |_| Self::COST)
    }

    /// An estimate of the bytes that a stream holds once it is used: zlib-rs allocates the largest window in any case,
    /// and Huffman tables, as measured in `tests/memory.rs`.
    pub const COST: usize = 47 << 10;
}

/// Grows by doubling, but not beyond the most that can be needed.
fn grow(message: &mut Vec<u8>, needed: usize, most: usize) {
    if needed > message.capacity() {
        let capacity = (2 * message.capacity()).clamp(needed, most.max(needed));
        message.reserve_exact(capacity - message.len());
    }
}

/// The distance between two checks, in bytes of output.
pub(crate) const STEP: usize = 16 << 10;
