//! The datagrams of a connection that wait to be read, by stream.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// The queues of a connection, by stream.
#[derive(Debug)]
pub(crate) struct Queues {
    limit: usize,
    queues: Mutex<HashMap<u64, Arc<Queue>>>,
}

/// The datagrams of a stream that wait to be read.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) datagrams: Mutex<VecDeque<Bytes>>,
    pub(crate) limit: AtomicUsize,
    pub(crate) arrived: AtomicWaker,
}

impl Queue {
    fn new(limit: usize) -> Queue {
        Queue { datagrams: Mutex::default(), limit: AtomicUsize::new(limit.max(1)), arrived: AtomicWaker::new() }
    }
}

impl Queues {
    pub(crate) fn new(limit: usize) -> Queues {
        Queues { limit, queues: Mutex::default() }
    }

    /// Makes the queue of a stream.
    pub(crate) fn open(&self, stream: u64) -> Arc<Queue> {
        let queue = Arc::new(Queue::new(self.limit));
        self.queues.lock().insert(stream, Arc::clone(&queue));
        queue
    }

    /// Forgets the queue of a stream.
    pub(crate) fn close(&self, stream: u64) {
        self.queues.lock().remove(&stream);
    }

    /// Delivers a datagram to its stream. Datagrams of streams that have ended, or that do not use them, are dropped
    /// (RFC 9297 section 2.1).
    pub(crate) fn deliver(&self, stream: u64, payload: Bytes) {
        let Some(queue) = self.queues.lock().get(&stream).cloned() else { return };
        let mut datagrams = queue.datagrams.lock();
        while datagrams.len() >= queue.limit.load(Ordering::Acquire) {
            datagrams.pop_front();
        }
        // A copy, since the slice keeps a whole batch of received packets.
        datagrams.push_back(Bytes::copy_from_slice(&payload));
        drop(datagrams);
        queue.arrived.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_dropped() {
        let queues = Queues::new(2);
        let queue = queues.open(4);
        for payload in [&b"a"[..], b"b", b"c"] {
            queues.deliver(4, Bytes::copy_from_slice(payload));
            queues.deliver(8, Bytes::copy_from_slice(payload));
        }
        assert_eq!(*queue.datagrams.lock(), [&b"b"[..], b"c"]);
    }
}
