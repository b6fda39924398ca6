//! A response whose body is a file that the host reads.

use super::{Response, Shape, head_setters};

/// A response whose body is a file. The host reads it, and derives `content-type`, `etag`, `last-modified` and the
/// answers to conditional and range requests; the instance is gone before the first byte is sent.
#[derive(Debug)]
pub struct SendFile {
    pub(crate) response: Response,
}

/// A part of a file, in bytes.
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) length: Option<u64>,
}

impl SendFile {
    /// Sends the file at a relative path below a directory that was granted to this component under this name. A path
    /// that leaves the directory is answered with 404.
    pub fn new(directory: impl Into<String>, path: impl Into<String>) -> Self {
        let shape = Shape::SendFile { directory: directory.into(), path: path.into(), range: None };
        Self { response: Response::new(shape) }
    }

    /// Sends only a part, chosen by the guest: `length` bytes (the rest of the file if `None`) from `start`, which
    /// counts from 0. The client's own `Range` is then ignored.
    #[must_use]
    pub fn range(mut self, start: u64, length: Option<u64>) -> Self {
        if let Shape::SendFile { range, .. } = &mut self.response.shape {
            *range = Some(Range { start, length });
        }
        self
    }
}

head_setters!(SendFile, response);
