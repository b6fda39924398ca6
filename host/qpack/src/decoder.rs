//! The decoding half: the peer's encoder stream and field sections in, fields and decoder instructions out.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::dynamic_table::{DynamicTable, Entry};
use crate::error::{Error, ErrorCode, Reason};
use crate::field::{FIELD_OVERHEAD, Field};
use crate::huffman;
use crate::instruction::{DecoderInstruction, EncoderInstruction, InsertName, Reassembly};
use crate::line::{Line, Name, Reference};
use crate::prefix::{SectionPrefix, max_entries};
use crate::reader::{ReadError, Reader};
use crate::static_table;
use crate::string::StringLiteral;

/// The limits that this side advertises and enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderConfig {
    /// SETTINGS_QPACK_MAX_TABLE_CAPACITY (0x01): the most bytes the peer may use for its entries, each counted as
    /// name + value + 32. Zero turns the dynamic table off.
    ///
    /// # Defaults
    /// 4096.
    pub max_table_capacity: u64,
    /// SETTINGS_QPACK_BLOCKED_STREAMS (0x07): how many streams may wait for entries at once. The caller holds the
    /// encoded section of each for as long as the peer pleases.
    ///
    /// # Defaults
    ///
    /// 16.
    pub max_blocked_streams: u64,
    /// SETTINGS_MAX_FIELD_SECTION_SIZE (0x06): the most bytes of one decoded section, each field counted as name +
    /// value + 32. A larger section is checked to its end but not kept.
    ///
    /// # Defaults
    ///
    /// 65536.
    pub max_field_section_size: u64,
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self { max_table_capacity: 4096, max_blocked_streams: 16, max_field_section_size: 65_536 }
    }
}

/// The outcome of [`Decoder::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The section refers to entries that have not arrived. Keep its bytes and decode them again once
    /// [`Decoder::on_encoder_stream`] names the stream.
    Blocked {
        /// The Insert Count at which the section can be decoded.
        required_insert_count: u64,
    },
    /// The fields, in their order.
    Fields(Vec<Field>),
    /// The section is valid but larger than [`DecoderConfig::max_field_section_size`]. It is acknowledged like any
    /// other, and the connection lives on: answer 431, or reset the stream.
    TooLarge {
        /// The size of the whole section in bytes, including 32 per field.
        size: u64,
    },
}

/// Decodes the peer's field sections on one connection.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    table: DynamicTable,
    encoder_stream: Reassembly,
    /// Required Insert Count by blocked stream.
    blocked: BTreeMap<u64, u64>,
    /// Instructions to send, without a possible Insert Count Increment after them.
    instructions: Vec<u8>,
    /// The Insert Count that the peer will know once it has read `instructions`.
    reported: u64,
}

/// The most bytes of decoder instructions that may wait to be sent: some 20 000 acknowledgments, far more than a peer
/// that reads its decoder stream ever leaves.
const MAX_BACKLOG: usize = 64 * 1024;

impl Decoder {
    /// Makes a decoder with an empty table.
    pub fn new(config: DecoderConfig) -> Self {
        Self {
            config,
            table: DynamicTable::default(),
            encoder_stream: Reassembly::default(),
            blocked: BTreeMap::new(),
            instructions: Vec::new(),
            reported: 0,
        }
    }

    /// Takes bytes of the peer's encoder stream, split anywhere, and returns the streams that they unblock, oldest
    /// requirement first.
    ///
    /// # Errors
    /// `QPACK_ENCODER_STREAM_ERROR` for an instruction that is malformed or breaks a limit.
    pub fn on_encoder_stream(&mut self, bytes: &[u8]) -> Result<Vec<u64>, Error> {
        let Self { config, table, encoder_stream, .. } = self;
        encoder_stream
            .feed(bytes, |reader| {
                let instruction = EncoderInstruction::read(reader, table.capacity())?;
                apply(instruction, table, config.max_table_capacity).map_err(ReadError::Invalid)
            })
            .map_err(|reason| Error::new(ErrorCode::EncoderStreamError, reason))?;
        Ok(self.unblock())
    }

    /// Decodes one field section of a stream.
    ///
    /// Sections of one stream must come in order, each only after the previous one is decoded.
    ///
    /// # Errors
    /// `QPACK_DECOMPRESSION_FAILED` for a section that is malformed, refers to entries it may not, or blocks one stream
    /// more than advertised; `H3_EXCESSIVE_LOAD` when the acknowledgments of earlier sections were never taken.
    pub fn decode(&mut self, stream_id: u64, section: &[u8]) -> Result<Decoded, Error> {
        self.check_backlog()?;
        self.decode_section(stream_id, section).map_err(|reason| Error::new(ErrorCode::DecompressionFailed, reason))
    }

    /// Abandons a stream: it was reset, or its sections will not be read to their end. Emits a Stream Cancellation (RFC
    /// 9204 section 2.2.2.2) and frees its place among the blocked streams.
    ///
    /// # Errors
    /// `H3_EXCESSIVE_LOAD` when earlier instructions were never taken.
    pub fn cancel_stream(&mut self, stream_id: u64) -> Result<(), Error> {
        self.blocked.remove(&stream_id);
        // RFC 9204 section 2.2.2.2: without a dynamic table there are no references to release.
        if self.config.max_table_capacity > 0 {
            self.check_backlog()?;
            DecoderInstruction::StreamCancellation { stream_id }.write(&mut self.instructions);
        }
        Ok(())
    }

    /// Takes the bytes to send next on the decoder stream; empty if there are none.
    ///
    /// It reports insertions that no Section Acknowledgment reported, with one Insert Count Increment (RFC 9204 section
    /// 2.2.2.3). So calling it once per batch of input, not per section, saves bytes.
    pub fn take_decoder_stream(&mut self) -> Bytes {
        let increment = self.table.inserted() - self.reported;
        if increment > 0 {
            DecoderInstruction::InsertCountIncrement(increment).write(&mut self.instructions);
            self.reported = self.table.inserted();
        }
        std::mem::take(&mut self.instructions).into()
    }

    /// How many entries the peer has inserted so far.
    pub fn insert_count(&self) -> u64 {
        self.table.inserted()
    }

    /// How many streams wait for entries.
    pub fn blocked_streams(&self) -> usize {
        self.blocked.len()
    }

    fn unblock(&mut self) -> Vec<u64> {
        let inserted = self.table.inserted();
        let mut ready: Vec<(u64, u64)> = Vec::new();
        self.blocked.retain(|&stream_id, &mut required| {
            let waits = required > inserted;
            if !waits {
                ready.push((required, stream_id));
            }
            waits
        });
        ready.sort_unstable();
        ready.into_iter().map(|(_, stream_id)| stream_id).collect()
    }

    fn decode_section(&mut self, stream_id: u64, section: &[u8]) -> Result<Decoded, Reason> {
        let mut reader = Reader::new(section);
        let entries = max_entries(self.config.max_table_capacity);
        let prefix = SectionPrefix::read(&mut reader, entries, self.table.inserted()).map_err(in_section)?;
        let required_insert_count = prefix.required_insert_count;
        if required_insert_count > self.table.inserted() {
            // RFC 9204 section 2.2.1: more blocked streams than advertised is an error.
            let limit = self.config.max_blocked_streams;
            if !self.blocked.contains_key(&stream_id) && self.blocked.len() as u64 >= limit {
                return Err(Reason::TooManyBlocked { limit });
            }
            self.blocked.insert(stream_id, required_insert_count);
            return Ok(Decoded::Blocked { required_insert_count });
        }
        self.blocked.remove(&stream_id);

        let mut sink = Sink::new(self.config.max_field_section_size, section.len());
        while !reader.is_empty() {
            let line = Line::read(&mut reader).map_err(in_section)?;
            push_line(&self.table, prefix, line, &mut sink)?;
        }
        if required_insert_count > 0 {
            // RFC 9204 section 2.2.2.1; it reports the insertions as well (section 2.1.4).
            DecoderInstruction::SectionAcknowledgment { stream_id }.write(&mut self.instructions);
            self.reported = self.reported.max(required_insert_count);
        }
        Ok(sink.finish())
    }

    fn check_backlog(&self) -> Result<(), Error> {
        match self.instructions.len() {
            0..MAX_BACKLOG => Ok(()),
            pending => Err(Error::new(ErrorCode::ExcessiveLoad, Reason::Backlog { pending })),
        }
    }
}

fn apply(instruction: EncoderInstruction<'_>, table: &mut DynamicTable, maximum: u64) -> Result<(), Reason> {
    let referenced = |table: &DynamicTable, index: u64| -> Result<Entry, Reason> {
        // RFC 9204 section 2.2.3: a reference to an evicted entry is an error here too.
        let absolute = table.absolute(index);
        let entry = absolute.and_then(|absolute| table.entry(absolute));
        entry.cloned().ok_or(Reason::DynamicIndex { index })
    };
    let text = |string: StringLiteral<'_>| string.to_owned_text().map_err(|_| Reason::Huffman);
    let entry = match instruction {
        EncoderInstruction::SetCapacity(capacity) => {
            // RFC 9204 section 4.3.1.
            if capacity > maximum {
                return Err(Reason::CapacityAboveMaximum { capacity, maximum });
            }
            table.set_capacity(capacity);
            return Ok(());
        }
        // RFC 9204 section 3.2.2: this very insertion may evict the referenced entry, so the entry is cloned first.
        EncoderInstruction::Duplicate { relative } => referenced(table, relative)?,
        EncoderInstruction::InsertWithLiteralName { name, value } => Entry { name: text(name)?, value: text(value)? },
        EncoderInstruction::InsertWithNameReference { name, value } => Entry {
            name: match name {
                InsertName::Relative(index) => referenced(table, index)?.name,
                InsertName::Static(index) => static_entry(index)?.0,
            },
            value: text(value)?,
        },
    };
    let size = entry.size();
    match table.insert(entry) {
        true => Ok(()),
        false => Err(Reason::EntryTooLarge { size, capacity: table.capacity() }),
    }
}

fn push_line(table: &DynamicTable, prefix: SectionPrefix, line: Line<'_>, sink: &mut Sink) -> Result<(), Reason> {
    let dynamic = |reference: Reference| -> Result<(Bytes, Bytes), Reason> {
        let (index, absolute) = match reference {
            Reference::Static(index) => return static_entry(index),
            Reference::Relative(index) => (index, prefix.base.checked_sub(index + 1)),
            Reference::PostBase(index) => (index, prefix.base.checked_add(index)),
        };
        // RFC 9204 section 2.2.3: evicted, or not covered by the declared Required Insert Count.
        let entry = absolute
            .filter(|&absolute| absolute < prefix.required_insert_count)
            .and_then(|absolute| table.entry(absolute))
            .ok_or(Reason::DynamicIndex { index })?;
        Ok((entry.name.clone(), entry.value.clone()))
    };
    match line {
        Line::Indexed(reference) => {
            let (name, value) = dynamic(reference)?;
            sink.push(Text::Shared(name), Text::Shared(value), false)
        }
        Line::Literal { name, value, never_indexed } => {
            let name = match name {
                Name::Literal(name) => Text::Literal(name),
                Name::Reference(reference) => Text::Shared(dynamic(reference)?.0),
            };
            sink.push(name, Text::Literal(value), never_indexed)
        }
    }
    .map_err(|huffman::Invalid| Reason::Huffman)
}

fn static_entry(index: u64) -> Result<(Bytes, Bytes), Reason> {
    let (name, value) = usize::try_from(index)
        .ok()
        .and_then(|index| static_table::ENTRIES.get(index))
        .ok_or(Reason::StaticIndex { index })?;
    Ok((Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes())))
}

/// Turns a read error into its reason: a section is complete when it arrives, so an incomplete one is malformed.
fn in_section(error: ReadError) -> Reason {
    match error {
        ReadError::Incomplete { .. } => Reason::Truncated,
        ReadError::Invalid(reason) => reason,
    }
}

/// A name or value that is not counted yet.
enum Text<'a> {
    Literal(StringLiteral<'a>),
    Shared(Bytes),
}

/// Collects fields up to a size, and only counts beyond it.
struct Sink {
    fields: Vec<Field>,
    /// Literals of this section share one allocation.
    literals: BytesMut,
    size: u64,
    limit: u64,
    expected: usize,
}

impl Sink {
    fn new(limit: u64, encoded: usize) -> Self {
        Self {
            // A request has some 20 fields; a field takes at least one byte.
            fields: Vec::with_capacity(encoded.min(24)),
            literals: BytesMut::new(),
            size: 0,
            limit,
            // The shortest Huffman code has 5 bits.
            expected: (encoded * 8 / 5).min(usize::try_from(limit).unwrap_or(usize::MAX)),
        }
    }

    fn push(&mut self, name: Text<'_>, value: Text<'_>, never_indexed: bool) -> Result<(), huffman::Invalid> {
        self.size = self.size.saturating_add(FIELD_OVERHEAD);
        let name = self.text(name)?;
        let value = self.text(value)?;
        if self.size <= self.limit {
            self.fields.push(Field { name, value, never_indexed });
        } else {
            self.fields = Vec::new();
            self.literals = BytesMut::new();
        }
        Ok(())
    }

    /// Counts a text and returns it; beyond the limit it returns less.
    fn text(&mut self, text: Text<'_>) -> Result<Bytes, huffman::Invalid> {
        let room = self.limit.saturating_sub(self.size);
        let (bytes, length) = match text {
            Text::Shared(bytes) => {
                let length = bytes.len();
                (bytes, length)
            }
            Text::Literal(string) => {
                if self.literals.capacity() == 0 && room > 0 {
                    self.literals.reserve(self.expected);
                }
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                let length = string.decode(&mut self.literals, room)?;
                (self.literals.split().freeze(), length)
            }
        };
        self.size = self.size.saturating_add(length as u64);
        Ok(bytes)
    }

    fn finish(self) -> Decoded {
        match self.size > self.limit {
            true => Decoded::TooLarge { size: self.size },
            false => Decoded::Fields(self.fields),
        }
    }
}

#[cfg(test)]
mod tests;
