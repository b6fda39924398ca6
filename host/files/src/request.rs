//! The request for a file, and the options of the answer.

use http::header::{CONTENT_ENCODING, ETAG, HeaderMap};
use http::{Method, StatusCode};

use crate::range::ByteRange;

/// The relevant parts of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The request's method. Conditions and negotiation apply to GET and HEAD, ranges to GET. Another method gets the
    /// file as it is; a route that serves only files refuses it earlier.
    pub method: &'a Method,
    /// The request's header fields.
    pub headers: &'a HeaderMap,
}

/// How a file is served.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The status. With 200, the request's conditions and range may change it to 304, 412, 206 or 416; any other status
    /// is sent as it is.
    pub status: StatusCode,
    /// Fields that override derived ones. The host always sets `content-length`. `content-encoding` or `etag` here turn
    /// siblings off, since they apply to one file; `accept-ranges: none` turns ranges off.
    pub headers: HeaderMap,
    /// A part of the file chosen by the caller, to which the request's `Range` then does not apply. With status 206 it
    /// is sent with its `content-range` and the file's validators; with any other status it is the whole content, with
    /// its own tag. A part that starts beyond the end (or is empty, with status 206) is answered with 416.
    pub range: Option<ByteRange>,
    /// The file that represents a directory, such as `index.html`. `None`: a directory is 404.
    pub index: Option<&'a str>,
    /// Whether segments that start with a dot are served. `.well-known` at the start always is.
    pub hidden: bool,
    /// Whether `.br`, `.zst` and `.gz` siblings are sent to clients that accept them.
    pub siblings: bool,
}

impl Options<'_> {
    /// The options for a route of files without a guest: 200, siblings, no hidden files, no index.
    pub fn for_route() -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            range: None,
            index: None,
            hidden: false,
            siblings: true,
        }
    }

    /// The options for a guest that answered `sendfile`: its head and range; siblings, hidden files as it chose, no
    /// index.
    pub fn for_guest(status: StatusCode, headers: HeaderMap, range: Option<ByteRange>) -> Self {
        Self { status, headers, range, hidden: true, ..Self::for_route() }
    }

    /// Whether the choice between a file and its siblings is open.
    pub(crate) fn negotiates(&self) -> bool {
        self.siblings
            && self.status == StatusCode::OK
            && self.range.is_none()
            && !self.headers.contains_key(CONTENT_ENCODING)
            && !self.headers.contains_key(ETAG)
    }
}

impl Default for Options<'_> {
    /// [`Options::for_route`].
    fn default() -> Self {
        Self::for_route()
    }
}
