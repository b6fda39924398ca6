//! Small buffered answers with a specific meaning.

use http::StatusCode;

use super::{IntoResponse, Response};

/// HTML, as `text/html; charset=utf-8`.
#[derive(Clone, Debug)]
pub struct Html<T>(pub T);

impl<T: Into<Vec<u8>>> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        Response::buffered(self.0).header("content-type", "text/html; charset=utf-8")
    }
}

/// Redirects the client.
#[derive(Clone, Debug)]
pub struct Redirect {
    status: StatusCode,
    location: String,
}

impl Redirect {
    /// 303: fetch the result of the request there, with GET (RFC 9110, 15.4.4).
    pub fn to(location: impl Into<String>) -> Self {
        Self { status: StatusCode::SEE_OTHER, location: location.into() }
    }

    /// 307: repeat the same request there, this time (RFC 9110, 15.4.8).
    pub fn temporary(location: impl Into<String>) -> Self {
        Self { status: StatusCode::TEMPORARY_REDIRECT, location: location.into() }
    }

    /// 308: repeat the same request there, from now on (RFC 9110, 15.4.9).
    pub fn permanent(location: impl Into<String>) -> Self {
        Self { status: StatusCode::PERMANENT_REDIRECT, location: location.into() }
    }
}

impl IntoResponse for Redirect {
    fn into_response(self) -> Response {
        Response::buffered([]).status(self.status).header("location", self.location)
    }
}
