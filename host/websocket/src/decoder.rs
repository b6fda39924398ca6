//! Decodes bytes to events: frames, fragments, inflation and UTF-8 (RFC 6455, 5 and 8.1; RFC 7692, 7.2.2).
//!
//! | in | out |
//! |---|---|
//! | the last frame of a message | `Frame::Message` |
//! | a control frame | `Frame::Ping`, `Frame::Pong`, `Frame::Close` |
//! | anything wrong | the `Violation`, from then on |
//!
//! Contract: the same bytes give the same events, however they are cut; items that are complete before a violation come
//! out before it. Sizes are checked on the header, before any memory is used for them. A message in one frame that is
//! whole in the input is returned without a copy or an allocation; a larger one is gathered as it arrives.
//!
//! Not covered: answering pings and close frames, rates and deadlines, which belong to `crate::session`.

use bytes::{Buf, Bytes, BytesMut};

use crate::close::{self, CloseFrame};
use crate::config::{Limits, Role};
use crate::deflate::{DeflateParams, Inflater, STEP, Step};
use crate::frame::{Context, Header, Opcode};
use crate::mask;
use crate::message::{Message, Text};
use crate::utf8::Utf8Validator;
use crate::violation::Violation;

/// An item from the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A close frame; `None` when it is empty. Nothing is decoded after it (RFC 6455, 5.5.1).
    Close(Option<CloseFrame>),
    /// A complete message.
    Message(Message),
    /// A ping, whose payload its pong repeats (RFC 6455, 5.5.3).
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
}

/// Decodes the bytes of one peer.
pub struct Decoder {
    limits: Limits,
    /// Whether the peer is a client.
    masked: bool,
    input: BytesMut,
    /// The size of the input's allocation as last seen: its capacity shrinks with each frame that leaves.
    allocated: usize,
    /// The frame whose header was read and whose payload was not.
    frame: Option<OpenFrame>,
    message: Option<OpenMessage>,
    inflater: Option<Inflater>,
    /// How many bytes may be inflated before [`Self::allow`] is called again; input and output both count.
    work: usize,
    end: End,
}

enum End {
    Open,
    Closed,
    Failed(Violation),
}

struct OpenFrame {
    header: Header,
    /// The part of the payload that has left the input.
    taken: u64,
    /// The part of the payload in the input that has been unmasked and checked.
    judged: usize,
}

struct OpenMessage {
    text: bool,
    compressed: bool,
    /// The bytes gathered so far; a message that is returned without a copy never gets here.
    gathered: Vec<u8>,
    utf8: Utf8Validator,
    frames: u32,
    /// The cost of the frames so far, each continuation at least [`CONTINUATION_CHARGE`].
    charged: u64,
    /// Compressed bytes that have been inflated.
    inflated_from: u64,
}

impl Decoder {
    /// Makes a decoder for the side `role`, and thus for the bytes of the other side.
    pub fn new(role: Role, limits: Limits, deflate: Option<&DeflateParams>) -> Self {
        Self {
            limits,
            masked: role == Role::Server,
            input: BytesMut::new(),
            allocated: 0,
            frame: None,
            message: None,
            inflater: deflate.map(|params| Inflater::new(params.receiving(role))),
            work: usize::MAX,
            end: End::Open,
        }
    }

    /// Takes bytes from the peer.
    pub fn feed(&mut self, bytes: &[u8]) {
        if matches!(self.end, End::Open) {
            self.input.extend_from_slice(bytes);
        }
    }

    /// The buffer to read into, with room for `room` more bytes: append the peer's bytes and change nothing else.
    pub fn read_buffer(&mut self, room: usize) -> &mut BytesMut {
        self.input.reserve(room);
        &mut self.input
    }

    /// The number of bytes not yet decoded. Only small incomplete frames stay here.
    pub fn buffered(&self) -> usize {
        self.input.len()
    }

    /// Returns the next event. `None` when it needs more bytes, and after a close frame.
    pub fn decode(&mut self) -> Result<Option<Frame>, Violation> {
        match self.end {
            End::Open => {}
            End::Closed => {
                self.drop_input();
                return Ok(None);
            }
            End::Failed(violation) => return Err(violation),
        }
        self.allocated = self.allocated.max(self.input.capacity());
        let decoded = self.advance();
        match &decoded {
            Ok(Some(Frame::Close(_))) => self.stop(End::Closed),
            Err(violation) => self.stop(End::Failed(*violation)),
            Ok(_) => {}
        }
        decoded
    }

    /// Lets `work` bytes be inflated before [`Self::decode`] stops in the middle of a message; input and output both
    /// count. Without this call there is no such bound.
    pub fn allow(&mut self, work: usize) {
        self.work = work;
    }

    /// Whether [`Self::decode`] has stopped for this reason; it can continue without more bytes.
    pub fn is_spent(&self) -> bool {
        self.inflater.as_ref().is_some_and(Inflater::is_unfinished)
    }

    /// Frees memory that an idle session does not need: an empty input, and an inflater that keeps no context.
    pub fn release(&mut self) {
        if self.input.is_empty() {
            self.drop_input();
        }
        if self.message.is_none()
            && let Some(inflater) = &mut self.inflater
        {
            inflater.release();
        }
    }

    /// Stops decoding and frees all memory; bytes fed from now on are dropped.
    pub fn discard(&mut self) {
        if matches!(self.end, End::Open) {
            self.stop(End::Closed);
        }
    }

    /// An estimate of the bytes held, besides the decoder itself.
    pub fn memory(&self) -> usize {
        self.allocated.max(self.input.capacity())
            + self.message.as_ref().map_or(0, |message| message.gathered.capacity())
            + self.inflater.as_ref().map_or(0, Inflater::memory)
    }

    fn drop_input(&mut self) {
        self.input = BytesMut::new();
        self.allocated = 0;
    }

    fn stop(&mut self, end: End) {
        self.end = end;
        self.drop_input();
        self.frame = None;
        self.message = None;
        self.inflater = None;
    }

    fn advance(&mut self) -> Result<Option<Frame>, Violation> {
        loop {
            let Some(frame) = &self.frame else {
                match self.read_header()? {
                    Some(frame) => self.frame = Some(frame),
                    None => return Ok(None),
                }
                continue;
            };
            if frame.header.opcode.is_control() {
                return self.read_control(frame.header);
            }
            if !self.read_data()? {
                return Ok(None);
            }
            let fin = self.frame.take().is_some_and(|frame| frame.header.fin);
            if fin && let Some(message) = self.message.take() {
                return self.finish(message).map(|message| Some(Frame::Message(message)));
            }
        }
    }

    fn read_header(&mut self) -> Result<Option<OpenFrame>, Violation> {
        let context =
            Context { masked: self.masked, deflate: self.inflater.is_some(), in_message: self.message.is_some() };
        let Some((header, used)) = Header::parse(&self.input, context)? else {
            return Ok(None);
        };
        if !header.opcode.is_control() {
            self.admit(&header)?;
        }
        self.input.advance(used);
        Ok(Some(OpenFrame { header, taken: 0, judged: 0 }))
    }

    /// Checks a data frame by its header, and opens the message that it begins.
    fn admit(&mut self, header: &Header) -> Result<(), Violation> {
        let limits = &self.limits;
        if header.length > limits.frame_size {
            return Err(Violation::FrameTooLarge { length: header.length, limit: limits.frame_size });
        }
        let charge = match header.opcode {
            Opcode::Continuation => header.length.max(CONTINUATION_CHARGE),
            _ => header.length,
        };
        let message = self.message.get_or_insert_with(|| OpenMessage {
            text: header.opcode == Opcode::Text,
            compressed: header.rsv1,
            gathered: Vec::new(),
            utf8: Utf8Validator::default(),
            frames: 0,
            charged: 0,
            inflated_from: 0,
        });
        message.frames += 1;
        if message.frames > limits.fragments {
            return Err(Violation::Fragments { limit: limits.fragments });
        }
        message.charged = message.charged.saturating_add(charge);
        let most = match message.compressed {
            // Incompressible data grows a little when compressed, and still inflates to no more than the limit.
            true => (limits.message_size as u64).saturating_mul(2).saturating_add(COMPRESSED_SLACK),
            false => limits.message_size as u64,
        };
        if message.charged > most {
            return Err(Violation::MessageTooLarge { limit: limits.message_size });
        }
        Ok(())
    }

    fn read_control(&mut self, header: Header) -> Result<Option<Frame>, Violation> {
        // At most 125, as the header's parser has checked.
        let length = header.length as usize;
        if self.input.len() < length {
            return Ok(None);
        }
        self.frame = None;
        if let Some(key) = header.mask {
            mask::apply(&mut self.input[..length], key, 0);
        }
        let payload = self.input.split_to(length).freeze();
        Ok(Some(match header.opcode {
            Opcode::Ping => Frame::Ping(payload),
            Opcode::Pong => Frame::Pong(payload),
            _ => Frame::Close(close::parse(payload)?),
        }))
    }

    /// Takes the available part of a data frame's payload. Returns true when the payload is complete; it is then either
    /// gathered, or still in the input, whole.
    fn read_data(&mut self) -> Result<bool, Violation> {
        let (Some(frame), Some(message)) = (&mut self.frame, &mut self.message) else {
            return Ok(false);
        };
        let left = frame.header.length - frame.taken;
        let available = usize::try_from(left).map_or(self.input.len(), |left| left.min(self.input.len()));
        let complete = available as u64 == left;

        let new = &mut self.input[frame.judged..available];
        if let Some(key) = frame.header.mask {
            mask::apply(new, key, frame.taken + frame.judged as u64);
        }
        if message.compressed {
            if let Some(inflater) = &mut self.inflater {
                let limits = &self.limits;
                let OpenMessage { gathered, utf8, inflated_from, text, .. } = message;
                let piece = &self.input[..available];
                let taken = inflater.push(piece, gathered, limits.message_size, &mut self.work, &mut |step| {
                    judge(step, limits, inflated_from, text.then_some(&mut *utf8))
                })?;
                if inflater.is_unfinished() {
                    self.input.advance(taken);
                    frame.taken += taken as u64;
                    frame.judged = available - taken;
                    return Ok(false);
                }
            }
        } else {
            if message.text {
                message.utf8.push(new).map_err(|_| Violation::InvalidUtf8)?;
            }
            let alone = frame.header.fin && message.frames == 1 && frame.taken == 0;
            if alone && (complete || frame.header.length <= HOLD) {
                frame.judged = available;
                return Ok(complete);
            }
            // The check of the header bounds the announced length; memory grows only with the bytes that arrive.
            let most = message.gathered.len().saturating_add(usize::try_from(left).unwrap_or(available));
            gather(&mut message.gathered, &self.input[..available], most);
        }
        self.input.advance(available);
        frame.taken += available as u64;
        frame.judged = 0;
        Ok(complete)
    }

    fn finish(&mut self, mut message: OpenMessage) -> Result<Message, Violation> {
        let payload = if message.compressed {
            if let Some(inflater) = &mut self.inflater {
                let limits = &self.limits;
                let OpenMessage { gathered, utf8, inflated_from, text, .. } = &mut message;
                inflater.finish(gathered, limits.message_size, &mut |step| {
                    judge(step, limits, inflated_from, text.then_some(&mut *utf8))
                })?;
                check_ratio(gathered.len(), *inflated_from, limits)?;
            }
            message.gathered.into()
        } else if message.frames == 1 && message.gathered.is_empty() {
            // All of it is at the start of the input; the charge of a single frame is its length.
            self.input.split_to(message.charged as usize).freeze()
        } else {
            message.gathered.into()
        };
        if !message.text {
            return Ok(Message::Binary(payload));
        }
        message.utf8.finish().map_err(|_| Violation::InvalidUtf8)?;
        Ok(Message::Text(Text::from_validated(payload)))
    }
}

/// Checks the newly inflated bytes: first as text, then by size, then by ratio.
fn judge(
    step: Step<'_>,
    limits: &Limits,
    inflated_from: &mut u64,
    utf8: Option<&mut Utf8Validator>,
) -> Result<(), Violation> {
    *inflated_from += step.consumed as u64;
    let length = step.message.len();
    // The single byte beyond the limit only shows that there is more.
    let new = &step.message[step.start..length.min(limits.message_size).max(step.start)];
    if let Some(utf8) = utf8 {
        utf8.push(new).map_err(|_| Violation::InvalidUtf8)?;
    }
    if length > limits.message_size {
        return Err(Violation::MessageTooLarge { limit: limits.message_size });
    }
    if length.is_multiple_of(STEP) && length > step.start {
        check_ratio(length, *inflated_from, limits)?;
    }
    Ok(())
}

fn check_ratio(length: usize, from: u64, limits: &Limits) -> Result<(), Violation> {
    if let Some(limit) = limits.compression_ratio
        && length > limits.compression_floor
        && length as u64 / u64::from(limit.get()) > from
    {
        return Err(Violation::CompressionRatio { limit: limit.get() });
    }
    Ok(())
}

/// Appends, growing by doubling but not beyond `most`, the message's size as far as it is known.
fn gather(gathered: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let needed = gathered.len() + bytes.len();
    if needed > gathered.capacity() {
        let capacity = (2 * gathered.capacity()).max(FIRST_GATHERING).min(most).max(needed);
        gathered.reserve_exact(capacity - gathered.len());
    }
    gathered.extend_from_slice(bytes);
}

/// The least cost of a continuation frame, in bytes of the message's limit.
const CONTINUATION_CHARGE: u64 = 64;

/// The compressed bytes that a message may have beyond twice the message's limit, so that small limits are usable at
/// all.
const COMPRESSED_SLACK: u64 = 1024;

/// The largest payload that waits in the input until it is complete, in bytes; larger ones are gathered as they arrive.
const HOLD: u64 = 16 << 10;

const FIRST_GATHERING: usize = 32 << 10;
