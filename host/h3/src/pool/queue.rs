//! The datagrams that other members have received for one member, until it takes them. Bounded in datagrams and in
//! bytes: a member that does not keep up loses datagrams here as it would in its socket, and their senders slow down.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::task::{Context, Waker};

use parking_lot::Mutex;
use quinn::udp::RecvMeta;

/// The datagrams on their way to one member.
#[derive(Debug)]
pub(super) struct Queue {
    most_datagrams: usize,
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    datagrams: usize,
    bytes: usize,
    /// The task of the member, if it is waiting.
    waker: Option<Waker>,
    stats: QueueStats,
}

/// Datagrams of one sender, as the kernel has combined them: all but the last as long as `meta.stride`.
#[derive(Debug)]
struct Batch {
    meta: RecvMeta,
    data: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueStats {
    /// Datagrams that were put into the queue.
    pub(super) taken_in: u64,
    /// Datagrams that were dropped for lack of room.
    pub(super) dropped: u64,
}

impl Queue {
    pub(super) fn new(most_datagrams: usize, most_bytes: usize) -> Queue {
        Queue { most_datagrams, most_bytes, state: Mutex::default() }
    }

    /// Adds a whole batch if there is room for it, or nothing.
    pub(super) fn push(&self, meta: RecvMeta, data: &[u8]) {
        let datagrams = data.len().div_ceil(meta.stride.max(1));
        let mut state = self.state.lock();
        if state.datagrams + datagrams > self.most_datagrams || state.bytes + data.len() > self.most_bytes {
            state.stats.dropped += datagrams as u64;
            return;
        }
        state.stats.taken_in += datagrams as u64;
        state.datagrams += datagrams;
        state.bytes += data.len();
        state.batches.push_back(Batch { meta, data: data.into() });
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Fills buffers as a socket does, each with one batch, and returns how many it filled.
    pub(super) fn fill(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        if buffers.is_empty() {
            return 0;
        }
        let mut state = self.state.lock();
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(batch) = state.batches.pop_front() else { break };
            state.datagrams -= batch.data.len().div_ceil(batch.meta.stride.max(1));
            state.bytes -= batch.data.len();
            // All members have buffers of the same size, and the batch came from one of them.
            buffer[..batch.data.len()].copy_from_slice(&batch.data);
            *meta = batch.meta;
            filled += 1;
        }
        filled
    }

    /// Whether the queue is empty. If so, the task is woken when it no longer is.
    pub(super) fn wait(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.state.lock();
        if !state.batches.is_empty() {
            return false;
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker @ None => *waker = Some(cx.waker().clone()),
        }
        true
    }

    pub(super) fn stats(&self) -> QueueStats {
        self.state.lock().stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(length: usize, stride: usize) -> RecvMeta {
        let mut meta = RecvMeta::default();
        (meta.len, meta.stride) = (length, stride);
        meta
    }

    fn take(queue: &Queue) -> Option<(RecvMeta, Vec<u8>)> {
        let (mut buffer, mut metas) = ([0; 4096], [RecvMeta::default()]);
        let filled = queue.fill(&mut [IoSliceMut::new(&mut buffer)], &mut metas);
        (filled == 1).then(|| (metas[0], buffer[..metas[0].len].to_vec()))
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let queue = Queue::new(10, 1000);
        queue.push(meta(250, 100), &[1; 250]);
        queue.push(meta(3, 3), &[2; 3]);
        let (first, data) = take(&queue).expect("a batch");
        assert_eq!((first.len, first.stride, &data[..]), (250, 100, &[1; 250][..]));
        assert_eq!(take(&queue).expect("a batch").1, [2; 3]);
        assert!(take(&queue).is_none());
    }

    #[test]
    fn bounded_in_datagrams() {
        let queue = Queue::new(4, 1_000_000);
        queue.push(meta(250, 100), &[0; 250]);
        queue.push(meta(20, 10), &[0; 20]);
        queue.push(meta(10, 10), &[0; 10]);
        assert_eq!(queue.stats(), QueueStats { taken_in: 4, dropped: 2 });
        assert!(take(&queue).is_some());
        queue.push(meta(30, 10), &[0; 30]);
        assert_eq!(queue.stats(), QueueStats { taken_in: 7, dropped: 2 });
    }

    #[test]
    fn bounded_in_bytes() {
        let queue = Queue::new(1_000_000, 1000);
        for _ in 0..100 {
            queue.push(meta(300, 300), &[0; 300]);
        }
        assert_eq!(queue.stats(), QueueStats { taken_in: 3, dropped: 97 });
        let held: usize = queue.state.lock().batches.iter().map(|batch| batch.data.len()).sum();
        assert_eq!(held, 900);
    }
}
