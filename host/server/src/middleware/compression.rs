//! Response compression: tower-http's, with a choice of the coding, and of what is compressed, of our own.
//!
//! tower-http takes the coding that it likes best of those that the client likes equally; here that is the manifest's to
//! say. What must not change is left alone: event loops and event streams unless they are asked for, what is already
//! encoded, ranges, and what has a strong validator (RFC 9110, 8.8.3.3), which is every file.

mod body;

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use roadrunner_manifest::{Compression, Encoding, MediaType};
use roadrunner_wire::{Held, RequestBody, ResponseBody};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};
use tower_http::compression::predicate::Predicate;
use tower_http::compression::{CompressionBody, CompressionLayer};

use self::body::{Compressed, Pieces};
use super::Inner;
use crate::record::Accounted;

pub(super) fn wrap(settings: &Compression, inner: Inner) -> Inner {
    let encodings = settings.encodings.clone();
    let service = layer(settings).layer(inner.map_request(restore_preferences).map_response(in_pieces));
    let service = service.map_request(move |request| narrow_preferences(&encodings, request));
    BoxCloneSyncService::new(service.map_response(whole))
}

fn layer(settings: &Compression) -> CompressionLayer<impl Predicate + use<>> {
    let has = |encoding| settings.encodings.contains(&encoding);
    let types = settings.types.clone().map(Arc::from);
    CompressionLayer::new()
        .br(has(Encoding::Brotli))
        .gzip(has(Encoding::Gzip))
        .zstd(has(Encoding::Zstd))
        .compress_when(Compressible { minimum: settings.minimum_size, types, loops: settings.loops })
}

/// What the client accepts, while the compression layer sees only what was chosen of it.
#[derive(Clone)]
struct Preferences(Vec<HeaderValue>);

/// Leaves the layer no choice: of the codings that the client likes best, the first in the manifest's order.
fn narrow_preferences(encodings: &[Encoding], mut request: Request<RequestBody>) -> Request<RequestBody> {
    let given: Vec<_> = request.headers().get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
    let chosen = choose(encodings, given.iter().filter_map(|value| value.to_str().ok()));
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if let Some(chosen) = chosen {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(chosen));
    }
    request.extensions_mut().insert(Preferences(given));
    request
}

fn restore_preferences(mut request: Request<RequestBody>) -> Request<RequestBody> {
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if let Some(Preferences(given)) = request.extensions_mut().remove() {
        for value in given {
            request.headers_mut().append(header::ACCEPT_ENCODING, value);
        }
    }
    request
}

/// RFC 9110, 12.5.3. None when the client accepts none of them, or likes identity better.
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

/// Which responses may be compressed.
#[derive(Clone)]
struct Compressible {
    minimum: u64,
    /// None for what usually gets smaller.
    types: Option<Arc<[MediaType]>>,
    loops: bool,
}

impl Predicate for Compressible {
    fn should_compress<B>(&self, response: &Response<B>) -> bool
    where
        B: http_body::Body,
    {
        let headers = response.headers();
        let small = response.body().size_hint().exact().is_some_and(|size| size < self.minimum);
        let strong = headers.get(header::ETAG).is_some_and(|etag| !etag.as_bytes().starts_with(b"W/"));
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

/// The body as the encoder is to have it.
fn in_pieces(response: Response<ResponseBody>) -> Response<Pieces> {
    let accounted = response.extensions().get::<Accounted>().cloned();
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    response.map(|body| Pieces::new(body, accounted, encoded))
}

/// A response body again: the one that was there before, if it is not compressed.
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
