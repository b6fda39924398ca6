//! Validators for dynamic responses, and 304 for clients that have the body already (RFC 9110, 8.8.3 and 13.1.2).
//!
//! The validator is weak: it says that two bodies are the same before compression, which may follow. It is made from
//! the body alone, so that it holds across restarts and hosts. It saves the transfer; the guest runs every time.
//! `if-modified-since` is ignored: a guest that knows times can answer it itself.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use roadrunner_account::{Digest, Digester, Outcome, PIECE, Pause, Payer};
use roadrunner_files::{EntityTag, is_known};
use roadrunner_manifest::Etag;
use roadrunner_wire::{RequestBody, ResponseBody};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::layer::{Middleware, RouteService};
use crate::answer::refuse;
use crate::record::Accounted;

/// The body that GET would have sent, as an extension of a response to HEAD.
#[derive(Clone, Debug)]
pub(crate) struct HeadBody(pub(crate) Bytes);

/// Bytes of the digest in the validator.
const TAG: usize = 16;

pub(super) struct EtagMiddleware(pub(super) Etag);

impl Middleware for EtagMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        let settings = self.0;
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let is_head = request.method() == Method::HEAD;
            let asked = is_head || request.method() == Method::GET;
            let known: Vec<_> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
            let response = inner.clone().oneshot(request);
            async move {
                let response = response.await?;
                Ok(if asked && response.status() == StatusCode::OK {
                    validated(settings, &known, is_head, response).await
                } else {
                    response
                })
            }
        });
        BoxCloneSyncService::new(service)
    }
}

async fn validated(
    settings: Etag,
    known: &[HeaderValue],
    is_head: bool,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    if !response.headers().contains_key(header::ETAG) {
        let Some(body) = body_of(settings, is_head, &response) else { return response };
        let accounted = response.extensions().get::<Accounted>().cloned();
        match digest(accounted.as_ref().map(|accounted| &accounted.payer), &body).await {
            Ok(digest) => {
                if let Some(tag) = tag(digest) {
                    response.headers_mut().insert(header::ETAG, tag);
                }
            }
            Err(outcome) => {
                let mut failed = refuse(outcome);
                if let Some(accounted) = accounted {
                    accounted.ledger.replace(outcome);
                    failed.extensions_mut().insert(accounted);
                }
                return failed;
            }
        }
    }
    let tag = response.headers().get(header::ETAG);
    let is_current = tag.is_some_and(|tag| is_known(known, EntityTag::parse(tag.as_bytes())));
    if is_current { not_modified(response) } else { response }
}

/// The body to hash; none for a body that is not whole, or too large.
fn body_of(settings: Etag, is_head: bool, response: &Response<ResponseBody>) -> Option<Bytes> {
    let body = match response.extensions().get::<HeadBody>() {
        Some(HeadBody(body)) => body,
        // The body that GET would have sent is not known.
        None if is_head => return None,
        None => response.body().bytes()?,
    };
    (body.len() as u64 <= settings.maximum_size).then(|| body.clone())
}

/// Hashes the body in pieces, which the request pays for.
async fn digest(payer: Option<&Payer>, body: &Bytes) -> Result<Digest, Outcome> {
    // A body that no guest has made is short.
    let Some(payer) = payer else { return Ok(Digest::of(body)) };
    let mut digester = Digester::default();
    let mut pause = Pause::default();
    for piece in body.chunks(PIECE) {
        pause.piece(payer, || digester.update(piece)).await?;
    }
    Ok(digester.finish())
}

fn tag(digest: Digest) -> Option<HeaderValue> {
    let mut tag = String::from("W/\"");
    for byte in &digest.bytes()[..TAG] {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).ok()
}

/// Answers 304, without fields that describe the omitted body (RFC 9110, 15.4.5).
fn not_modified(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::NOT_MODIFIED;
    remove_representation(&mut head.headers);
    head.extensions.remove::<HeadBody>();
    Response::from_parts(head, ResponseBody::empty())
}

fn remove_representation(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::LAST_MODIFIED,
        header::TRAILER,
    ] {
        headers.remove(name);
    }
}
