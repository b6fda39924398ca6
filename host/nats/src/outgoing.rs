//! What waits to be sent: bounded for each account and for all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

/// What a message costs in a queue beside its payload: its entry, its subject and its label.
pub(crate) const MESSAGE_OVERHEAD: usize = 256;

/// A message on its way to the server.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) account: Arc<str>,
    pub(crate) subject: Arc<str>,
    pub(crate) label: String,
    pub(crate) payload: Bytes,
}

/// Messages in their order. One account may have half of the places and half of the bytes.
#[derive(Debug)]
pub(crate) struct Queue {
    max_bytes: usize,
    max_messages: usize,
    messages: VecDeque<Outgoing>,
    bytes: usize,
    /// Messages and bytes of each account that has any.
    accounts: HashMap<Arc<str>, (usize, usize)>,
}

impl Queue {
    pub(crate) fn new(max_bytes: usize, max_messages: usize) -> Self {
        Self { max_bytes, max_messages, messages: VecDeque::new(), bytes: 0, accounts: HashMap::new() }
    }

    /// Whether there was room for it.
    pub(crate) fn push(&mut self, message: Outgoing) -> bool {
        let size = message.size();
        let (messages, bytes) = self.accounts.get(&message.account).copied().unwrap_or_default();
        let has_room = self.bytes + size <= self.max_bytes
            && self.messages.len() < self.max_messages
            // A message on its own always fits, so that half a queue is not a limit of the payload.
            && (messages == 0 || bytes + size <= self.max_bytes / 2 && messages < self.max_messages / 2);
        if has_room {
            self.accounts.insert(message.account.clone(), (messages + 1, bytes + size));
            self.bytes += size;
            self.messages.push_back(message);
        }
        has_room
    }

    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        let message = self.messages.pop_front()?;
        let size = message.size();
        self.bytes -= size;
        if let Some((messages, bytes)) = self.accounts.get_mut(&message.account) {
            *messages -= 1;
            *bytes -= size;
            if *messages == 0 {
                self.accounts.remove(&message.account);
            }
        }
        Some(message)
    }

    /// Drops all of them, and their room. How many they were.
    pub(crate) fn clear(&mut self) -> usize {
        let dropped = self.messages.len();
        *self = Self::new(self.max_bytes, self.max_messages);
        dropped
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl Outgoing {
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + MESSAGE_OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(account: &str, length: usize) -> Outgoing {
        Outgoing { account: account.into(), subject: "s".into(), label: String::new(), payload: vec![0; length].into() }
    }

    #[test]
    fn an_account_has_half_and_never_less_than_one_message() {
        let mut queue = Queue::new(10_000, 8);
        assert!(queue.push(message("a", 9_000)), "one on its own");
        assert!(!queue.push(message("a", 1)));
        assert!(queue.push(message("b", 100)));
        assert!(!queue.push(message("b", 1000)), "there is no room for it");
        assert_eq!(queue.clear(), 2);
        assert_eq!(queue.bytes(), 0);
        for _ in 0..4 {
            assert!(queue.push(message("a", 1)));
        }
        assert!(!queue.push(message("a", 1)));
        for _ in 0..4 {
            assert!(queue.push(message("b", 1)));
        }
        assert!(!queue.push(message("c", 1)));
        assert!(queue.pop().is_some());
        assert!(queue.push(message("c", 1)));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_all_is_given_back(steps in proptest::collection::vec((0..4_usize, 0..6_000_usize, any::<bool>()), 0..200)) {
            let mut queue = Queue::new(16_384, 20);
            let mut inside = Vec::new();
            for (account, length, pops) in steps {
                if pops {
                    let popped = queue.pop().map(|message| message.size());
                    prop_assert_eq!(popped, (!inside.is_empty()).then(|| inside.remove(0)));
                } else if queue.push(message(&account.to_string(), length)) {
                    inside.push(length + MESSAGE_OVERHEAD);
                }
                prop_assert_eq!(queue.bytes(), inside.iter().sum::<usize>());
                prop_assert!(queue.bytes() <= 16_384 && inside.len() <= 20);
            }
            while queue.pop().is_some() {}
            prop_assert!(queue.is_empty() && queue.accounts.is_empty() && queue.bytes() == 0);
        }
    }
}
