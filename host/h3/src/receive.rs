//! The receiving half of a request stream, shared by the stream's task and whoever reads the body.
//!
//! quinn keeps one waker per stream; here two tasks may wait for the same one, the stream's task for a reset and the
//! reader for data. So quinn is given a waker that wakes both.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use quinn::{ReadError, RecvStream};

use crate::{
    code::{Code, Fault},
    message::{Event, MessageReader},
};

#[derive(Debug)]
pub(crate) struct Receiver {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
    waker: Waker,
}

#[derive(Debug)]
struct State {
    stream: RecvStream,
    message: MessageReader,
    /// What was received and not parsed: part of one chunk.
    input: Bytes,
    end: Option<End>,
    /// The reader waits for a body that the client holds back until it sees 100 (RFC 9110 section 10.1.1).
    wants_continue: bool,
    expects_continue: bool,
}

/// Why nothing more will come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client broke a rule. The stream's task acts on it.
    Fault(Fault),
    /// The client finished the stream.
    Finished,
    /// The connection is gone.
    Lost,
    /// The client reset the stream.
    Reset,
    /// This side does not want more.
    Stopped,
}

#[derive(Debug, Default)]
struct Wakers {
    task: AtomicWaker,
    reader: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.task.wake();
        self.reader.wake();
    }
}

/// The most that is taken from quinn at once, in bytes.
const CHUNK: usize = 64 * 1024;

impl Receiver {
    pub(crate) fn new(stream: RecvStream, message: MessageReader) -> Arc<Receiver> {
        let wakers = Arc::new(Wakers::default());
        let state =
            State { stream, message, input: Bytes::new(), end: None, wants_continue: false, expects_continue: false };
        Arc::new(Receiver { state: Mutex::new(state), waker: Waker::from(Arc::clone(&wakers)), wakers })
    }

    /// The next event of the message; what ended it, from then on.
    pub(crate) fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Result<Event, End>> {
        self.wakers.reader.register(cx.waker());
        let mut state = self.state.lock();
        let event = state.poll_event(&mut Context::from_waker(&self.waker));
        if event.is_pending() && state.expects_continue {
            state.expects_continue = false;
            state.wants_continue = true;
            self.wakers.task.wake();
        } else if let Poll::Ready(Err(End::Fault(_))) = &event {
            self.wakers.task.wake();
        }
        event
    }

    /// For the stream's task: resolves when the client resets the stream or a fault was found in it.
    pub(crate) fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<End> {
        self.wakers.task.register(cx.waker());
        let mut state = self.state.lock();
        if state.end.is_none()
            && let Poll::Ready(reset) = {
                let mut cx = Context::from_waker(&self.waker);
                pin!(state.stream.received_reset()).poll(&mut cx)
            }
        {
            match reset {
                Ok(Some(_)) => state.end = Some(End::Reset),
                // All data has been received, so it cannot be reset any more. It is still there to be read.
                Ok(None) => return Poll::Pending,
                Err(_) => state.end = Some(End::Lost),
            }
        }
        match &state.end {
            Some(end @ (End::Fault(_) | End::Lost | End::Reset)) => Poll::Ready(end.clone()),
            _ => Poll::Pending,
        }
    }

    /// The client broke a rule that only the reader could see.
    pub(crate) fn fault(&self, fault: Fault) {
        self.state.lock().end = Some(End::Fault(fault));
        self.wakers.task.wake();
    }

    /// Asks the client to stop sending, unless it already has.
    pub(crate) fn stop(&self, code: Code) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(End::Stopped);
        }
        if !matches!(state.end, Some(End::Finished | End::Reset | End::Lost)) {
            // A stream that is closed already needs no stop.
            let _ = state.stream.stop(code.varint());
        }
        state.input = Bytes::new();
        drop(state);
        self.wakers.reader.wake();
    }

    pub(crate) fn with_message<T>(&self, f: impl FnOnce(&mut MessageReader) -> T) -> T {
        f(&mut self.state.lock().message)
    }

    /// The client waits for 100 before it sends the body.
    pub(crate) fn expect_continue(&self) {
        self.state.lock().expects_continue = true;
    }

    /// Whether 100 should be sent now; true once.
    pub(crate) fn take_continue(&self) -> bool {
        std::mem::take(&mut self.state.lock().wants_continue)
    }

    pub(crate) fn is_0rtt(&self) -> bool {
        self.state.lock().stream.is_0rtt()
    }
}

impl State {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, End>> {
        if let Some(end) = &self.end {
            return Poll::Ready(Err(end.clone()));
        }
        let end = loop {
            match self.message.next(&mut self.input) {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Ok(None) => {}
                Err(fault) => break End::Fault(fault),
            }
            match ready!(pin!(self.stream.read_chunk(CHUNK, true)).poll(cx)) {
                Ok(Some(chunk)) => self.input = chunk.bytes,
                Ok(None) => match self.message.finish() {
                    Ok(()) => break End::Finished,
                    Err(fault) => break End::Fault(fault),
                },
                Err(ReadError::Reset(_)) => break End::Reset,
                Err(ReadError::ClosedStream) => break End::Stopped,
                Err(_) => break End::Lost,
            }
        };
        self.end = Some(end.clone());
        Poll::Ready(Err(end))
    }
}
