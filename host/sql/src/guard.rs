//! A bound on the messages of a server.
//!
//! The client puts each message together in memory before it shows it. So a message is refused by its head, which says
//! its length, before the rest is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The bound of one connection, and whether the server has passed it.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// The most bytes of a message.
    pub(crate) most: usize,
    pub(crate) is_passed: Arc<AtomicBool>,
}

/// A stream of a server's messages, each with a type of one byte and its length in four.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    bound: Bound,
    head: [u8; 5],
    /// The bytes of the head that were read.
    seen: usize,
    /// The bytes of the message that are to come.
    left: usize,
}

impl<S> Guarded<S> {
    pub(crate) fn new(stream: S, bound: Bound) -> Self {
        Self { stream, bound, head: [0; 5], seen: 0, left: 0 }
    }

    /// Follows the messages in bytes that were read.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            self.head[self.seen] = *first;
            self.seen += 1;
            bytes = rest;
            if self.seen == self.head.len() {
                let [_, length @ ..] = self.head;
                // The length counts itself.
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).saturating_sub(4);
                if length > self.bound.most {
                    self.bound.is_passed.store(true, Relaxed);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the server is too long"));
                }
                (self.seen, self.left) = (0, length);
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        Poll::Ready(this.follow(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// A TLS handshake, after which the messages are followed.
pub(crate) struct GuardedTls<T> {
    pub(crate) tls: T,
    pub(crate) bound: Bound,
}

impl<S, T> TlsConnect<S> for GuardedTls<T>
where
    S: 'static,
    T: TlsConnect<S> + 'static,
    T::Future: Send,
{
    type Stream = Guarded<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let (made, bound) = (self.tls.connect(stream), self.bound);
        Box::pin(async move { Ok(Guarded::new(made.await?, bound)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(most: usize) -> Bound {
        Bound { most, is_passed: Arc::default() }
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let messages = b"R\0\0\0\x08\0\0\0\0D\0\0\0\x04Z\0\0\0\x05I";
        for size in 1..=messages.len() {
            let mut guarded = Guarded::new((), bound(4));
            for piece in messages.chunks(size) {
                guarded.follow(piece).expect("none is longer than four bytes");
            }
            assert_eq!((guarded.seen, guarded.left), (0, 0), "pieces of {size}");
        }
    }

    #[test]
    fn a_long_message_is_refused_by_its_head() {
        for length in [9, u32::MAX] {
            let mut guarded = Guarded::new((), bound(4));
            guarded.follow(b"Z\0\0\0\x05I").expect("it is short");
            let head = [&b"D"[..], &length.to_be_bytes()].concat();
            assert!(guarded.follow(&head).is_err());
            assert!(guarded.bound.is_passed.load(Relaxed));
        }
    }
}
