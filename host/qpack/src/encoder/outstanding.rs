//! References that the peer may still be using: unacknowledged sections (RFC 9204 sections 2.1.1 to 2.1.4).

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::error::Reason;

/// Sections that were sent and not acknowledged, and how much of the table is known to have arrived.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// The sections of each stream, oldest first; no stream without sections.
    streams: HashMap<u64, VecDeque<SentSection>>,
    sections: usize,
    /// The number of sections with each lowest reference. The first key bounds eviction.
    lowest: BTreeMap<u64, usize>,
    /// The highest Required Insert Count of each stream that could be blocked.
    blocking: HashMap<u64, u64>,
    known_received: u64,
}

/// A section with dynamic references.
#[derive(Clone, Copy, Debug)]
struct SentSection {
    required_insert_count: u64,
    lowest: u64,
}

impl Outstanding {
    pub(super) fn record(&mut self, stream_id: u64, required_insert_count: u64, lowest: u64) {
        self.streams.entry(stream_id).or_default().push_back(SentSection { required_insert_count, lowest });
        self.sections += 1;
        *self.lowest.entry(lowest).or_default() += 1;
        if required_insert_count > self.known_received {
            let required = self.blocking.entry(stream_id).or_default();
            *required = required_insert_count.max(*required);
        }
    }

    /// Handles a Section Acknowledgment (RFC 9204 section 4.4.1): the stream's oldest section is done.
    pub(super) fn acknowledge(&mut self, stream_id: u64) -> Result<(), Reason> {
        let nothing = Reason::AcknowledgedNothing { stream_id };
        let sections = self.streams.get_mut(&stream_id).ok_or(nothing.clone())?;
        let section = sections.pop_front().ok_or(nothing)?;
        if sections.is_empty() {
            self.streams.remove(&stream_id);
        }
        self.release(section);
        // RFC 9204 section 2.1.4: the entries that the section needed have arrived.
        self.receive_up_to(self.known_received.max(section.required_insert_count));
        Ok(())
    }

    /// Handles a Stream Cancellation (section 4.4.2). It says nothing about which entries have arrived.
    pub(super) fn cancel(&mut self, stream_id: u64) {
        for section in self.streams.remove(&stream_id).unwrap_or_default() {
            self.release(section);
        }
        self.blocking.remove(&stream_id);
    }

    /// Handles an Insert Count Increment (section 4.4.3).
    pub(super) fn increment(&mut self, increment: u64, inserted: u64) -> Result<(), Reason> {
        let unacknowledged = inserted - self.known_received;
        if increment == 0 || increment > unacknowledged {
            return Err(Reason::Increment { increment, unacknowledged });
        }
        self.receive_up_to(self.known_received + increment);
        Ok(())
    }

    /// Whether a section of this stream may refer to entries that may not have arrived.
    pub(super) fn may_block(&self, stream_id: u64, limit: u64) -> bool {
        limit > 0 && (self.blocking.contains_key(&stream_id) || (self.blocking.len() as u64) < limit)
    }

    /// The lowest absolute index that an unacknowledged section refers to.
    pub(super) fn lowest_reference(&self) -> u64 {
        self.lowest.first_key_value().map_or(u64::MAX, |(&lowest, _)| lowest)
    }

    pub(super) fn known_received(&self) -> u64 {
        self.known_received
    }

    pub(super) fn blocking_streams(&self) -> usize {
        self.blocking.len()
    }

    /// The number of unacknowledged sections with dynamic references.
    pub(super) fn len(&self) -> usize {
        self.sections
    }

    fn release(&mut self, section: SentSection) {
        self.sections -= 1;
        if let Some(count) = self.lowest.get_mut(&section.lowest) {
            *count -= 1;
            if *count == 0 {
                self.lowest.remove(&section.lowest);
            }
        }
    }

    fn receive_up_to(&mut self, count: u64) {
        self.known_received = count;
        self.blocking.retain(|_, &mut required| required > count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_live_until_acknowledged_or_cancelled() {
        let mut outstanding = Outstanding::default();
        outstanding.increment(10, 10).unwrap();
        outstanding.record(0, 5, 3);
        outstanding.record(0, 9, 1);
        outstanding.record(4, 2, 1);
        assert_eq!(outstanding.lowest_reference(), 1);
        outstanding.acknowledge(0).unwrap();
        assert_eq!(outstanding.lowest_reference(), 1);
        outstanding.cancel(0);
        assert_eq!(outstanding.lowest_reference(), 1);
        outstanding.acknowledge(4).unwrap();
        assert_eq!(outstanding.lowest_reference(), u64::MAX);
        assert_eq!(outstanding.len(), 0);
        assert_eq!(outstanding.acknowledge(4), Err(Reason::AcknowledgedNothing { stream_id: 4 }));
    }

    #[test]
    fn blocking_streams_are_counted_once_and_freed_by_arrival() {
        let mut outstanding = Outstanding::default();
        assert!(!outstanding.may_block(0, 0));
        outstanding.record(0, 1, 0);
        outstanding.record(0, 3, 0);
        assert_eq!(outstanding.blocking_streams(), 1);
        assert!(outstanding.may_block(0, 1), "it is among the blocked already");
        assert!(!outstanding.may_block(4, 1));
        outstanding.acknowledge(0).unwrap();
        assert_eq!(outstanding.known_received(), 1);
        assert_eq!(outstanding.blocking_streams(), 1, "the second still waits");
        outstanding.increment(2, 3).unwrap();
        assert_eq!(outstanding.blocking_streams(), 0);
        assert!(outstanding.may_block(4, 1));
        outstanding.record(4, 9, 8);
        outstanding.cancel(4);
        assert_eq!(outstanding.blocking_streams(), 0);
        assert_eq!(outstanding.known_received(), 3);
    }

    #[test]
    fn increments_are_bounded_by_what_was_sent() {
        let mut outstanding = Outstanding::default();
        for increment in [0, 4, u64::MAX] {
            assert_eq!(outstanding.increment(increment, 3), Err(Reason::Increment { increment, unacknowledged: 3 }));
        }
        outstanding.increment(3, 3).unwrap();
    }
}
