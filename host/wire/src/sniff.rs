//! Detects the protocol of a client on a plain port that serves both: HTTP/2 with prior knowledge starts with 24 bytes
//! that are not a request (RFC 9113, 3.4). The caller holds the deadline.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;

use crate::Protocol;
use crate::socket::Socket;

/// Reads until the protocol is known, and returns the bytes read, to be replayed.
pub(crate) async fn sniff(socket: &Socket) -> io::Result<(Protocol, Start)> {
    let mut start = Start::default();
    loop {
        let mut buf = [MaybeUninit::<u8>::uninit(); PREFACE.len()];
        let room = &mut buf[..PREFACE.len() - start.len()];
        let received = poll_fn(|cx| socket.poll_recv(cx, room)).await?;
        if received == 0 && start.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for byte in &buf[..received] {
            // SAFETY: `poll_recv` has initialised the first `received` bytes.
            start.push(unsafe { byte.assume_init() });
        }
        match start.verdict() {
            Some(protocol) => return Ok((protocol, start)),
            None if received == 0 => return Ok((Protocol::Http1, start)),
            None => {}
        }
    }
}

/// The first bytes of a connection, read and to be replayed. Never longer than the preface.
#[derive(Debug, Default)]
pub(crate) struct Start {
    bytes: [u8; PREFACE.len()],
    from: u8,
    to: u8,
}

impl Start {
    /// Makes the start from these bytes; there are at most as many as the preface has.
    pub(crate) fn of(bytes: &[u8]) -> Start {
        let mut start = Start::default();
        for byte in bytes {
            start.push(*byte);
        }
        start
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.to - self.from)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Takes up to `most` bytes from the front.
    pub(crate) fn take(&mut self, most: usize) -> &[u8] {
        let from = usize::from(self.from);
        let taken = self.len().min(most);
        // `taken` is at most 24.
        self.from += taken as u8;
        &self.bytes[from..from + taken]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.to)] = byte;
        self.to += 1;
    }

    fn verdict(&self) -> Option<Protocol> {
        let read = &self.bytes[..usize::from(self.to)];
        if !PREFACE.starts_with(read) {
            Some(Protocol::Http1)
        } else if read.len() == PREFACE.len() {
            Some(Protocol::Http2)
        } else {
            None
        }
    }
}

/// The preface (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: &[u8]) -> Option<Protocol> {
        let mut start = Start::default();
        bytes.iter().for_each(|byte| start.push(*byte));
        start.verdict()
    }

    #[test]
    fn the_first_byte_that_differs_decides() {
        assert_eq!(verdict(b"G"), Some(Protocol::Http1));
        assert_eq!(verdict(b"P"), None);
        assert_eq!(verdict(b"PO"), Some(Protocol::Http1));
        assert_eq!(verdict(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(verdict(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"), Some(Protocol::Http1));
        assert_eq!(verdict(PREFACE), Some(Protocol::Http2));
    }

    #[test]
    fn what_was_read_is_read_again_in_any_pieces() {
        let mut start = Start::default();
        b"POST /".iter().for_each(|byte| start.push(*byte));
        assert_eq!(start.take(2), b"PO");
        assert_eq!(start.take(100), b"ST /");
        assert!(start.is_empty());
    }
}
