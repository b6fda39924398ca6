//! Positioned reads: the part in memory without waiting, or everything on a thread that may wait.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

/// The result of a read that may wait.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// Whether it had to wait for a disk, so that the next one probably will too.
    pub(crate) waited: bool,
}

/// Why a file could not be sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileBodyError {
    /// A read failed.
    #[error("cannot read the file: {0}")]
    Read(#[source] io::Error),
    /// The file is now shorter than when its length was sent.
    #[error("the file ends at byte {at}, {missing} bytes before what was promised")]
    Truncated {
        /// The offset at which it now ends.
        at: u64,
        /// The number of bytes missing from the current read.
        missing: u64,
    },
}

/// Reads the bytes from the start of `span` that the kernel holds in memory, possibly not all of them; `None` if there
/// are none, or if the file system cannot tell.
pub(crate) fn from_memory(file: &File, span: Range<u64>) -> Result<Option<Bytes>, FileBodyError> {
    let mut buffer = buffer(&span);
    let Some(count) = fill_from_memory(file, &mut buffer, span.start)? else {
        return Ok(None);
    };
    if count == 0 {
        return Err(truncated(&span, 0));
    }
    buffer.truncate(count);
    Ok(Some(Bytes::from(buffer)))
}

/// Reads all of `span`, however long it takes.
pub(crate) fn exactly(file: &File, span: Range<u64>) -> Result<Chunk, FileBodyError> {
    let mut buffer = buffer(&span);
    let mut filled = fill_from_memory(file, &mut buffer, span.start)?.unwrap_or(0);
    let waited = filled < buffer.len();
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], span.start + filled as u64) {
            Ok(0) => return Err(truncated(&span, filled)),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileBodyError::Read(error)),
        }
    }
    Ok(Chunk { bytes: Bytes::from(buffer), waited })
}

/// Returns the number of bytes read; 0 at the end of the file; `None` when no bytes can be read without waiting.
#[cfg(target_os = "linux")]
fn fill_from_memory(file: &File, buffer: &mut [u8], offset: u64) -> Result<Option<usize>, FileBodyError> {
    use rustix::io::{Errno, ReadWriteFlags};

    loop {
        match rustix::io::preadv2(file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            // Not in memory, or the kernel, the file system or a seccomp filter does not support the request.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                return Ok(None);
            }
            Err(errno) => return Err(FileBodyError::Read(errno.into())),
        }
    }
}

/// Only Linux supports this.
#[cfg(not(target_os = "linux"))]
fn fill_from_memory(_: &File, _: &mut [u8], _: u64) -> Result<Option<usize>, FileBodyError> {
    Ok(None)
}

fn buffer(span: &Range<u64>) -> Vec<u8> {
    // A span is at most one chunk, which any address space holds.
    vec![0; usize::try_from(span.end - span.start).unwrap_or(usize::MAX)]
}

fn truncated(span: &Range<u64>, filled: usize) -> FileBodyError {
    let at = span.start + filled as u64;
    FileBodyError::Truncated { at, missing: span.end - at }
}
