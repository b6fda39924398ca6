//! The lines that wait for the writer. An owner with many waiting lines leaves room for the others.

use std::collections::BTreeMap;

/// The most bytes that wait. The same amount may be on its way to the reader.
pub const CAPACITY: usize = 4 << 20;

/// The least cost of a line, so that the number of lines is bounded, too.
const SMALLEST: usize = 256;

/// The account of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner<'a> {
    /// The host itself: such lines are few, and may use all available room.
    Host,
    /// Requests and guests without a tenant.
    Untenanted,
    /// Requests and guests of a tenant.
    Tenant(&'a str),
}

/// Whole lines, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    text: Vec<u8>,
    cost: usize,
    lines: u64,
    host: Share,
    untenanted: Share,
    /// There are as many as tenants in all manifests of this process.
    tenants: BTreeMap<Box<str>, Share>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    cost: usize,
    dropped: u64,
}

impl Queue {
    /// Takes a line, or drops and counts it.
    pub(crate) fn push(&mut self, owner: Owner<'_>, line: &[u8]) {
        let cost = line.len().max(SMALLEST);
        let free = CAPACITY.saturating_sub(self.cost);
        let share = match owner {
            Owner::Host => &mut self.host,
            Owner::Untenanted => &mut self.untenanted,
            Owner::Tenant(name) if self.tenants.contains_key(name) => {
                self.tenants.get_mut(name).unwrap_or(&mut self.untenanted)
            }
            Owner::Tenant(name) => self.tenants.entry(name.into()).or_default(),
        };
        // A share may become as large as the remaining room: one flooding share gets half of the queue, two get a third
        // each.
        let taken = if owner == Owner::Host { 0 } else { share.cost };
        if taken + cost > free {
            share.dropped += 1;
            return;
        }
        share.cost += cost;
        self.cost += cost;
        self.lines += 1;
        self.text.extend_from_slice(line);
    }

    /// Exchanges the lines for an empty buffer, and returns their number.
    pub(crate) fn take(&mut self, into: &mut Vec<u8>) -> u64 {
        std::mem::swap(&mut self.text, into);
        self.cost = 0;
        for share in self.tenants.values_mut().chain([&mut self.host, &mut self.untenanted]) {
            share.cost = 0;
        }
        std::mem::take(&mut self.lines)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The cost of the waiting lines, which counts for the bound.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// The number of dropped lines, by tenant.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (Option<&str>, u64)> {
        let rest = (None, self.host.dropped + self.untenanted.dropped);
        let tenants = self.tenants.iter().map(|(name, share)| (Some(&**name), share.dropped));
        std::iter::once(rest).chain(tenants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(queue: &mut Queue, owner: Owner<'_>, line: &[u8]) -> usize {
        let before = queue.text.len();
        for _ in 0..2 * CAPACITY / line.len().max(SMALLEST) {
            queue.push(owner, line);
        }
        queue.text.len() - before
    }

    #[test]
    fn no_tenant_has_more_than_half() {
        let mut queue = Queue::default();
        let line = [b'x'; 1024];
        assert_eq!(fill(&mut queue, Owner::Tenant("one"), &line), CAPACITY / 2);
        assert_eq!(fill(&mut queue, Owner::Tenant("two"), &line), CAPACITY / 4);
        assert_eq!(fill(&mut queue, Owner::Untenanted, &line), CAPACITY / 8);
        assert_eq!(fill(&mut queue, Owner::Host, &line), CAPACITY / 8, "the host's own get the rest");
        let dropped: Vec<_> = queue.dropped().collect();
        assert!(dropped.iter().all(|(_, count)| *count > 0), "{dropped:?}");
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken), (CAPACITY / 1024) as u64);
        assert_eq!((taken.len(), queue.is_empty(), queue.cost()), (CAPACITY, true, 0));
        assert_eq!(fill(&mut queue, Owner::Tenant("one"), &line), CAPACITY / 2);
    }

    #[test]
    fn short_lines_are_bounded_in_number() {
        let mut queue = Queue::default();
        fill(&mut queue, Owner::Host, b"x\n");
        assert_eq!(queue.take(&mut Vec::new()), (CAPACITY / SMALLEST) as u64);
    }

    #[test]
    fn a_line_that_can_never_fit_is_dropped() {
        let mut queue = Queue::default();
        queue.push(Owner::Host, &vec![b'x'; CAPACITY + 1]);
        assert!(queue.is_empty());
        assert_eq!(queue.dropped().next(), Some((None, 1)));
    }
}
