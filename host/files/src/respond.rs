//! From a path to a response: chooses the file, decides the head, finds or reads the content.
//!
//! A lookup, its metadata and the read of a small file take a few microseconds when the kernel has them in memory. They
//! are tried in place, in the mode that fails instead of waiting (`RESOLVE_CACHED`, `RWF_NOWAIT`); only if that fails
//! does the work move to the blocking pool. File systems that talk to a server or a daemon (NFS, FUSE) may still wait
//! in `open` for it.
//!
//! Measured on two cores, Linux 6.18, ext4, wall time per response: 4 KiB from the cache 4 us, read 5.5 us; 64 KiB 4.2
//! and 7 us; an absent file 1.4 us; each missing sibling 1.4 us; 1 MiB 35 us. One trip to the blocking pool alone takes
//! 24 to 45 us, so a hit served from there costs ten times as much. A 64 MiB body takes 3.2 ms in chunks of 128 KiB
//! copied in place, and 9 to 21 ms read on the pool with one chunk ahead; 64 KiB chunks are a third slower, 256 KiB
//! chunks a tenth faster for twice the memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roadrunner_threads::Share;
use rustix::io::Errno;

use crate::body::FileBody;
use crate::cache::{FileCache, MAX_CACHED_FILE};
use crate::directory::{Access, Directory, Entry, LookupError};
use crate::encoding::{Encoding, Preferences};
use crate::head::{self, Chosen, Plan};
use crate::path::{NotFound, RelativePath};
use crate::read::{self, FileBodyError};
use crate::request::{Options, RequestView};
use crate::stamp::Stamp;

/// Answers with the file at `path`, relative and percent-decoded, below `directory`. If it cannot be opened, the answer
/// is an empty 404, 500 or 503 without the caller's fields; [`try_respond`] leaves that to the caller.
pub async fn respond(
    directory: &Directory,
    cache: &FileCache,
    path: &str,
    request: &RequestView<'_>,
    options: Options<'_>,
) -> Response<FileBody> {
    match try_respond(directory, cache, path, request, options).await {
        Ok(response) => response,
        Err(error) => {
            match &error {
                FileError::NotFound { .. } => tracing::debug!(%error, "file not sent"),
                FileError::Io { .. } => tracing::warn!(%error, "file not sent"),
            }
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            response(error.status(), headers, FileBody::empty())
        }
    }
}

/// Does the same as [`respond`], but returns the reason when there is no file to send.
///
/// # Errors
/// When `path` leads to no file that may be served, or the system failed.
pub async fn try_respond(
    directory: &Directory,
    cache: &FileCache,
    path: &str,
    request: &RequestView<'_>,
    options: Options<'_>,
) -> Result<Response<FileBody>, FileError> {
    let failed = |error| FileError::new(directory, path, error);
    let parsed = RelativePath::parse(path, options.hidden).map_err(|reason| failed(LookupError::NotFound(reason)))?;
    let negotiated = options.negotiates();
    let preferences = if negotiated { Preferences::of(request.headers) } else { Preferences::PLAIN };

    // A small file that changes while it is read is chosen again. A file that keeps changing is sent as a large one,
    // which aborts if it shrinks.
    let mut attempts = 3;
    loop {
        attempts -= 1;
        let choice = choose(directory, &parsed, options.index, preferences).await.map_err(failed)?;
        let (file, stamp, encoding, name) = match choice {
            Choice::File { file, stamp, encoding, indexed: false } => (file, stamp, encoding, parsed.last_segment()),
            Choice::File { file, stamp, encoding, indexed: true } => {
                (file, stamp, encoding, options.index.unwrap_or_default())
            }
            Choice::Redirect => return Ok(redirect(parsed.last_segment())),
            Choice::Unacceptable => return Ok(not_acceptable()),
        };
        let now = SystemTime::now();
        let chosen = Chosen { name, stamp, encoding, negotiated };
        let Plan { status, headers, span } = head::plan(request, &options, &chosen, now);

        let body = if span.is_empty() {
            FileBody::empty()
        } else if stamp.size > MAX_CACHED_FILE {
            FileBody::file(Arc::new(file), span, directory.threads().clone())
        } else if let Some(content) = cache.find(&stamp) {
            FileBody::bytes(slice(&content, &span))
        } else {
            let file = Arc::new(file);
            match read_small(&file, &stamp, cache, now, directory.threads())
                .await
                .map_err(|error| failed(error.into()))?
            {
                Some(content) => FileBody::bytes(slice(&content, &span)),
                None if attempts > 0 => continue,
                None => FileBody::file(file, span, directory.threads().clone()),
            }
        };
        return Ok(response(status, headers, body));
    }
}

/// The choice for a path and a client's preferences.
enum Choice {
    File {
        file: File,
        stamp: Stamp,
        encoding: Option<Encoding>,
        /// Whether it represents the requested directory.
        indexed: bool,
    },
    /// A directory named without its slash, below which relative links would break.
    Redirect,
    /// The client excludes the plain file, and there is no alternative.
    Unacceptable,
}

/// Chooses in place if the kernel has everything in memory, otherwise on the blocking pool.
async fn choose(
    directory: &Directory,
    path: &RelativePath<'_>,
    index: Option<&str>,
    preferences: Preferences,
) -> Result<Choice, LookupError> {
    let slash = path.names_directory();
    match choose_now(directory, path.as_str(), slash, index, preferences, Access::Cached) {
        Err(LookupError::Uncached) => {}
        chosen => return chosen,
    }
    let (below, path, index) = (directory.clone(), path.as_str().to_owned(), index.map(str::to_owned));
    let choose = move || choose_now(&below, &path, slash, index.as_deref(), preferences, Access::Blocking);
    directory.threads().start(choose).await
}

fn choose_now(
    directory: &Directory,
    path: &str,
    slash: bool,
    index: Option<&str>,
    preferences: Preferences,
    access: Access,
) -> Result<Choice, LookupError> {
    let mut indexed_path = None;
    let (file, metadata) = match directory.lookup(path, access)? {
        Entry::File(_, _) if slash => return Err(LookupError::NotFound(NotFound::NotAFile)),
        Entry::File(file, metadata) => (file, metadata),
        Entry::Directory => {
            let index = index.ok_or(LookupError::NotFound(NotFound::NotAFile))?;
            let below = if path.is_empty() { index.to_owned() } else { format!("{path}/{index}") };
            let Entry::File(file, metadata) = directory.lookup(&below, access)? else {
                return Err(LookupError::NotFound(NotFound::NotAFile));
            };
            if !slash {
                return Ok(Choice::Redirect);
            }
            indexed_path = Some(below);
            (file, metadata)
        }
    };

    let indexed = indexed_path.is_some();
    let path = indexed_path.as_deref().unwrap_or(path);
    for encoding in preferences.encodings.into_iter().flatten() {
        match directory.lookup(&format!("{path}{}", encoding.suffix()), access) {
            Ok(Entry::File(file, metadata)) => {
                return Ok(Choice::File { file, stamp: Stamp::of(&metadata), encoding: Some(encoding), indexed });
            }
            // A sibling that may not be served is treated as missing.
            Ok(Entry::Directory) | Err(LookupError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if !preferences.identity {
        return Ok(Choice::Unacceptable);
    }
    Ok(Choice::File { file, stamp: Stamp::of(&metadata), encoding: None, indexed })
}

/// Reads the whole content of a small file, and keeps it in the cache; `None` when it changed meanwhile.
async fn read_small(
    file: &Arc<File>,
    stamp: &Stamp,
    cache: &FileCache,
    now: SystemTime,
    threads: &Share,
) -> io::Result<Option<Bytes>> {
    let span = 0..stamp.size;
    let read = match read::from_memory(file, span.clone()) {
        Ok(Some(bytes)) if bytes.len() as u64 == stamp.size => Ok(bytes),
        Ok(_) => {
            let file = file.clone();
            threads.start(move || read::exactly(&file, span)).await.map(|chunk| chunk.bytes)
        }
        Err(error) => Err(error),
    };
    let content = match read {
        Ok(content) => content,
        Err(FileBodyError::Read(error)) => return Err(error),
        Err(FileBodyError::Truncated { .. }) => return Ok(None),
    };
    let after = Stamp::of(&file.metadata()?);
    if !after.has_content_of(stamp) {
        return Ok(None);
    }
    if after == *stamp {
        cache.keep(after, &content, now);
    }
    Ok(Some(content))
}

/// The part of a small file's content; `span` is within its size, and so fits an index.
fn slice(content: &Bytes, span: &Range<u64>) -> Bytes {
    content.slice(span.start as usize..span.end as usize)
}

/// Answers 301 to the same path with a slash. The location is relative, since only the caller knows the prefix.
fn redirect(segment: &str) -> Response<FileBody> {
    let mut headers = HeaderMap::new();
    // "./" keeps a name with a colon from being read as a scheme (RFC 3986, 4.2).
    let location = format!("./{}/", utf8_percent_encode(segment, SEGMENT));
    headers.insert(LOCATION, HeaderValue::try_from(location).expect("percent-encoding leaves printable ASCII"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    response(StatusCode::MOVED_PERMANENTLY, headers, FileBody::empty())
}

/// Answers 406: `Accept-Encoding` excludes the plain file (`identity;q=0`), and no sibling is acceptable (RFC 9110,
/// 12.5.3).
fn not_acceptable() -> Response<FileBody> {
    let mut headers = HeaderMap::new();
    head::add_vary(&mut headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    response(StatusCode::NOT_ACCEPTABLE, headers, FileBody::empty())
}

fn response(status: StatusCode, headers: HeaderMap, body: FileBody) -> Response<FileBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Why there is no file to send.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system failed: the answer is 503 when descriptors or memory ran out, 500 otherwise.
    #[error("file {path:?} in directory {directory:?}: {source}")]
    Io {
        /// The directory's name.
        directory: String,
        /// The requested path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The answer is 404.
    #[error("file {path:?} in directory {directory:?}: {reason}")]
    NotFound {
        /// The directory's name.
        directory: String,
        /// The requested path.
        path: String,
        /// The reason.
        reason: NotFound,
    },
}

impl FileError {
    fn new(directory: &Directory, path: &str, error: LookupError) -> Self {
        let (directory, path) = (directory.name().to_owned(), path.to_owned());
        match error {
            LookupError::Io(source) => Self::Io { directory, path, source },
            LookupError::NotFound(reason) => Self::NotFound { directory, path, reason },
            LookupError::Uncached => Self::Io { directory, path, source: io::ErrorKind::WouldBlock.into() },
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Io { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

/// The characters that are not encoded in a path segment: letters, digits and the other unreserved characters (RFC
/// 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use roadrunner_threads::FILES;

    use super::*;

    /// The file changes between the choice and the read.
    #[tokio::test]
    async fn a_small_file_that_changes_before_it_is_read_is_chosen_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "first").unwrap();
        let file = Arc::new(File::options().read(true).write(true).open(&path).unwrap());
        let stamp = Stamp::of(&file.metadata().unwrap());
        let cache = FileCache::default();
        let later = SystemTime::now() + Duration::from_secs(10);

        for content in ["other", "longer than it was", "tiny", ""] {
            std::fs::write(&path, content).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(100)).unwrap();
            assert_eq!(
                read_small(&file, &stamp, &cache, later, &FILES.share("it")).await.unwrap(),
                None,
                "{content:?}"
            );
            assert!(cache.is_empty());
        }

        std::fs::write(&path, "second").unwrap();
        let stamp = Stamp::of(&file.metadata().unwrap());
        // Another name gives another change time with the same content: it may be sent, but not kept.
        std::fs::hard_link(&path, directory.path().join("link")).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        std::fs::remove_file(directory.path().join("link")).unwrap();
        assert_eq!(
            read_small(&file, &stamp, &cache, later, &FILES.share("it")).await.unwrap().as_deref(),
            Some(&b"second"[..])
        );
        assert!(cache.is_empty());
        let stamp = Stamp::of(&file.metadata().unwrap());
        assert!(read_small(&file, &stamp, &cache, later, &FILES.share("it")).await.unwrap().is_some());
        assert_eq!(cache.len(), 1);
    }
}
