//! Response compression: tower-http's, with our own choice of the coding and of the responses to compress.
//!
//! Among codings that the client prefers equally, tower-http takes its own favorite; here the manifest decides.
//! Responses that must not change are left alone: event loops and event streams unless they are asked for, encoded
//! responses, ranges, and responses with a strong validator (RFC 9110, 8.8.3.3), which includes every file.

mod body;

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use roadrunner_manifest::{Compression, Encoding, MediaType};
use roadrunner_wire::{Held, RequestBody, ResponseBody};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};
use tower_http::compression::predicate::Predicate;
use tower_http::compression::{CompressionBody, CompressionLayer};

use self::body::{Compressed, Pieces};
use super::etag::HeadBody;
use super::layer::{Middleware, RouteService};
use crate::buffers;
use crate::record::Accounted;

pub(super) struct CompressionMiddleware(pub(super) Compression);

impl Middleware for CompressionMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        BoxCloneSyncService::new(compress(&self.0, inner).map_response(buffers::compressed))
    }
}

fn compress(settings: &Compression, inner: RouteService) -> RouteService {
    let encodings = settings.encodings.clone();
    let types = settings.types.clone().map(Arc::from);
    let compressible = Compressible { minimum: settings.minimum_size, types, loops: settings.loops };
    let target = compressible.clone();
    let inner = tower::service_fn(move |mut request: Request<RequestBody>| {
        let (inner, compressible) = (inner.clone(), target.clone());
        let preferences = restore_preferences(&mut request);
        let is_head = request.method() == Method::HEAD;
        async move {
            let response = inner.oneshot(request).await?;
            Ok::<_, Infallible>(in_pieces(without_body(&compressible, is_head, preferences.chosen, response)))
        }
    });
    let service = layer(settings, compressible).layer(inner);
    let service = service.map_request(move |request| narrow_preferences(&encodings, request));
    BoxCloneSyncService::new(service.map_response(whole))
}

fn layer(settings: &Compression, compressible: Compressible) -> CompressionLayer<Compressible> {
    let has = |encoding| settings.encodings.contains(&encoding);
    CompressionLayer::new()
        .br(has(Encoding::Brotli))
        .gzip(has(Encoding::Gzip))
        .zstd(has(Encoding::Zstd))
        .compress_when(compressible)
}

/// Handles responses that the layer skips because they have no body. A HEAD gets the fields of a GET (RFC 9110, 9.3.2),
/// and a 304 says that the encoding was a choice (15.4.5).
fn without_body(
    compressible: &Compressible,
    is_head: bool,
    chosen: Option<&'static str>,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    if response.status() == StatusCode::NOT_MODIFIED {
        // The content type, which would decide, is not sent with a 304.
        if !is_strong(response.headers()) && !response.headers().contains_key(header::CONTENT_ENCODING) {
            add_vary(response.headers_mut());
        }
    } else if is_head && response.body().is_end_stream() && !response.headers().contains_key(header::CONTENT_ENCODING) {
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if compressible.takes(&response, length) {
            let headers = response.headers_mut();
            add_vary(headers);
            if let Some(chosen) = chosen {
                // The length is unknown, and no validator can be made of a compressed body.
                headers.remove(header::CONTENT_LENGTH);
                headers.remove(header::ACCEPT_RANGES);
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(chosen));
                response.extensions_mut().remove::<HeadBody>();
            }
        }
    }
    response
}

fn add_vary(headers: &mut HeaderMap) {
    let named = headers.get_all(header::VARY).iter().any(|value| contains(value, "accept-encoding") || value == "*");
    if !named {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Whether a response has a validator that holds only for these bytes.
fn is_strong(headers: &HeaderMap) -> bool {
    headers.get(header::ETAG).is_some_and(|etag| !etag.as_bytes().starts_with(b"W/"))
}

/// The client's preferences, kept while the compression layer sees only the chosen coding.
#[derive(Clone, Default)]
struct Preferences {
    given: Vec<HeaderValue>,
    chosen: Option<&'static str>,
}

/// Leaves the layer no choice: among the codings that the client prefers most, it gets the first in the manifest's
/// order.
fn narrow_preferences(encodings: &[Encoding], mut request: Request<RequestBody>) -> Request<RequestBody> {
    let given: Vec<_> = request.headers().get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
    let chosen = choose(encodings, given.iter().filter_map(|value| value.to_str().ok()));
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if let Some(chosen) = chosen {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(chosen));
    }
    request.extensions_mut().insert(Preferences { given, chosen });
    request
}

fn restore_preferences(request: &mut Request<RequestBody>) -> Preferences {
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    let preferences: Preferences = request.extensions_mut().remove().unwrap_or_default();
    for value in &preferences.given {
        request.headers_mut().append(header::ACCEPT_ENCODING, value.clone());
    }
    preferences
}

/// Chooses a coding (RFC 9110, 12.5.3); none when the client accepts none of them, or prefers identity.
fn choose<'h>(encodings: &[Encoding], accepted: impl Iterator<Item = &'h str> + Clone) -> Option<&'static str> {
    let weight = |wanted: &str| {
        let mut wildcard = None;
        for item in accepted.clone().flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let q = q.map_or(Some(1.0), |q| q.parse::<f32>().ok()).unwrap_or(0.0);
            if name.eq_ignore_ascii_case(wanted) {
                return Some(q);
            }
            if name == "*" {
                wildcard = Some(q);
            }
        }
        wildcard
    };
    let identity = weight("identity");
    let mut best: Option<(&'static str, f32)> = None;
    for encoding in encodings {
        let name = match encoding {
            Encoding::Brotli => "br",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        };
        let q = weight(name).unwrap_or(0.0);
        if q > best.map_or(0.0, |(_, q)| q) {
            best = Some((name, q));
        }
    }
    best.filter(|(_, q)| identity.is_none_or(|identity| identity <= *q)).map(|(name, _)| name)
}

/// The rule for responses that may be compressed.
#[derive(Clone)]
struct Compressible {
    minimum: u64,
    /// The media types; none for all types that usually get smaller.
    types: Option<Arc<[MediaType]>>,
    loops: bool,
}

impl Predicate for Compressible {
    fn should_compress<B>(&self, response: &Response<B>) -> bool
    where
        B: http_body::Body,
    {
        self.takes(response, response.body().size_hint().exact())
    }
}

impl Compressible {
    /// Whether a response with a body of this length is compressed.
    fn takes<B>(&self, response: &Response<B>, length: Option<u64>) -> bool {
        let headers = response.headers();
        let small = length.is_some_and(|size| size < self.minimum);
        let strong = is_strong(headers);
        let fixed = headers.contains_key(header::CONTENT_RANGE)
            || headers.get_all(header::CACHE_CONTROL).iter().any(|value| contains(value, "no-transform"));
        let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let is_loop = response.extensions().get::<Held>().is_some() || is(media, "text/event-stream");
        let fits = match &self.types {
            Some(types) => types.iter().any(|wanted| wanted.matches(media)),
            None => gets_smaller(media),
        };
        fits && !small && !strong && !fixed && (self.loops || !is_loop)
    }
}

/// Whether a media type is text of some kind.
fn gets_smaller(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media.starts_with("text/")
        || media.ends_with("+json")
        || media.ends_with("+xml")
        || matches!(
            &*media,
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/wasm"
                | "application/x-ndjson"
        )
}

fn is(media: &str, wanted: &str) -> bool {
    media.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(wanted)
}

fn contains(value: &HeaderValue, word: &str) -> bool {
    value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
}

/// Prepares the body for the encoder.
fn in_pieces(response: Response<ResponseBody>) -> Response<Pieces> {
    let accounted = response.extensions().get::<Accounted>().cloned();
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    response.map(|body| Pieces::new(body, accounted, encoded))
}

/// Restores a response body: the earlier body, if it is not compressed.
fn whole(response: Response<CompressionBody<Pieces>>) -> Response<ResponseBody> {
    let is_encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    response.map(|body| match is_encoded && !body.get_ref().encoded {
        _ if body.is_end_stream() => ResponseBody::empty(),
        true => ResponseBody::new(Compressed::new(body)),
        false => body.into_inner().into_body(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_likes_first_and_the_manifest_breaks_ties() {
        let all = [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip];
        let gzip_first = [Encoding::Gzip, Encoding::Brotli];
        for (encodings, accepted, chosen) in [
            (&all[..], "gzip, br, zstd", Some("zstd")),
            (&gzip_first[..], "gzip, br, zstd", Some("gzip")),
            (&gzip_first[..], "br;q=1, gzip;q=0.8", Some("br")),
            (&all[..], "gzip;q=0", None),
            (&all[..], "", None),
            (&all[..], "*", Some("zstd")),
            (&all[..], "*;q=0.5, gzip", Some("gzip")),
            (&all[..], "identity, gzip;q=0.5", None),
            (&all[..], "GZIP; q=0.3", Some("gzip")),
        ] {
            assert_eq!(choose(encodings, [accepted].into_iter()), chosen, "{accepted}");
        }
    }
}
