//! Middlewares: `[middleware.NAME]` with a `type` that decides which keys there are.

pub(crate) mod compression;
pub(crate) mod cors;
pub(crate) mod etag;
pub(crate) mod rate_limit;
pub(crate) mod request_id;
pub(crate) mod response_headers;
pub(crate) mod security_headers;

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place, Section, section_schema};
use crate::manifest::ManifestSection;
use crate::middleware::compression::{Compression, CompressionSection};
use crate::middleware::cors::{Cors, CorsSection};
use crate::middleware::etag::{Etag, EtagSection};
use crate::middleware::rate_limit::RateLimitMiddlewareSection;
use crate::middleware::request_id::{RequestId, RequestIdSection};
use crate::middleware::response_headers::{ResponseHeaders, ResponseHeadersSection};
use crate::middleware::security_headers::{SecurityHeaders, SecurityHeadersSection, security_headers};
use crate::rate_limit::RateLimit;
use crate::resolve::{Resolver, entries, value};
use crate::scalar::{MiddlewareName, Text, choice};

/// One of `[middleware]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Middleware {
    /// `type = "compression"`.
    Compression(Compression),
    /// `type = "cors"`.
    Cors(Cors),
    /// `type = "etag"`.
    Etag(Etag),
    /// `type = "rate-limit"`.
    RateLimit(RateLimit),
    /// `type = "request-id"`.
    RequestId(RequestId),
    /// `type = "response-headers"`.
    ResponseHeaders(ResponseHeaders),
    /// `type = "security-headers"`.
    SecurityHeaders(SecurityHeaders),
}

impl Middleware {
    /// The manifest's word for its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Compression(_) => "compression",
            Self::Cors(_) => "cors",
            Self::Etag(_) => "etag",
            Self::RateLimit(_) => "rate-limit",
            Self::RequestId(_) => "request-id",
            Self::ResponseHeaders(_) => "response-headers",
            Self::SecurityHeaders(_) => "security-headers",
        }
    }
}

/// A middleware of one of the types below.
#[derive(Clone, Debug)]
pub(crate) enum MiddlewareSection {
    Compression(Box<CompressionSection>),
    Cors(Box<CorsSection>),
    Etag(Box<EtagSection>),
    RateLimit(Box<RateLimitMiddlewareSection>),
    RequestId(Box<RequestIdSection>),
    ResponseHeaders(Box<ResponseHeadersSection>),
    SecurityHeaders(Box<SecurityHeadersSection>),
}

choice! {
    /// What a middleware does.
    pub(crate) enum MiddlewareType {
        /// Response compression.
        Compression = "compression",
        /// Cross-origin resource sharing.
        Cors = "cors",
        /// Validators and conditional requests.
        Etag = "etag",
        /// A limit on the requests of one peer.
        RateLimit = "rate-limit",
        /// Request ids in headers.
        RequestId = "request-id",
        /// Fixed response headers.
        ResponseHeaders = "response-headers",
        /// Headers that make browsers careful.
        SecurityHeaders = "security-headers",
    }
}

impl Decode for MiddlewareSection {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let table = context.table(value, place)?;
        let Some(kind) = table.get("type") else {
            context.missing_key(value.span(), "type", MiddlewareType::KIND, &place.enter());
            return None;
        };
        Some(match MiddlewareType::decode(kind, &place.key("type"), context)? {
            MiddlewareType::Compression => Self::Compression(boxed(value, place, context)?),
            MiddlewareType::Cors => Self::Cors(boxed(value, place, context)?),
            MiddlewareType::Etag => Self::Etag(boxed(value, place, context)?),
            MiddlewareType::RateLimit => Self::RateLimit(boxed(value, place, context)?),
            MiddlewareType::RequestId => Self::RequestId(boxed(value, place, context)?),
            MiddlewareType::ResponseHeaders => Self::ResponseHeaders(boxed(value, place, context)?),
            MiddlewareType::SecurityHeaders => Self::SecurityHeaders(boxed(value, place, context)?),
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            variant_schema::<CompressionSection>(generator, MiddlewareType::Compression),
            variant_schema::<CorsSection>(generator, MiddlewareType::Cors),
            variant_schema::<EtagSection>(generator, MiddlewareType::Etag),
            variant_schema::<RateLimitMiddlewareSection>(generator, MiddlewareType::RateLimit),
            variant_schema::<RequestIdSection>(generator, MiddlewareType::RequestId),
            variant_schema::<ResponseHeadersSection>(generator, MiddlewareType::ResponseHeaders),
            variant_schema::<SecurityHeadersSection>(generator, MiddlewareType::SecurityHeaders),
        ] })
    }

    fn kind() -> String {
        "a section".to_owned()
    }
}

fn boxed<S: Decode>(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Box<S>> {
    S::decode(value, place, context).map(Box::new)
}

fn variant_schema<S: Section>(generator: &mut SchemaGenerator, kind: MiddlewareType) -> Schema {
    let mut schema = section_schema::<S>(generator);
    if let Some(slot) = schema.pointer_mut("/properties/type") {
        *slot = json_schema!({ "const": kind.as_str() }).to_value();
    }
    schema
}

impl Resolver<'_> {
    pub(crate) fn middlewares(&mut self, section: &ManifestSection) -> BTreeMap<MiddlewareName, Middleware> {
        let mut middlewares = BTreeMap::new();
        for (name, middleware) in entries(&section.middleware) {
            let checked = match middleware {
                MiddlewareSection::Compression(section) => Middleware::Compression(self.compression(section)),
                MiddlewareSection::Cors(section) => Middleware::Cors(self.cors(section)),
                MiddlewareSection::RequestId(section) => {
                    Middleware::RequestId(RequestId { header: section.header().0, trust: section.trust() })
                }
                MiddlewareSection::Etag(section) => {
                    Middleware::Etag(Etag { maximum_size: section.maximum_size().get() })
                }
                // What is required and not there has been reported.
                MiddlewareSection::RateLimit(section) => match value(&section.requests) {
                    Some(requests) => Middleware::RateLimit(RateLimit {
                        requests: requests.get(),
                        burst: value(&section.burst).map_or(requests.get(), |burst| burst.get()),
                        peers: section.peers().get(),
                    }),
                    None => continue,
                },
                MiddlewareSection::SecurityHeaders(section) => Middleware::SecurityHeaders(security_headers(section)),
                MiddlewareSection::ResponseHeaders(section) => {
                    Middleware::ResponseHeaders(self.response_headers(name.get_ref(), section))
                }
            };
            middlewares.insert(name.get_ref().clone(), checked);
        }
        middlewares
    }
}
