//! Files below granted directories as HTTP responses.
//!
//! A [`Directory`] is opened once, under the name that a manifest gives it. [`respond`] takes a path below it and a
//! request, and gives a response: `ETag` and `Last-Modified`, conditional requests, ranges, precompressed siblings,
//! media type, and a [`FileBody`] that holds at most two chunks of memory. One [`FileCache`] keeps the content of small
//! files. This crate knows neither sockets nor components: static routes and the sendfile shape of a guest are the same
//! call with other [`Options`].
//!
//! | the request | the answer |
//! |---|---|
//! | a path out of the directory, or to nothing, a directory, a FIFO, a device, a hidden file of a route | 404 |
//! | a directory with an index, named without its slash | 301 to a relative location; a query is lost |
//! | `If-Match`, `If-Unmodified-Since` that fail | 412 |
//! | `If-None-Match`, else `If-Modified-Since`, that match | 304 |
//! | one satisfiable range, and `If-Range` if any matches | 206 |
//! | one range beyond the end | 416 with `content-range: bytes */N` |
//! | several ranges, a malformed range, another unit | 200, whole |
//! | `identity;q=0` and no suitable sibling | 406 |
//! | out of descriptors or memory; any other failure of the system | 503; 500 |
//!
//! A HEAD is answered with the fields of the GET without `Range` (RFC 9110, 14.2), and reads nothing.
//!
//! Not covered: listings, compression on the fly, `multipart/byteranges`, upload. The caller handles percent-decoding,
//! other methods, error pages and security fields.

#![forbid(unsafe_code)]

mod body;
mod cache;
mod conditions;
mod directory;
mod encoding;
mod head;
mod path;
mod range;
mod read;
mod request;
mod respond;
mod stamp;

pub use body::FileBody;
pub use cache::{FileCache, MAX_CACHED_FILE};
pub use conditions::{EntityTag, is_known};
pub use directory::{Directory, DirectoryError};
pub use path::NotFound;
pub use range::ByteRange;
pub use read::FileBodyError;
pub use request::{Options, RequestView};
pub use respond::{FileError, respond, try_respond};
