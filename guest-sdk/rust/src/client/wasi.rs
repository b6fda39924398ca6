//! The requests over `wasi:http`.

use std::fmt;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    self as wit, ErrorCode, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use super::{Failure, Timeouts};
use crate::fields::Fields;

/// A request under way. The stream is a child of the body, and so is dropped first.
pub(super) struct Sending {
    stream: Option<OutputStream>,
    body: Option<OutgoingBody>,
    answer: FutureIncomingResponse,
}

impl Sending {
    pub(super) fn start(head: &http::request::Parts, timeouts: Timeouts) -> Result<Self, Failure> {
        let entries: Vec<(String, Vec<u8>)> = Fields::from(&head.headers).into();
        let fields = wit::Fields::from_list(&entries).map_err(|_| Failure::Invalid("a header field"))?;
        let request = OutgoingRequest::new(fields);
        let scheme = if head.uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        request.set_method(&method(&head.method)).map_err(|()| Failure::Invalid("the method"))?;
        request.set_scheme(Some(&scheme)).map_err(|()| Failure::Invalid("the scheme"))?;
        request
            .set_authority(head.uri.authority().map(|authority| authority.as_str()))
            .map_err(|()| Failure::Invalid("the host"))?;
        request.set_path_with_query(Some(target)).map_err(|()| Failure::Invalid("the path"))?;
        let body = request.body().map_err(|()| Failure::Invalid("the body"))?;
        let stream = body.write().map_err(|()| Failure::Invalid("the body"))?;
        let answer = outgoing_handler::handle(request, options(timeouts)).map_err(Failure::from)?;
        Ok(Self { stream: Some(stream), body: Some(body), answer })
    }

    pub(super) fn write(&mut self, mut piece: &[u8]) -> bool {
        let Some(stream) = &self.stream else { return false };
        while !piece.is_empty() {
            let Ok(room) = stream.check_write() else { return self.is_over() };
            if room == 0 {
                stream.subscribe().block();
                continue;
            }
            let (now, later) = piece.split_at(piece.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if stream.write(now).is_err() {
                return self.is_over();
            }
            piece = later;
        }
        stream.flush().is_ok() || self.is_over()
    }

    pub(super) fn finish(&mut self, trailers: Fields) -> Result<(), Failure> {
        self.stream = None;
        let Some(body) = self.body.take() else { return Ok(()) };
        let trailers = if trailers.is_empty() {
            None
        } else {
            let entries: Vec<(String, Vec<u8>)> = trailers.into();
            let fields = wit::Fields::from_list(&entries);
            Some(fields.map_err(|_| Failure::Invalid("a trailer field"))?)
        };
        OutgoingBody::finish(body, trailers).map_err(Failure::from)
    }

    pub(super) fn head(&mut self) -> Result<(u16, Fields, Receiving), Failure> {
        self.answer.subscribe().block();
        let response = match self.answer.get() {
            Some(Ok(response)) => response?,
            Some(Err(())) | None => return Err(Failure::Other("its answer was taken already".to_owned())),
        };
        let (status, fields) = (response.status(), response.headers().entries().into());
        let body = response.consume().map_err(|()| Failure::Other("its body was taken already".to_owned()))?;
        let stream = body.stream().map_err(|()| Failure::Other("its body was taken already".to_owned()))?;
        Ok((status, fields, Receiving { stream: Some(stream), body: Some(body), trailers: Fields::new() }))
    }

    /// The server reads no more.
    fn is_over(&mut self) -> bool {
        self.stream = None;
        false
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

/// An answer under way. The stream is a child of the body, and so is dropped first.
pub(super) struct Receiving {
    stream: Option<InputStream>,
    body: Option<IncomingBody>,
    trailers: Fields,
}

impl Receiving {
    pub(super) fn read(&mut self, max: u64) -> Result<Option<Vec<u8>>, Failure> {
        let Some(stream) = &self.stream else { return Ok(None) };
        loop {
            match stream.blocking_read(max) {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Ok(Some(piece)),
                Err(StreamError::Closed) => return self.finish().map(|()| None),
                Err(StreamError::LastOperationFailed(error)) => {
                    let failure = match wit::http_error_code(&error) {
                        Some(code) => Failure::from(code),
                        None => Failure::Other("its answer was cut short".to_owned()),
                    };
                    self.stream = None;
                    return Err(failure);
                }
            }
        }
    }

    pub(super) fn trailers(&mut self) -> Result<Fields, Failure> {
        Ok(std::mem::take(&mut self.trailers))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.stream = None;
        let Some(body) = self.body.take() else { return Ok(()) };
        let future = IncomingBody::finish(body);
        future.subscribe().block();
        if let Some(Ok(trailers)) = future.get() {
            self.trailers = trailers?.map(|fields| fields.entries().into()).unwrap_or_default();
        }
        Ok(())
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").finish_non_exhaustive()
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::HttpRequestDenied => Self::Denied,
            ErrorCode::DestinationIpProhibited => Self::Private,
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Self::Timeout(format!("{code:?}")),
            ErrorCode::InternalError(Some(why)) => Self::Other(why),
            code => Self::Other(format!("{code:?}")),
        }
    }
}

fn method(method: &http::Method) -> Method {
    match method.as_str() {
        "CONNECT" => Method::Connect,
        "DELETE" => Method::Delete,
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "TRACE" => Method::Trace,
        other => Method::Other(other.to_owned()),
    }
}

fn options(timeouts: Timeouts) -> Option<RequestOptions> {
    if timeouts == Timeouts::default() {
        return None;
    }
    let options = RequestOptions::new();
    let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    // A host that does not know a timeout keeps its own.
    let _ = options.set_connect_timeout(timeouts.connect.map(nanoseconds));
    let _ = options.set_first_byte_timeout(timeouts.first_byte.map(nanoseconds));
    let _ = options.set_between_bytes_timeout(timeouts.between_bytes.map(nanoseconds));
    Some(options)
}
