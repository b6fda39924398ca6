//! Middlewares: `[middleware.NAME]` with a `type` that decides which keys there are.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place, Section, section, section_schema};
use crate::scalar::units::{DAY, GIB};
use crate::scalar::{Bytes, HeaderField, HeaderText, MethodName, Origin, Table, Text, Time, choice};

/// A middleware of one of the types below.
#[derive(Clone, Debug)]
pub(crate) enum MiddlewareSection {
    Compression(Box<CompressionSection>),
    Cors(Box<CorsSection>),
    RequestId(Box<RequestIdSection>),
    ResponseHeaders(Box<ResponseHeadersSection>),
}

choice! {
    /// What a middleware does.
    pub(crate) enum MiddlewareType {
        /// Response compression.
        Compression = "compression",
        /// Cross-origin resource sharing.
        Cors = "cors",
        /// Request ids in headers.
        RequestId = "request-id",
        /// Fixed response headers.
        ResponseHeaders = "response-headers",
    }
}

section! {
    /// Compresses responses for clients that accept it. Responses that already have a `content-encoding`, that are
    /// partial, whose type does not compress (images, archives) or that are event streams pass unchanged.
    pub(crate) struct CompressionSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// What may be used. Of those that a client likes equally, the first listed is taken.
        encodings: Vec<Spanned<Encoding>> = "[\"zstd\", \"br\", \"gzip\"]";
        /// The smallest body that is compressed, when its length is known beforehand.
        minimum_size: Bytes<0, { GIB }> = "\"1KiB\"";
    }
}

choice! {
    /// A content coding.
    pub enum Encoding {
        /// Brotli (RFC 7932).
        Brotli = "br",
        /// Gzip (RFC 1952).
        Gzip = "gzip",
        /// Zstandard (RFC 8878).
        Zstd = "zstd",
    }
}

section! {
    /// Lets pages of other origins use these routes (Fetch standard, CORS protocol). Preflight requests are
    /// answered without the guest.
    pub(crate) struct CorsSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// The origins that are let in, or `["*"]` for any.
        origins: Vec<Spanned<Origin>> [required];
        /// The methods that they may use.
        methods: Vec<Spanned<MethodName>> = "[\"GET\", \"HEAD\", \"POST\"]";
        /// The request headers that they may set besides the simple ones, or `["*"]` for any.
        headers: Vec<Spanned<HeaderOrAny>> = "[]";
        /// The response headers that their scripts may read.
        expose: Vec<Spanned<HeaderField>> = "[]";
        /// Whether cookies and client certificates are sent along. Not together with `"*"`.
        credentials: bool = "false";
        /// How long a browser may remember a preflight's answer.
        max_age: Time<0, { DAY }> = "\"10m\"";
    }
}

/// The name of a header field, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderOrAny(pub(crate) Option<http::HeaderName>);

impl Text for HeaderOrAny {
    const KIND: &'static str = "the name of a header field, or `\"*\"`";

    fn parse(text: &str) -> Result<Self, crate::scalar::Fault> {
        if text == "*" { Ok(Self(None)) } else { HeaderField::parse(text).map(|field| Self(Some(field.0))) }
    }
}

section! {
    /// Puts the request's id, the one in the logs, into a header of the request and of the response.
    pub(crate) struct RequestIdSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// The header's name.
        header: HeaderField = "\"x-request-id\"";
        /// Whether an id that the client sends in this header is kept. Only behind a proxy that sets it: otherwise
        /// clients choose what stands in the logs.
        trust: bool = "false";
    }
}

section! {
    /// Sets and removes response headers.
    pub(crate) struct ResponseHeadersSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// Headers that replace those of the same name.
        set: Table<HeaderField, HeaderText>;
        /// Headers for responses that have none of that name.
        default: Table<HeaderField, HeaderText>;
        /// Headers that are taken away, before others are set.
        remove: Vec<Spanned<HeaderField>> = "[]";
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
            MiddlewareType::RequestId => Self::RequestId(boxed(value, place, context)?),
            MiddlewareType::ResponseHeaders => Self::ResponseHeaders(boxed(value, place, context)?),
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            variant_schema::<CompressionSection>(generator, MiddlewareType::Compression),
            variant_schema::<CorsSection>(generator, MiddlewareType::Cors),
            variant_schema::<RequestIdSection>(generator, MiddlewareType::RequestId),
            variant_schema::<ResponseHeadersSection>(generator, MiddlewareType::ResponseHeaders),
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
