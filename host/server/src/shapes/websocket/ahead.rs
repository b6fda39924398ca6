//! Messages that the codec has decoded and the guest has not taken yet.
//!
//! The messages are those of one call: one, or some small messages where the guest takes several at once. They wait
//! here only until the guest can be called, and nothing is read from the socket meanwhile.
//!
//! Calls with several messages are for quick guests. All other events of a session wait until the call returns, so a
//! guest that takes long for a message gets the next message alone. Each quick call doubles the number of messages of
//! the next call.

use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll};

use roadrunner_account::Failure;
use roadrunner_sandbox::{Event, Held, Next, Outbox, Outgoing, SocketEvent, SocketMessage};
use roadrunner_websocket::Message;

use super::super::held::Source;

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

/// The messages that wait for a guest, and those that it has in a call.
pub(super) struct Ahead {
    messages: Vec<Message>,
    bytes: usize,
    delivering: Load,
    /// The most messages of the next call.
    most: usize,
    /// Whether the guest takes several messages in one call.
    batches: bool,
    is_open: bool,
}

impl Ahead {
    /// Creates an empty queue, for a guest that takes several messages in one call or does not.
    pub(super) fn new(batches: bool) -> Self {
        Self { messages: Vec::new(), bytes: 0, delivering: Load::default(), is_open: true, most: 1, batches }
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.messages.push(message);
    }

    /// Drops the waiting messages: the session closes, and its guest gets no event any more.
    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.messages = Vec::new();
        self.bytes = 0;
    }

    /// Takes the messages of the next call; none without a message.
    fn take(&mut self) -> Option<SocketEvent> {
        if self.messages.is_empty() {
            return None;
        }
        self.delivering = self.load();
        self.bytes = 0;
        let messages = std::mem::take(&mut self.messages).into_iter().map(|message| match message {
            Message::Text(text) => SocketMessage::Text(text.as_str().to_owned()),
            Message::Binary(bytes) => SocketMessage::Binary(bytes.into()),
        });
        Some(SocketEvent::Messages(messages.collect()))
    }

    /// Learns from a call that has returned: at once, or after the guest had to wait or used up a slice of CPU time.
    pub(super) fn returned(&mut self, at_once: bool) {
        if std::mem::take(&mut self.delivering).messages > 0 {
            self.most = if self.batches && at_once { (2 * self.most).min(MESSAGES) } else { 1 };
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the next call takes no further messages.
    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= self.most || self.bytes >= BYTES
    }

    /// The messages that wait.
    pub(super) fn load(&self) -> Load {
        Load { messages: self.messages.len(), bytes: self.bytes }
    }

    /// The messages of the current call.
    pub(super) fn delivering(&self) -> Load {
        self.delivering
    }
}

impl Source for Ahead {
    type Event = SocketEvent;
    type End = Infallible;
    type Output = Outbox<Outgoing>;

    fn call(
        held: &mut Held,
        event: SocketEvent,
        outbox: &Outbox<Outgoing>,
    ) -> impl Future<Output = Result<Next, Failure>> + Send {
        held.on_socket(event, outbox)
    }

    fn event(event: Event) -> SocketEvent {
        SocketEvent::Event(event)
    }

    fn opening() -> Option<SocketEvent> {
        Some(SocketEvent::Open)
    }

    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Result<SocketEvent, Infallible>> {
        self.take().map_or(Poll::Pending, |messages| Poll::Ready(Ok(messages)))
    }

    fn is_open(&self) -> bool {
        self.is_open
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
        assert_eq!(ahead.delivering().messages, messages.len());
        messages.len()
    }

    #[test]
    fn a_quick_guest_gets_more_with_each_call() {
        let mut ahead = Ahead::new(true);
        for count in [1, 2, 4, 8, 16, 32, 32] {
            assert_eq!(taken(&mut ahead, 0), count);
            ahead.returned(true);
        }
        assert_eq!(taken(&mut ahead, 1024), 16, "they are bounded in bytes too");
        assert_eq!(taken(&mut ahead, 10 << 20), 1);
        ahead.returned(false);
        assert_eq!(taken(&mut ahead, 0), 1);
    }

    #[test]
    fn a_guest_that_takes_one_message_gets_one() {
        let mut ahead = Ahead::new(false);
        for _ in 0..3 {
            assert_eq!(taken(&mut ahead, 0), 1);
            ahead.returned(true);
        }
    }
}
