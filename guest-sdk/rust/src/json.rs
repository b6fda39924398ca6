//! JSON bodies, and streams of lines of JSON.

use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Rejection};
use crate::response::{IntoResponse, Response, Stream};

/// A value as JSON, as `application/json`.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => Response::buffered(body).header("content-type", "application/json"),
            Err(error) => {
                crate::log::write(crate::log::Level::Error, &format!("the response is not JSON: {error}"));
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// A stream of values, each a line of JSON, as `application/x-ndjson`. Each line is a separate chunk, made when the
/// iterator yields it.
#[derive(Debug)]
pub struct NdJson {
    response: Response,
}

impl NdJson {
    /// Streams the items of an iterator.
    pub fn new<I>(items: I) -> Self
    where
        I: IntoIterator<Item: Serialize> + 'static,
    {
        let stream = Stream::new(move |out| {
            for item in items {
                out.write(line(&item)?)?;
            }
            Ok(())
        });
        Self { response: stream.header("content-type", "application/x-ndjson").into_response() }
    }
}

crate::response::head_setters!(NdJson, response);

impl IntoResponse for NdJson {
    fn into_response(self) -> Response {
        self.response
    }
}

/// Formats a value as a line of JSON, with its line feed.
///
/// # Errors
/// When JSON cannot represent the value, such as a map with keys that are not text.
pub fn line(item: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(item).map_err(Error::internal)?;
    line.push(b'\n');
    Ok(line)
}

/// Parses a request body.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Rejection> {
    serde_json::from_slice(body).map_err(|error| {
        let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        Rejection::new(status, format!("the body is not the expected JSON: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_line_feed_inside() {
        assert_eq!(line(&("a\nb", 1)).unwrap(), b"[\"a\\nb\",1]\n");
    }

    #[test]
    fn wrong_json_and_another_shape_differ() {
        assert_eq!(parse::<u32>(b"7,").unwrap_err().status(), StatusCode::BAD_REQUEST);
        assert_eq!(parse::<u32>(b"\"x\"").unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(parse::<u32>(b"7").unwrap(), 7);
    }
}
