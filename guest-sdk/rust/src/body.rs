//! The body of a request.

use std::fmt;
use std::io;

use crate::bindings::roadrunner::handler::types as wit;
use crate::error::Result;
use crate::fields::Fields;

/// The body of a request. In the route's body mode `auto` the whole body has arrived when the handler starts; in mode
/// `manual` each read pulls from the wire, and a slow guest slows its client down.
///
/// It is also an [`io::Read`], which never asks for more than fits into the caller's buffer.
pub struct Body(Option<wit::Body>);

impl Body {
    /// Reads the next piece: as much as is available, but at most 64 KiB; `None` at the end. Waits for the client.
    ///
    /// # Errors
    /// When the client cut the body short, a deadline passed or a limit was reached.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>> {
        self.read_up_to(0)
    }

    /// Reads the next piece of at most `max` bytes (0: as much as is available, at most 64 KiB); `None` at the end.
    /// Waits for the client.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub fn read_up_to(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
        match &self.0 {
            Some(body) => Ok(body.read(max)?),
            None => Ok(None),
        }
    }

    /// Reads the rest of the body. Waits for the client.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        match &self.0 {
            Some(body) => Ok(body.read_to_end()?),
            None => Ok(Vec::new()),
        }
    }

    /// Whether there was no body to begin with.
    #[cfg(feature = "tower")]
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Reads the trailer fields that followed the body; the rest of the body is first read and dropped. Waits for the
    /// client.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub fn trailers(&mut self) -> Result<Fields> {
        match &self.0 {
            Some(body) => Ok(body.trailers()?.into()),
            None => Ok(Fields::new()),
        }
    }
}

impl From<Option<wit::Body>> for Body {
    fn from(body: Option<wit::Body>) -> Self {
        Self(body)
    }
}

impl io::Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let max = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let Some(piece) = self.read_up_to(max)? else {
            return Ok(0);
        };
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
