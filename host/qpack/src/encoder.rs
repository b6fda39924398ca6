//! The encoding half: fields and the peer's decoder stream in, field sections and encoder instructions out.
//!
//! # Policy
//! - A field that the static table contains as a whole is sent as an index into it.
//! - Credentials are literals with the N bit, and never enter the table (RFC 9204 section 7.1).
//! - A pair of name and value enters the table when it occurs for the second time, so that dates, lengths and
//!   identifiers do not displace recurring fields.
//! - A field section refers only to entries that the peer has acknowledged, so none of our sections ever blocks. With
//!   [`EncoderConfig::max_blocked_streams`] above zero, that many streams may refer to entries that are still in
//!   transit.
//! - Entries in the oldest quarter of a full table are draining (section 2.1.1.1): a hit inserts a duplicate. If there
//!   is no room for a duplicate, no new reference is made to them, so that eviction can continue.

mod history;
mod indexed_table;
mod outstanding;
mod sensitive;

use bytes::{BufMut, Bytes};

use crate::error::{Error, ErrorCode};
use crate::field::FieldRef;
use crate::instruction::{
    DecoderInstruction, InsertName, Reassembly, write_duplicate, write_insert, write_set_capacity,
};
use crate::line::{Reference, write_indexed, write_literal};
use crate::prefix::{SectionPrefix, max_entries};
use crate::reader::ReadError;
use crate::static_table::{StaticMatch, find};

use history::History;
use indexed_table::{Hashes, IndexedTable};
use outstanding::Outstanding;

/// How much of the peer's offer this side uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// The most bytes of table to use, each entry counted as name + value + 32. The peer's
    /// SETTINGS_QPACK_MAX_TABLE_CAPACITY caps it further. Zero turns the dynamic table off.
    ///
    /// # Defaults
    /// 4096.
    pub max_table_capacity: u64,
    /// How many streams may refer to entries that the peer has not acknowledged, and so wait for them at the peer. The
    /// peer's SETTINGS_QPACK_BLOCKED_STREAMS caps it further.
    ///
    /// Above zero, write the encoder stream before the sections: every lost packet of it delays streams.
    ///
    /// # Defaults
    /// 0: only acknowledged entries are used.
    pub max_blocked_streams: u64,
    /// Whether to insert a pair at its first occurrence instead of the second. This pays off if nearly everything
    /// repeats, as in a client with one set of request fields.
    ///
    /// # Defaults
    /// `false`.
    pub insert_on_first_sight: bool,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self { max_table_capacity: 4096, max_blocked_streams: 0, insert_on_first_sight: false }
    }
}

/// Encodes our field sections on one connection.
#[derive(Debug)]
pub struct Encoder {
    config: EncoderConfig,
    /// From the peer's maximum, not from the current capacity (RFC 9204 section 4.5.1.1).
    max_entries: u64,
    max_blocked_streams: u64,
    table: IndexedTable,
    history: History,
    outstanding: Outstanding,
    decoder_stream: Reassembly,
    /// Encoder instructions to send.
    instructions: Vec<u8>,
    /// Field lines of the current section, which are complete before its prefix is known.
    lines: Vec<u8>,
}

/// The most bytes of encoder instructions that wait to be sent. Above it, nothing more is inserted (RFC 9204 section
/// 2.1.3: the peer grants the credit on the encoder stream, and compression is optional).
const MAX_BACKLOG: usize = 16 * 1024;
/// The most sections that may be unacknowledged at once. Further sections use no dynamic entries, so that a peer that
/// never acknowledges costs a fixed amount of memory.
const MAX_OUTSTANDING: usize = 4096;
/// The largest buffer for field lines, in bytes, that is kept between sections.
const KEPT_LINES: usize = 4096;

impl Encoder {
    /// Makes an encoder that uses only the static table until the peer's settings are known.
    pub fn new(config: EncoderConfig) -> Self {
        Self {
            config,
            max_entries: 0,
            max_blocked_streams: 0,
            table: IndexedTable::default(),
            history: History::default(),
            outstanding: Outstanding::default(),
            decoder_stream: Reassembly::default(),
            instructions: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Sets the peer's SETTINGS_QPACK_MAX_TABLE_CAPACITY and SETTINGS_QPACK_BLOCKED_STREAMS, once per connection.
    ///
    /// A client that sent 0-RTT calls it with the remembered values first. The capacity of a table in use cannot change
    /// (RFC 9204 section 3.2.3 obliges the server to repeat it, and its caller to check that): only a first capacity of
    /// zero is replaced.
    pub fn set_peer_settings(&mut self, max_table_capacity: u64, max_blocked_streams: u64) {
        self.max_blocked_streams = max_blocked_streams.min(self.config.max_blocked_streams);
        if self.table.capacity() > 0 {
            return;
        }
        self.max_entries = max_entries(max_table_capacity);
        let capacity = max_table_capacity.min(self.config.max_table_capacity);
        // RFC 9204 section 3.2.3: with a maximum of zero, no instruction may be sent at all. A table too small for any
        // entry is useless.
        if max_entries(capacity) > 0 {
            self.table.set_capacity(capacity);
            write_set_capacity(&mut self.instructions, capacity);
        }
    }

    /// Appends one field section to `out`, in the order of `fields`.
    ///
    /// Instructions that later sections rely on may be waiting afterwards: see [`take_encoder_stream`].
    ///
    /// [`take_encoder_stream`]: Self::take_encoder_stream
    pub fn encode<'a, F: Into<FieldRef<'a>>>(
        &mut self,
        stream_id: u64,
        fields: impl IntoIterator<Item = F>,
        out: &mut impl BufMut,
    ) {
        let mut section = self.begin(stream_id);
        for field in fields {
            self.encode_field(field.into(), &mut section);
        }
        self.finish(stream_id, section, out);
    }

    /// Takes the bytes to send next on the encoder stream; empty if there are none.
    pub fn take_encoder_stream(&mut self) -> Bytes {
        std::mem::take(&mut self.instructions).into()
    }

    /// Takes bytes of the peer's decoder stream, split anywhere.
    ///
    /// # Errors
    /// `QPACK_DECODER_STREAM_ERROR` for an instruction that is malformed or acknowledges something that was not sent.
    pub fn on_decoder_stream(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Self { decoder_stream, outstanding, table, .. } = self;
        decoder_stream
            .feed(bytes, |reader| {
                match DecoderInstruction::read(reader)? {
                    DecoderInstruction::InsertCountIncrement(increment) => {
                        outstanding.increment(increment, table.inserted())
                    }
                    DecoderInstruction::SectionAcknowledgment { stream_id } => outstanding.acknowledge(stream_id),
                    // RFC 9204 section 4.4.2: all of the stream's references are gone. A stream without references is
                    // no error, since the decoder cannot know.
                    DecoderInstruction::StreamCancellation { stream_id } => {
                        outstanding.cancel(stream_id);
                        Ok(())
                    }
                }
                .map_err(ReadError::Invalid)
            })
            .map_err(|reason| Error::new(ErrorCode::DecoderStreamError, reason))
    }

    /// Forgets the references of a stream whose sections were never handed to the transport and never will be.
    ///
    /// Do not call it for a stream that was reset after its section was written: the peer may have it. Then its
    /// references live until the peer acknowledges the section or cancels the stream (RFC 9204 section 2.1.1).
    pub fn cancel(&mut self, stream_id: u64) {
        self.outstanding.cancel(stream_id);
    }

    /// The number of entries that this side has inserted so far.
    pub fn insert_count(&self) -> u64 {
        self.table.inserted()
    }

    /// The number of entries that the peer is known to have (RFC 9204 section 2.1.4).
    pub fn known_received_count(&self) -> u64 {
        self.outstanding.known_received()
    }

    /// The number of streams that might be waiting for entries at the peer.
    pub fn blocking_streams(&self) -> usize {
        self.outstanding.blocking_streams()
    }

    fn begin(&mut self, stream_id: u64) -> Section {
        self.lines.clear();
        let may_reference = self.table.capacity() > 0 && self.outstanding.len() < MAX_OUTSTANDING;
        // RFC 9204 section 2.1.2: streams that could block never exceed the peer's limit.
        let may_block = may_reference && self.outstanding.may_block(stream_id, self.max_blocked_streams);
        Section {
            may_reference,
            usable: match may_block {
                true => u64::MAX,
                false => self.outstanding.known_received(),
            },
            // Entries inserted from here on get post-base indices. Without insertions, a base at the newest usable
            // entry keeps the relative indices short.
            base: match may_block {
                true => self.table.inserted(),
                false => self.outstanding.known_received(),
            },
            required_insert_count: 0,
            lowest: u64::MAX,
        }
    }

    fn encode_field(&mut self, field: FieldRef<'_>, section: &mut Section) {
        let FieldRef { name, value, .. } = field;
        let never_indexed = field.never_indexed || sensitive::is_sensitive(name, value);
        let known = find(name, value);
        // RFC 9204 section 4.5.4: the N bit needs a literal, even where an index would do.
        if let StaticMatch::Field(index) = known
            && !never_indexed
        {
            write_indexed(&mut self.lines, Reference::Static(index));
            return;
        }
        let static_name = match known {
            StaticMatch::Field(index) | StaticMatch::Name(index) => Some(index),
            StaticMatch::Nothing => None,
        };
        let mut dynamic_name = None;
        if self.table.capacity() > 0 {
            let hashes = self.table.hashes(name, value);
            if !never_indexed && let Some(absolute) = self.dynamic_field(field, hashes, static_name, section) {
                let reference = section.refer(absolute);
                write_indexed(&mut self.lines, reference);
                return;
            }
            dynamic_name = self
                .table
                .find_name(hashes, name)
                .filter(|&absolute| section.may_use(absolute) && !self.table.is_draining(absolute));
        }
        let reference = match static_name {
            Some(index) => Some(Reference::Static(index)),
            None => dynamic_name.map(|absolute| section.refer(absolute)),
        };
        write_literal(&mut self.lines, reference, name, value, never_indexed);
    }

    /// Finds or makes an entry for a field, and returns it if this section may refer to it.
    fn dynamic_field(
        &mut self,
        field: FieldRef<'_>,
        hashes: Hashes,
        static_name: Option<u64>,
        section: &Section,
    ) -> Option<u64> {
        let FieldRef { name, value, .. } = field;
        let Some(newest) = self.table.find_field(hashes, name, value) else {
            // A pair that does not deserve an entry yet, or will not get one, is sent as a literal.
            if !self.config.insert_on_first_sight && !self.history.meet_again(hashes.field) {
                return None;
            }
            let inserted = self.insert(field, hashes, static_name, section)?;
            return section.may_use(inserted).then_some(inserted);
        };
        if self.table.is_draining(newest) {
            // RFC 9204 section 2.1.1.1: renew it, and do not pin it if that is impossible.
            let duplicate = self.duplicate(newest, section)?;
            if section.may_use(duplicate) {
                return Some(duplicate);
            }
        }
        // While the newest copy is in transit, an older one is used.
        let mut candidate = Some(newest);
        while let Some(absolute) = candidate {
            if section.may_use(absolute) && self.table.contains(absolute) {
                return Some(absolute);
            }
            candidate = self.table.older_copy(absolute);
        }
        None
    }

    fn insert(
        &mut self,
        field: FieldRef<'_>,
        hashes: Hashes,
        static_name: Option<u64>,
        section: &Section,
    ) -> Option<u64> {
        // A field that takes more than half of the table displaces more than it can save.
        if field.size() > self.table.capacity() / 2 || !self.make_room(field.size(), section) {
            return None;
        }
        let reference = static_name.map(InsertName::Static).or_else(|| {
            let named = self.table.find_name(hashes, field.name)?;
            Some(InsertName::Relative(self.table.relative(named)))
        });
        write_insert(&mut self.instructions, reference, field.name, field.value);
        Some(self.table.insert(field.name, field.value, hashes))
    }

    fn duplicate(&mut self, absolute: u64, section: &Section) -> Option<u64> {
        let size = self.table.entry_size(absolute)?;
        let relative = self.table.relative(absolute);
        // RFC 9204 section 3.2.2: the copy may evict its original.
        let original = self.table.original(absolute)?;
        if !self.make_room(size, section) {
            return None;
        }
        write_duplicate(&mut self.instructions, relative);
        Some(self.table.duplicate(original))
    }

    /// Evicts enough entries for an entry of `size` bytes; returns false, and evicts nothing, if that is not allowed.
    fn make_room(&mut self, size: u64, section: &Section) -> bool {
        // RFC 9204 section 2.1.1: an entry can be evicted once its insertion is acknowledged and no unacknowledged
        // section refers to it. Eviction goes by age, so the lowest needed index decides.
        let evictable_below =
            self.outstanding.known_received().min(self.outstanding.lowest_reference()).min(section.lowest);
        if self.instructions.len() >= MAX_BACKLOG || !self.table.fits(size, evictable_below) {
            return false;
        }
        self.table.evict_for(size);
        true
    }

    fn finish(&mut self, stream_id: u64, section: Section, out: &mut impl BufMut) {
        let prefix = SectionPrefix { required_insert_count: section.required_insert_count, base: section.base };
        let mut encoded_prefix = Vec::with_capacity(4);
        prefix.write(&mut encoded_prefix, self.max_entries);
        out.put_slice(&encoded_prefix);
        out.put_slice(&self.lines);
        if self.lines.capacity() > KEPT_LINES {
            self.lines = Vec::new();
        }
        if section.required_insert_count > 0 {
            self.outstanding.record(stream_id, section.required_insert_count, section.lowest);
        }
    }
}

/// The section being encoded.
#[derive(Debug)]
struct Section {
    /// Whether it may refer to dynamic entries at all.
    may_reference: bool,
    /// Entries below this absolute index may be used.
    usable: u64,
    base: u64,
    /// One more than the highest reference so far.
    required_insert_count: u64,
    /// The lowest reference so far.
    lowest: u64,
}

impl Section {
    /// Records a reference to an entry and returns how to write it.
    fn refer(&mut self, absolute: u64) -> Reference {
        self.required_insert_count = self.required_insert_count.max(absolute + 1);
        self.lowest = self.lowest.min(absolute);
        match absolute.checked_sub(self.base) {
            Some(index) => Reference::PostBase(index),
            None => Reference::Relative(self.base - absolute - 1),
        }
    }

    fn may_use(&self, absolute: u64) -> bool {
        self.may_reference && absolute < self.usable
    }
}

#[cfg(test)]
mod tests;
