//! The borders of messages in a body: each has a flag, a length of four bytes and its content (PROTOCOL-HTTP2.md,
//! Length-Prefixed-Message).

/// The bytes in front of a message.
const HEADER: usize = 5;

/// The messages of one body, which comes in pieces.
#[derive(Clone, Debug)]
pub struct Messages {
    /// The longest message, in bytes.
    limit: u32,
    header: [u8; HEADER],
    /// The bytes of the header that have come.
    header_len: usize,
    /// The bytes of the message that have not come.
    missing: u32,
}

/// The reason why a body has no valid messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// The flag in front of a message is neither 0 nor 1.
    #[error("a message has the flag {0}")]
    Flag(u8),
    /// A message is longer than the limit.
    #[error("a message of {length} bytes is longer than {limit}")]
    TooLong {
        /// The length that the message claims.
        length: u32,
        /// The limit.
        limit: u32,
    },
    /// The body ended within a message.
    #[error("the last message is not whole")]
    Truncated,
}

impl Messages {
    /// Makes the reader of a body whose messages have at most `limit` bytes each.
    pub fn new(limit: u32) -> Self {
        Self { limit, header: [0; HEADER], header_len: 0, missing: 0 }
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// When a message in it, whose content need not have come, is not valid. Nothing more may be read then.
    pub fn read(&mut self, mut piece: &[u8]) -> Result<(), MessageError> {
        while !piece.is_empty() {
            if self.missing > 0 {
                let taken = piece.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
                // At most what is missing, which is a u32.
                self.missing -= taken as u32;
                piece = &piece[taken..];
                continue;
            }
            let taken = piece.len().min(HEADER - self.header_len);
            self.header[self.header_len..self.header_len + taken].copy_from_slice(&piece[..taken]);
            self.header_len += taken;
            piece = &piece[taken..];
            if self.header_len == HEADER {
                self.header_len = 0;
                self.missing = self.length()?;
            }
        }
        Ok(())
    }

    /// Takes the end of the body.
    ///
    /// # Errors
    /// [`MessageError::Truncated`] if it comes within a message.
    pub fn end(&self) -> Result<(), MessageError> {
        if self.missing > 0 || self.header_len > 0 { Err(MessageError::Truncated) } else { Ok(()) }
    }

    /// The length in the header.
    fn length(&self) -> Result<u32, MessageError> {
        let [flag, length @ ..] = self.header;
        if flag > 1 {
            return Err(MessageError::Flag(flag));
        }
        let (length, limit) = (u32::from_be_bytes(length), self.limit);
        if length > limit { Err(MessageError::TooLong { length, limit }) } else { Ok(length) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(flag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("a short message").to_be_bytes();
        [&[flag][..], &length, content].concat()
    }

    fn read(limit: u32, body: &[u8]) -> Result<(), MessageError> {
        let mut messages = Messages::new(limit);
        messages.read(body)?;
        messages.end()
    }

    #[test]
    fn whole_messages_are_valid() {
        assert_eq!(read(0, b""), Ok(()));
        assert_eq!(read(0, &message(0, b"")), Ok(()));
        assert_eq!(read(3, &[message(0, b"abc"), message(1, b"")].concat()), Ok(()));
    }

    #[test]
    fn wrong_messages_have_a_reason() {
        assert_eq!(read(3, &message(0, b"abcd")), Err(MessageError::TooLong { length: 4, limit: 3 }));
        assert_eq!(read(3, &message(2, b"")), Err(MessageError::Flag(2)));
        assert_eq!(read(3, b"GET /"), Err(MessageError::Flag(b'G')));
        assert_eq!(read(3, &message(0, b"abc")[..7]), Err(MessageError::Truncated));
        assert_eq!(read(3, b"\0\0"), Err(MessageError::Truncated));
        // The length alone is enough.
        assert_eq!(read(3, b"\0\xff\xff\xff\xff"), Err(MessageError::TooLong { length: u32::MAX, limit: 3 }));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            body in prop_oneof![
                proptest::collection::vec((0_u8..3, proptest::collection::vec(any::<u8>(), 0..20)), 0..5)
                    .prop_map(|all| all.iter().flat_map(|(flag, content)| message(*flag, content)).collect::<Vec<_>>()),
                proptest::collection::vec(any::<u8>(), 0..60),
            ],
            cuts in proptest::collection::vec(0_usize..60, 0..6),
            limit in 0_u32..24,
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.sort_unstable();
            let mut messages = Messages::new(limit);
            let mut from = 0;
            let mut result = Ok(());
            for to in cuts.into_iter().chain([body.len()]) {
                result = result.and_then(|()| messages.read(&body[from..to]));
                from = to;
            }
            prop_assert_eq!(result.and_then(|()| messages.end()), read(limit, &body));
        }
    }
}
