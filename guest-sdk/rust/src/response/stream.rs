//! A response that a closure writes piece by piece.

use std::fmt;
use std::io;

use super::{Response, Shape, head_setters};
use crate::bindings::roadrunner::handler::types as wit;
use crate::error::Result;
use crate::fields::Fields;

/// A response that a closure writes. The head is sent first. Each write is one chunk, which is sent at once and waits
/// while the client does not read. The closure's result is the trailer fields; an error aborts the body, so that the
/// client can tell that it is not whole.
///
/// ```no_run
/// # use roadrunner_guest::Stream;
/// Stream::new(|out| {
///     for number in 0..3 {
///         writeln!(out, "chunk {number}")?;
///     }
///     Ok([("x-chunks", "3")])
/// })
/// .trailer_names(&["x-chunks"]);
/// ```
#[derive(Debug)]
pub struct Stream {
    pub(crate) response: Response,
}

pub(crate) type StreamFn = dyn FnOnce(&Writer<'_>) -> Result<Fields>;

impl Stream {
    /// Makes a response that this closure writes. Without trailer fields it ends with `Ok(())`.
    pub fn new<T: Into<Fields>>(write: impl FnOnce(&Writer<'_>) -> Result<T> + 'static) -> Self {
        Self { response: Response::new(Shape::Stream(Box::new(move |out| write(out).map(Into::into)))) }
    }
}

head_setters!(Stream, response);

/// Writes a response body.
pub struct Writer<'a>(&'a wit::BodyWriter);

impl<'a> Writer<'a> {
    pub(crate) fn new(writer: &'a wit::BodyWriter) -> Self {
        Self(writer)
    }

    /// Sends one chunk. Waits while the client does not read. An empty chunk does nothing.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) when the client is gone, which a stream or a session should take as its
    /// end.
    pub fn write(&self, chunk: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.write(chunk.as_ref())?)
    }

    /// Called by `write!(out, ...)`: sends the formatted text as one chunk.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn write_fmt(&self, text: fmt::Arguments<'_>) -> Result<()> {
        match text.as_str() {
            Some(text) => self.write(text),
            None => self.write(text.to_string()),
        }
    }
}

/// For code that writes to an [`io::Write`]. Every call is a chunk; wrap it in a [`std::io::BufWriter`] if they are
/// small.
impl io::Write for Writer<'_> {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        Writer::write(self, chunk)?;
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As for the writer itself, for code that has a shared reference to it.
impl io::Write for &Writer<'_> {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        Writer::write(self, chunk)?;
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}
