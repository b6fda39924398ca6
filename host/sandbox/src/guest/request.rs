//! A request as a guest sees it: the resources `request` and `body`.
//!
//! Nothing is copied into the guest before it asks. A body is either whole (`auto`) or pulled from the wire (`manual`);
//! the guest can tell the difference only by waiting.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use roadrunner_account::{Account, Charge, Gathered, Peer, RequestId};

/// A request handed to an instance.
pub struct Request {
    /// The id in the access log.
    pub id: RequestId,
    /// Method, target, version and header fields.
    pub head: http::request::Parts,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and port as the client gave them, or this end of the connection when it gave none (HTTP/1.0).
    pub authority: String,
    /// The client, after trusted forwarding.
    pub peer: Peer,
    /// The fields of the client's verified certificate; none if the client has shown none.
    pub client_certificate: Option<ClientCertificate>,
    /// Captures of the route's pattern, percent-decoded, in the order of the pattern.
    pub params: Vec<(Arc<str>, String)>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The body; none when there is none.
    pub body: Option<Body>,
    /// The upgrade that a handshake asks for.
    pub upgrade: Option<Upgrade>,
}

/// The fields of a client's verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name (RFC 4514).
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number, in lower-case hexadecimal.
    pub serial: String,
    /// The subject's alternative names.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub sha256: String,
}

/// The upgrade that a handshake asks for.
#[derive(Clone, Debug)]
pub enum Upgrade {
    /// A WebSocket with the offered subprotocols.
    WebSocket(Vec<String>),
    /// A WebTransport session.
    WebTransport,
}

/// The reason why a body ended early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    /// The client ended the connection or the stream.
    #[error("the client ended the request body early")]
    Closed,
    /// The client was too slow.
    #[error("the request body came too slowly")]
    Timeout,
    /// The body is longer than allowed; the limit in bytes.
    #[error("the request body is longer than {0} bytes")]
    TooLarge(u64),
    /// The bytes were not a valid body.
    #[error("the request body is malformed: {0}")]
    Malformed(String),
}

/// A body on the wire.
pub type BodyStream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// The reason why a body ended early, readable outside the instance that reads the body.
#[derive(Clone, Debug, Default)]
pub struct BodyFault(Arc<OnceLock<BodyError>>);

impl BodyFault {
    /// The error; none while nothing is wrong.
    pub fn get(&self) -> Option<&BodyError> {
        self.0.get()
    }
}

/// A request body: the resource `body`.
pub struct Body {
    source: Option<BodyStream>,
    /// Bytes received and not yet read.
    ready: Bytes,
    /// The charge for bytes that were received and not yet read; none when there are few.
    charge: Option<Charge>,
    trailers: Option<HeaderMap>,
    failed: Option<BodyError>,
    /// The fault of the body; none for a whole body.
    fault: Option<BodyFault>,
}

impl Body {
    /// Creates a whole body, with the charge for it.
    pub fn whole(bytes: Bytes, charge: Option<Charge>, trailers: Option<HeaderMap>) -> Self {
        Self { source: None, ready: bytes, charge, trailers, failed: None, fault: None }
    }

    /// Creates a body that is pulled from the wire.
    pub fn stream(source: BodyStream) -> Self {
        let fault = Some(BodyFault::default());
        Self { source: Some(source), ready: Bytes::new(), charge: None, trailers: None, failed: None, fault }
    }

    /// The place where the reason for an early end appears; none for a whole body.
    pub fn fault(&self) -> Option<BodyFault> {
        self.fault.clone()
    }

    /// Reads the next piece, of at most `max` bytes; none at the end.
    pub async fn read(&mut self, max: usize) -> Result<Option<Bytes>, BodyError> {
        poll_fn(|context| self.poll_read(context, max)).await
    }

    /// Polls for the next piece, of at most `max` bytes; none at the end.
    pub fn poll_read(&mut self, context: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, BodyError>> {
        if self.ready.is_empty() {
            ready!(self.poll_fill(context))?;
        }
        if self.ready.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let piece = self.ready.split_to(self.ready.len().min(max));
        let charge = if self.ready.is_empty() { self.charge.take() } else { None };
        // A piece that is given away as a whole may be kept for long.
        Poll::Ready(Ok(Some(match charge {
            Some(charge) if piece.len() as u64 > charge.bytes() / 2 => charge.cover(piece),
            _ => piece,
        })))
    }

    /// Reads the rest of the body, as far as it fits the account of the request.
    pub async fn read_to_end<A: Account + 'static>(&mut self, account: &Arc<A>) -> Result<Bytes, BodyError> {
        if self.source.is_none() && self.failed.is_none() {
            self.charge = None;
            return Ok(std::mem::take(&mut self.ready));
        }
        let mut all = Gathered::none(account.clone());
        loop {
            if self.ready.is_empty() {
                self.fill().await?;
            }
            if self.ready.is_empty() {
                return Ok(all.finish().0);
            }
            if all.push(&self.ready, usize::MAX).is_err() {
                return Err(self.fail(BodyError::TooLarge(all.len() as u64)));
            }
            self.ready.clear();
        }
    }

    /// Returns the trailer fields; the rest of the body is read and dropped.
    pub async fn trailers(&mut self) -> Result<HeaderMap, BodyError> {
        self.ready.clear();
        self.charge = None;
        while self.source.is_some() {
            self.ready.clear();
            self.fill().await?;
        }
        self.ready.clear();
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        Ok(self.trailers.clone().unwrap_or_default())
    }

    /// Takes the trailer fields that have come so far: all of them once a read has returned none.
    pub fn take_trailers(&mut self) -> HeaderMap {
        self.trailers.take().unwrap_or_default()
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.source = None;
        self.failed = Some(error.clone());
        if let Some(fault) = &self.fault {
            // The first error stays.
            let _ = fault.0.set(error.clone());
        }
        error
    }

    async fn fill(&mut self) -> Result<(), BodyError> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    /// Pulls one piece from the wire into `ready`, which must be empty; leaves it empty at the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        debug_assert!(self.ready.is_empty(), "a piece would be lost");
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        while let Some(source) = &mut self.source {
            let frame = match ready!(source.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                None => {
                    self.source = None;
                    break;
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.ready = data;
                    break;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.trailers = Some(trailers);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("streamed", &self.source.is_some())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use roadrunner_account::{Buffers, Holder};

    fn streamed(pieces: Vec<Result<http_body::Frame<Bytes>, BodyError>>) -> Body {
        let stream = StreamBody::new(futures_util::stream::iter(pieces));
        Body::stream(Box::pin(stream.map_err(|e| e)))
    }

    fn account(limit: u64) -> Arc<Holder> {
        Arc::new(Holder { buffers: Buffers::new(limit), tenant: None, connection: Arc::default() })
    }

    #[tokio::test]
    async fn pieces_are_cut_to_the_size_asked_for() {
        let mut body = streamed(vec![
            Ok(http_body::Frame::data("hello".into())),
            Ok(http_body::Frame::data(Bytes::new())),
            Ok(http_body::Frame::data("!".into())),
        ]);
        assert_eq!(body.read(3).await.unwrap().unwrap(), "hel");
        assert_eq!(body.read(3).await.unwrap().unwrap(), "lo");
        assert_eq!(body.read(3).await.unwrap().unwrap(), "!");
        assert!(body.read(3).await.unwrap().is_none());
        assert!(body.read(3).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn trailers_drop_what_is_left() {
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", "1".parse().unwrap());
        let mut body = streamed(vec![
            Ok(http_body::Frame::data("a".into())),
            Ok(http_body::Frame::data("b".into())),
            Ok(http_body::Frame::trailers(fields)),
        ]);
        assert_eq!(body.read(1).await.unwrap().unwrap(), "a");
        assert_eq!(body.trailers().await.unwrap()["x-sum"], "1");
        assert!(body.read(1).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_early_end_is_an_error_each_time() {
        let mut body = streamed(vec![Ok(http_body::Frame::data("a".into())), Err(BodyError::Closed)]);
        assert_eq!(body.read(9).await.unwrap().unwrap(), "a");
        assert!(matches!(body.read(9).await, Err(BodyError::Closed)));
        assert!(matches!(body.read_to_end(&account(9)).await, Err(BodyError::Closed)));
        assert!(matches!(body.trailers().await, Err(BodyError::Closed)));
    }

    #[tokio::test]
    async fn reading_to_the_end_is_bounded() {
        let long = Bytes::from(vec![0; 20 << 10]);
        let mut body = streamed(vec![Ok(http_body::Frame::data("abc".into())), Ok(http_body::Frame::data(long))]);
        assert!(matches!(body.read_to_end(&account(40 << 10)).await, Err(BodyError::TooLarge(3))));
        let mut body =
            streamed(vec![Ok(http_body::Frame::data("abc".into())), Ok(http_body::Frame::data("def".into()))]);
        assert_eq!(body.read_to_end(&account(1 << 20)).await.unwrap(), "abcdef");
    }
}
