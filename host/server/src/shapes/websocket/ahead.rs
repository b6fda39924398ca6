//! Messages that the codec has decoded and the guest has not taken yet.
//!
//! The messages are those of one call: one, or some small messages where the guest takes several at once. They wait
//! here only until the guest can be called, and nothing is read from the socket meanwhile.
//!
//! Calls with several messages are for quick guests. All other events of a session wait until the call returns, so a
//! guest that takes long for a message gets the next message alone. Each quick call doubles the number of messages of
//! the next call.

use roadrunner_sandbox::{SocketEvent, SocketMessage};
use roadrunner_websocket::Message;

/// The most messages of one call.
const MESSAGES: usize = 32;

/// The number of bytes from which no further message is added to a call.
const BYTES: usize = 16 << 10;

/// The messages that wait, or that are being delivered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Load {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// The messages that wait for a guest.
pub(super) struct Ahead {
    messages: Vec<Message>,
    bytes: usize,
    /// The most messages of the next call.
    most: usize,
    /// Whether the guest takes several messages in one call.
    batches: bool,
}

impl Ahead {
    /// Creates an empty queue, for a guest that takes several messages in one call or does not.
    pub(super) fn new(batches: bool) -> Self {
        Self { messages: Vec::new(), bytes: 0, most: 1, batches }
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.messages.push(message);
    }

    /// Drops the waiting messages.
    pub(super) fn clear(&mut self) {
        self.messages = Vec::new();
        self.bytes = 0;
    }

    /// Takes the messages of the next call; none without a message.
    pub(super) fn take(&mut self) -> Option<SocketEvent> {
        if self.messages.is_empty() {
            return None;
        }
        self.bytes = 0;
        let messages = std::mem::take(&mut self.messages).into_iter().map(|message| match message {
            Message::Text(text) => SocketMessage::Text(text.as_str().to_owned()),
            Message::Binary(bytes) => SocketMessage::Binary(bytes.into()),
        });
        Some(SocketEvent::Messages(messages.collect()))
    }

    /// Learns from a call for messages that has returned: at once, or after the guest had to wait or used up a slice of
    /// CPU time.
    pub(super) fn learn(&mut self, at_once: bool) {
        self.most = if self.batches && at_once { (2 * self.most).min(MESSAGES) } else { 1 };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the next call takes no further messages.
    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= self.most || self.bytes >= BYTES
    }

    pub(super) fn load(&self) -> Load {
        Load { messages: self.messages.len(), bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ahead: &mut Ahead, size: usize) -> usize {
        while !ahead.is_full() {
            ahead.push(Message::Binary(vec![0; size].into()));
        }
        let Some(SocketEvent::Messages(messages)) = ahead.take() else { panic!("no messages") };
        assert!(ahead.load() == Load::default() && ahead.take().is_none());
        messages.len()
    }

    #[test]
    fn a_quick_guest_gets_more_with_each_call() {
        let mut ahead = Ahead::new(true);
        for count in [1, 2, 4, 8, 16, 32, 32] {
            assert_eq!(taken(&mut ahead, 0), count);
            ahead.learn(true);
        }
        assert_eq!(taken(&mut ahead, 1024), 16, "they are bounded in bytes too");
        assert_eq!(taken(&mut ahead, 10 << 20), 1);
        ahead.learn(false);
        assert_eq!(taken(&mut ahead, 0), 1);
    }

    #[test]
    fn a_guest_that_takes_one_message_gets_one() {
        let mut ahead = Ahead::new(false);
        ahead.learn(true);
        assert_eq!(taken(&mut ahead, 0), 1);
    }
}
