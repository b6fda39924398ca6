//! Middlewares: `[middleware.NAME]` with a `type` that decides which keys there are.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place, Section, section, section_schema};
use crate::scalar::units::{DAY, GIB};
use crate::scalar::{
    Bytes, Count, HeaderField, HeaderText, MediaType, MethodName, OrNone, Origin, Table, Text, Time, choice,
};

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

section! {
    /// Compresses responses for clients that accept it. Responses that already have a `content-encoding`, that are
    /// partial, that have a strong validator (files), whose type is not in `types`, or that say `no-transform` pass
    /// unchanged. `vary: accept-encoding` stands on all that could have been compressed. An answer that has a secret and
    /// text that the asker chooses tells the secret by its compressed length (BREACH): leave routes with such answers
    /// out, or let the guest say `cache-control: no-transform`.
    pub(crate) struct CompressionSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// What may be used. Of those that a client likes equally, the first listed is taken.
        encodings: Vec<Spanned<Encoding>> = "[\"zstd\", \"br\", \"gzip\"]";
        /// The smallest body that is compressed, when its length is known beforehand.
        minimum_size: Bytes<0, { GIB }> = "\"1KiB\"";
        /// The media types that are compressed: `"text/html"`, or `"text/*"`. Without it, text, JSON, XML, JavaScript,
        /// WebAssembly and whatever ends in `+json` or `+xml`.
        types: Vec<Spanned<MediaType>>;
        /// Whether event loops and event streams are compressed too. Each chunk is still sent at once.
        loops: bool = "false";
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
    /// answered without the guest: OPTIONS with `Origin` and `Access-Control-Request-Method`. Any other OPTIONS is the
    /// guest's.
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
        /// Whether an id in this header is kept when one of the listener's `trusted-proxies` sends it. What anybody else
        /// sends is replaced: clients do not choose what stands in the logs.
        trust: bool = "false";
    }
}

section! {
    /// Gives buffered responses to GET and HEAD with status 200 an `etag`, made from the body, and answers 304 when the
    /// client's `if-none-match` has it (RFC 9110, 13.1.2). The guest runs all the same: what is saved is the transfer. An
    /// `etag` of the guest's is kept. Put it inside compression, behind it in the list.
    pub(crate) struct EtagSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// Larger bodies get none.
        maximum_size: Bytes<0, { GIB }> = "\"1MiB\"";
    }
}

section! {
    /// How many requests one peer may make to these routes, together: what `[rate-limit]` is for the host.
    pub(crate) struct RateLimitMiddlewareSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// Requests a second, on average. Over it, a request is answered with 429 and `Retry-After`.
        requests: Count<1, 1_000_000> [required];
        /// Requests at once after a pause. Without it, as many as `requests`.
        burst: Count<1, 1_000_000>;
        /// Peers that are remembered.
        peers: Count<64, 16_777_216> = "65_536";
    }
}

section! {
    /// Headers that make browsers careful. A response that has one of them already keeps its own.
    pub(crate) struct SecurityHeadersSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// `x-content-type-options: nosniff`.
        no_sniff: bool = "true";
        /// `x-frame-options`, or an empty text for none.
        frame_options: HeaderText = "\"DENY\"";
        /// `referrer-policy`, or an empty text for none.
        referrer_policy: HeaderText = "\"strict-origin-when-cross-origin\"";
        /// `cross-origin-opener-policy`, or an empty text for none.
        opener_policy: HeaderText = "\"same-origin\"";
        /// `content-security-policy`. Without it, there is none.
        content_security_policy: HeaderText;
        /// `permissions-policy`. Without it, there is none.
        permissions_policy: HeaderText;
        /// How long browsers must use TLS for this host (`strict-transport-security`, RFC 6797); sent over TLS only. It
        /// cannot be taken back before it runs out.
        transport_security: OrNone<Time<0, { 1000 * DAY }>> = "\"none\"";
        /// Whether that holds for all names below this host's, too.
        transport_subdomains: bool = "false";
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
