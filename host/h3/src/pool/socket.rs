//! The socket of one member: hands datagrams that name another member to that member, and takes what others have
//! received for this one. Everything else is the socket's own, segmentation offload included.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::{
    cid::{self, CidKey},
    queue::Queue,
};

/// A socket that is one of several on its port.
#[derive(Debug)]
pub(super) struct MemberSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    member: usize,
    key: CidKey,
    queues: Arc<[Queue]>,
}

/// How often a socket is read when everything that comes is for others, before other tasks get their turn.
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

    /// Keeps what is for this member at the front of the buffers, hands on the rest, and returns how many are kept.
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

    /// The kernel puts datagrams of one sender together, whichever connections they belong to.
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

    /// The member that a datagram is for, unless it is this one. What names none stays where it is: it begins a
    /// connection, or it is nothing. `last` is what was found for the datagram before it.
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
