//! The receiving half of a request stream, shared by the stream's task and the reader of the body.
//!
//! quinn keeps one waker per stream. Here two tasks may wait for the same stream, its own task for a reset and the
//! reader for data. So quinn is given a waker that wakes both.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use quinn::{ReadError, RecvStream, VarInt};

use crate::code::{Code, Fault};
use crate::message::{Event, MessageReader};

#[derive(Debug)]
pub(crate) struct Receiver {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
    waker: Waker,
}

#[derive(Debug)]
struct State {
    stream: RecvHalf,
    message: MessageReader,
    /// Bytes that were received and not parsed: part of one chunk.
    input: Bytes,
    /// quinn has no more bytes. The reader finds out whether the message is whole, once it has seen the rest.
    finished: bool,
    end: Option<End>,
    reader: Reader,
    /// Whether the stream's task is over.
    task_is_over: bool,
    /// The reader waits for a body that the client holds back until it sees 100 (RFC 9110 section 10.1.1).
    wants_continue: bool,
    expects_continue: bool,
}

/// A stream that the client is asked to stop if this is dropped before its end; quinn would use the code 0, which
/// HTTP/3 does not have.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    stream: RecvStream,
    on_drop: Option<Code>,
}

/// Why no more bytes will come.
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
    /// This side does not want any more.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// The reader does not want the rest.
    Left,
    Reads,
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

/// The most bytes that are taken from quinn at once.
const CHUNK: usize = 64 * 1024;

impl Receiver {
    pub(crate) fn new(stream: RecvStream, message: MessageReader) -> Arc<Receiver> {
        let wakers = Arc::new(Wakers::default());
        let state = State {
            stream: RecvHalf::new(stream, Code::REQUEST_CANCELLED),
            message,
            input: Bytes::new(),
            finished: false,
            end: None,
            reader: Reader::Reads,
            task_is_over: false,
            wants_continue: false,
            expects_continue: false,
        };
        Arc::new(Receiver { state: Mutex::new(state), waker: Waker::from(Arc::clone(&wakers)), wakers })
    }

    /// Polls for the next event of the message; after the end, it repeats the reason of the end.
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

    /// Returns quinn's stream, and the bytes that were read from it and not parsed. `None` while there is another
    /// holder.
    pub(crate) fn into_stream(self: Arc<Self>) -> Option<(RecvHalf, Bytes)> {
        let State { stream, input, .. } = Arc::into_inner(self)?.state.into_inner();
        Some((stream, input))
    }

    /// Resolves, for the stream's task, when the client resets the stream or a fault was found in it.
    ///
    /// It reads one chunk ahead, since `RecvStream::received_reset` leaves its waker in quinn for good if the stream is
    /// then read to its end. So a reset behind more than one unread chunk is found late. But a client that cancels a
    /// request also stops the other half, which is found at once.
    pub(crate) fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<End> {
        self.wakers.task.register(cx.waker());
        let mut state = self.state.lock();
        if state.end.is_none() && state.input.is_empty() && !state.finished {
            // The same waker wakes the task that waits for the result.
            let _ = state.poll_fill(&mut Context::from_waker(&self.waker));
            if state.reader == Reader::Left && !state.input.is_empty() {
                state.stop(Code::NO_ERROR);
            }
        }
        match &state.end {
            Some(end @ (End::Fault(_) | End::Lost | End::Reset)) => Poll::Ready(end.clone()),
            _ => Poll::Pending,
        }
    }

    /// Notes that the client broke a rule that only the reader could see.
    pub(crate) fn fault(&self, fault: Fault) {
        self.state.lock().end = Some(End::Fault(fault));
        self.wakers.task.wake();
    }

    /// Notes that the reader does not want the rest. The client is asked to stop with `H3_NO_ERROR` (RFC 9114 section
    /// 4.1) when it sends more, or when the response is over; not before, since often only its FIN is missing.
    pub(crate) fn discard(&self) {
        let mut state = self.state.lock();
        state.reader = Reader::Left;
        if state.task_is_over || !state.input.is_empty() {
            state.stop(Code::NO_ERROR);
        }
        drop(state);
        self.wakers.task.wake();
    }

    /// Notes that the response is over, and that the stream's task will not poll any more.
    pub(crate) fn task_is_over(&self) {
        let mut state = self.state.lock();
        state.task_is_over = true;
        if state.reader == Reader::Left {
            state.stop(Code::NO_ERROR);
        }
    }

    /// Asks the client to stop sending, unless it already has.
    pub(crate) fn stop(&self, code: Code) {
        self.state.lock().stop(code);
        self.wakers.reader.wake();
    }

    /// The rule that the client broke on this stream, if any.
    pub(crate) fn found_fault(&self) -> Option<Fault> {
        match &self.state.lock().end {
            Some(End::Fault(fault)) => Some(fault.clone()),
            _ => None,
        }
    }

    pub(crate) fn with_message<T>(&self, f: impl FnOnce(&mut MessageReader) -> T) -> T {
        f(&mut self.state.lock().message)
    }

    /// Notes that the client waits for 100 before it sends the body.
    pub(crate) fn expect_continue(&self) {
        self.state.lock().expects_continue = true;
    }

    /// Whether 100 should be sent now; returns true only once.
    pub(crate) fn take_continue(&self) -> bool {
        std::mem::take(&mut self.state.lock().wants_continue)
    }

    /// Whether the client has finished and everything was read.
    pub(crate) fn is_read(&self) -> bool {
        let state = self.state.lock();
        state.finished && state.input.is_empty()
    }

    pub(crate) fn is_0rtt(&self) -> bool {
        self.state.lock().stream.stream.is_0rtt()
    }
}

impl State {
    fn stop(&mut self, code: Code) {
        if self.end.is_none() {
            self.end = Some(End::Stopped);
        }
        if !self.finished && !matches!(self.end, Some(End::Reset | End::Lost)) {
            self.stream.stop(code.varint());
        }
        self.input = Bytes::new();
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, End>> {
        loop {
            if let Some(end) = &self.end {
                return Poll::Ready(Err(end.clone()));
            }
            match self.message.next(&mut self.input) {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Ok(None) if self.finished => {
                    self.end = Some(match self.message.finish() {
                        Ok(()) => End::Finished,
                        Err(fault) => End::Fault(fault),
                    });
                }
                Ok(None) => ready!(self.poll_fill(cx)),
                Err(fault) => self.end = Some(End::Fault(fault)),
            }
        }
    }

    /// Gets the next input, which must be used up, or the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.stream.poll_read(cx, CHUNK)) {
            Ok(Some(bytes)) => self.input = bytes,
            Ok(None) => self.finished = true,
            Err(ReadError::Reset(_)) => self.end = Some(End::Reset),
            Err(ReadError::ClosedStream) => self.end = Some(End::Stopped),
            Err(_) => self.end = Some(End::Lost),
        }
        Poll::Ready(())
    }
}

impl RecvHalf {
    /// Makes a half. `on_drop` is the code for the client if the half is dropped before its end.
    pub(crate) fn new(stream: RecvStream, on_drop: Code) -> RecvHalf {
        RecvHalf { stream, on_drop: Some(on_drop) }
    }

    /// Reads at most `max` bytes; `None` at the end. Later polls find the end and a reset again.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        let read = ready!(pin!(self.stream.read_chunk(max, true)).poll(cx));
        if !matches!(read, Ok(Some(_))) {
            self.on_drop = None;
        }
        Poll::Ready(read.map(|chunk| chunk.map(|chunk| chunk.bytes)))
    }

    pub(crate) fn stop(&mut self, code: VarInt) {
        self.on_drop = None;
        // A stream that is already closed needs no stop.
        let _ = self.stream.stop(code);
    }

    pub(crate) fn set_on_drop(&mut self, code: Code) {
        if self.on_drop.is_some() {
            self.on_drop = Some(code);
        }
    }

    pub(crate) fn id(&self) -> u64 {
        u64::from(VarInt::from(self.stream.id()))
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        if let Some(code) = self.on_drop {
            self.stop(code.varint());
        }
    }
}
