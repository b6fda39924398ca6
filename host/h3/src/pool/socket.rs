//! The socket of one member: passes datagrams that name another member to that member, and takes datagrams that others
//! have received for this one. It leaves everything else to the socket, including segmentation offload.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::cid::{self, CidKey};
use super::queue::Queue;

/// One of several sockets on a port.
#[derive(Debug)]
pub(super) struct MemberSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    member: usize,
    key: CidKey,
    queues: Arc<[Queue]>,
}

/// How often a socket that receives only foreign datagrams is read before other tasks get their turn.
const READS_PER_POLL: usize = 4;

impl MemberSocket {
    pub(super) fn new(
        socket: Arc<dyn AsyncUdpSocket>,
        member: usize,
        key: CidKey,
        queues: Arc<[Queue]>,
    ) -> MemberSocket {
        MemberSocket { socket, member, key, queues }
    }

    /// Keeps this member's datagrams at the front of the buffers, passes on the rest, and returns how many are kept.
    fn sort(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut kept = 0;
        for index in 0..metas.len() {
            self.sort_batch(&mut buffers[index], &mut metas[index]);
            if metas[index].len > 0 {
                buffers.swap(kept, index);
                metas.swap(kept, index);
                kept += 1;
            }
        }
        kept
    }

    /// Sorts one batch. The kernel combines datagrams of one sender, even of different connections.
    fn sort_batch(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let (length, stride) = (meta.len, meta.stride.max(1));
        let end_of = |start: usize| length.min(start + stride);
        let (mut kept, mut start, mut last) = (0, 0, None);
        while start < length {
            let mut end = end_of(start);
            let route = self.route(&buffer[start..end], &mut last);
            while end < length && self.route(&buffer[end..end_of(end)], &mut last) == route {
                end = end_of(end);
            }
            match route {
                Some(member) => self.queues[member].push(RecvMeta { len: end - start, ..*meta }, &buffer[start..end]),
                None => {
                    buffer.copy_within(start..end, kept);
                    kept += end - start;
                }
            }
            start = end;
        }
        meta.len = kept;
    }

    /// The member that a datagram is for, unless it is this one. A datagram that names no member stays here: it begins
    /// a connection, or is invalid. `last` is the result for the previous datagram.
    fn route(&self, datagram: &[u8], last: &mut Option<([u8; cid::LENGTH], Option<usize>)>) -> Option<usize> {
        let cid = cid::destination(datagram)?;
        let member = match last {
            Some((known, member)) if *known == cid => *member,
            _ => {
                let member = self.key.member(cid);
                *last = Some((cid, member));
                member
            }
        };
        member.filter(|member| *member != self.member && *member < self.queues.len())
    }
}

impl AsyncUdpSocket for MemberSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let queue = &self.queues[self.member];
        for _ in 0..READS_PER_POLL {
            let (received, is_pending) = match self.socket.poll_recv(cx, buffers, metas) {
                Poll::Ready(Ok(received)) => (received, false),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => (0, true),
            };
            let kept = self.sort(&mut buffers[..received], &mut metas[..received]);
            let filled = kept + queue.fill(&mut buffers[kept..], &mut metas[kept..]);
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
            if is_pending && queue.wait(cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::task::Waker;

    use quinn::{Runtime as _, TokioRuntime};

    use super::*;
    use crate::pool::queue::QueueStats;

    /// Makes two members without steering.
    fn members(key: &CidKey, most_datagrams: usize, most_bytes: usize) -> [MemberSocket; 2] {
        let queues: Arc<[Queue]> = (0..2).map(|_| Queue::new(most_datagrams, most_bytes)).collect();
        [0, 1].map(|member| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let socket = TokioRuntime.wrap_udp_socket(socket).expect("a runtime");
            MemberSocket::new(socket, member, key.clone(), Arc::clone(&queues))
        })
    }

    fn datagram(key: &CidKey, member: u16, filling: u8, length: usize) -> Vec<u8> {
        let mut datagram = vec![filling; length];
        datagram[0] = 0x40;
        datagram[1..9].copy_from_slice(&key.encode(member, u64::from(filling)));
        datagram
    }

    /// The datagrams that a socket yields without waiting.
    fn poll(socket: &MemberSocket) -> Vec<Vec<u8>> {
        let mut memory = vec![vec![0; 64 * 1472]; 32];
        let mut buffers: Vec<_> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut metas = vec![RecvMeta::default(); 32];
        match socket.poll_recv(&mut Context::from_waker(Waker::noop()), &mut buffers, &mut metas) {
            Poll::Ready(received) => {
                let received = received.expect("no error");
                let batches = buffers.iter().zip(&metas).take(received);
                batches.flat_map(|(buffer, meta)| buffer[..meta.len].chunks(meta.stride).map(<[u8]>::to_vec)).collect()
            }
            Poll::Pending => Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_batch_is_split_by_member_and_keeps_its_order() {
        let key = CidKey::random().expect("randomness");
        let sockets = members(&key, 100, 100_000);
        // One sender, several connections: 3 that name no member, and the last one shorter.
        let parts: Vec<_> =
            [0, 1, 1, 0, 999, 1, 0, 1].iter().zip(1..).map(|(member, n)| datagram(&key, *member, n, 100)).collect();
        let last = datagram(&key, 0, 9, 40);
        let mut batch = [parts.concat(), last.clone()].concat();
        let mut meta = RecvMeta::default();
        (meta.len, meta.stride) = (batch.len(), 100);
        sockets[0].sort_batch(&mut batch, &mut meta);
        assert_eq!((meta.len, meta.stride), (440, 100));
        let kept = [&parts[0][..], &parts[3], &parts[4], &parts[6], &last].concat();
        assert_eq!(batch[..meta.len], kept);
        assert_eq!(poll(&sockets[1]), [&parts[1], &parts[2], &parts[5], &parts[7]].map(Vec::clone));
        assert!(poll(&sockets[1]).is_empty());
    }

    #[tokio::test]
    async fn what_is_for_another_wakes_it_and_is_not_yielded() {
        let key = CidKey::random().expect("randomness");
        let sockets = members(&key, 100, 100_000);
        let client = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = sockets[0].local_addr().expect("an address");
        let (own, other) = (datagram(&key, 0, 1, 60), datagram(&key, 1, 2, 60));
        let [mine, theirs] = &sockets;
        let wait = |socket| std::future::poll_fn(move |cx| poll_one(socket, cx));
        let (first, second, ()) = tokio::join!(wait(mine), wait(theirs), async {
            // Both are waiting by now.
            tokio::task::yield_now().await;
            client.send_to(&other, address).await.expect("it is sent");
            client.send_to(&own, address).await.expect("it is sent");
        });
        assert_eq!((first, second), (own, other));
    }

    fn poll_one(socket: &MemberSocket, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1472];
        let mut metas = [RecvMeta::default()];
        let received = socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut metas);
        received.map(|received| {
            assert_eq!(received.expect("no error"), 1);
            buffer.truncate(metas[0].len);
            buffer
        })
    }

    /// A member that takes nothing: its queue stays within the bounds, and the rest is counted.
    #[tokio::test]
    async fn a_flood_is_bounded() {
        let key = CidKey::random().expect("randomness");
        for (most_datagrams, most_bytes) in [(50, 1_000_000), (10_000, 50_000)] {
            let sockets = members(&key, most_datagrams, most_bytes);
            let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = sockets[0].local_addr().expect("an address");
            let flood = datagram(&key, 1, 7, 1000);
            for sent in 1..=400 {
                client.send_to(&flood, address).expect("it is sent");
                std::future::poll_fn(|cx| {
                    let mut buffer = vec![0; 64 * 1472];
                    let yielded =
                        sockets[0].poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut [RecvMeta::default()]);
                    assert!(yielded.is_pending(), "nothing is for this member");
                    let QueueStats { taken_in, dropped } = sockets[0].queues[1].stats();
                    if taken_in + dropped == sent { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
            let mut waiting = 0;
            loop {
                match poll(&sockets[1]).len() {
                    0 => break,
                    more => waiting += more,
                }
            }
            assert_eq!(waiting, 50);
            assert_eq!(sockets[0].queues[1].stats(), QueueStats { taken_in: 50, dropped: 350 });
        }
    }

    /// Ten datagrams in one system call each way, if the system supports it.
    #[tokio::test]
    async fn offloads_are_those_of_the_socket() {
        let key = CidKey::random().expect("randomness");
        let [member, other] = members(&key, 100, 100_000);
        let destination = member.local_addr().expect("an address");
        let segments: Vec<_> = (0..10).map(|n| datagram(&key, 0, n, 1200)).collect();
        if other.max_transmit_segments() >= 10 {
            let contents = &segments.concat()[..];
            let transmit = Transmit { destination, ecn: None, contents, segment_size: Some(1200), src_ip: None };
            let other = Arc::new(other);
            let mut poller = Arc::clone(&other).create_io_poller();
            std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.expect("a socket");
            other.try_send(&transmit).expect("it is sent");
            let mut received = Vec::new();
            while received.len() < 12_000 {
                let batch = std::future::poll_fn(|cx| poll_one(&member, cx)).await;
                assert!(member.max_receive_segments() == 1 || batch.len() > 1200, "no batches");
                received.extend(batch);
            }
            assert_eq!(received, contents);
        } else {
            eprintln!("SKIPPED: no segmentation offload");
        }
        assert_eq!(member.max_transmit_segments(), member.socket.max_transmit_segments());
        assert_eq!(member.max_receive_segments(), member.socket.max_receive_segments());
        assert_eq!(member.may_fragment(), member.socket.may_fragment());
    }
}
