//! Errors: of an operation of the host ([`Error`]), or of a request that does not fit the handler ([`Rejection`]).

use std::fmt;
use std::io;

use http::StatusCode;

use crate::bindings::roadrunner::handler::types as wit;
use crate::response::{IntoResponse, Response};

/// The result of an operation of the host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a body, a writer, a topic or a route failed. The WIT item is `types.error`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The other side is gone, or this side has already finished.
    Closed,
    /// A fault outside the guest, or one that the guest reported with [`Error::internal`].
    Internal(String),
    /// The host's policy does not allow it; the text names the rule.
    Refused(String),
    /// A deadline of the host passed.
    Timeout,
    /// This limit, in bytes, would have been exceeded.
    TooLarge(u64),
}

impl Error {
    /// Makes an error for a guest's own failure, with a text: a stream returns it to abort its body.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::Internal(what.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side is gone"),
            Self::Internal(what) => write!(f, "internal error: {what}"),
            Self::Refused(rule) => write!(f, "refused: {rule}"),
            Self::Timeout => f.write_str("a deadline passed"),
            Self::TooLarge(limit) => write!(f, "larger than the limit of {limit} bytes"),
        }
    }
}

impl std::error::Error for Error {}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Closed => Self::Closed,
            wit::Error::Internal(what) => Self::Internal(what),
            wit::Error::Refused(rule) => Self::Refused(rule),
            wit::Error::Timeout => Self::Timeout,
            wit::Error::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Closed => Self::Closed,
            Error::Internal(what) => Self::Internal(what),
            Error::Refused(rule) => Self::Refused(rule),
            Error::Timeout => Self::Timeout,
            Error::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Closed => io::ErrorKind::BrokenPipe,
            Error::Refused(_) => io::ErrorKind::PermissionDenied,
            Error::Timeout => io::ErrorKind::TimedOut,
            Error::TooLarge(_) => io::ErrorKind::FileTooLarge,
            Error::Internal(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::internal(error),
        }
    }
}

/// Lets `?` end a handler: the client sees the fault of its request, but not faults of the guest or the host.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Rejection::from(self).into_response()
    }
}

/// The answer to a request that a helper could not convert for the handler: a status, and a line of text for the
/// client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection {
    status: StatusCode,
    message: String,
}

impl Rejection {
    /// Makes a rejection with this status and a line of text for the client.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The status that the client gets.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text that the client gets.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)
    }
}

impl std::error::Error for Rejection {}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        match error {
            Error::Closed => Self::new(StatusCode::BAD_REQUEST, "the request body was cut short"),
            Error::Refused(_) | Error::Internal(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            Error::Timeout => Self::new(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
            Error::TooLarge(limit) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the request body is larger than {limit} bytes"))
            }
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut message = self.message;
        message.push('\n');
        message.into_response().status(self.status)
    }
}
