//! Response compression.

use toml::Spanned;

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::resolver::Resolver;
use crate::scalar::units::GIB;
use crate::scalar::{Bytes, Fault, Text, choice};
use crate::section::section;

/// Compresses responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The encodings, the preferred first; never empty.
    pub encodings: Vec<Encoding>,
    /// The smallest body that is compressed, in bytes, if its length is known.
    pub minimum_size: u64,
    /// The media types, in lower case; `None` for those that usually get smaller.
    pub types: Option<Vec<MediaType>>,
    /// Whether event loops are compressed too.
    pub loops: bool,
}

section! {
    /// Compresses responses for clients that accept it. Some responses pass unchanged: those with a `content-encoding`,
    /// partial ones, those with a strong validator (files), those whose type is not in `types`, and those with
    /// `no-transform`. All responses that could have been compressed get `vary: accept-encoding`. A response that
    /// contains both a secret and text chosen by the client reveals the secret by its compressed length (BREACH): leave
    /// out routes with such responses, or let the guest say `cache-control: no-transform`.
    pub(crate) struct CompressionSection {
        /// The type.
        kind as "type": Chosen [required];
        /// The encodings. Of those that a client likes equally, the first of this list is used.
        encodings: Vec<Spanned<Encoding>> = "[\"zstd\", \"br\", \"gzip\"]";
        /// The smallest body that is compressed, if its length is known beforehand.
        minimum_size: Bytes<0, { GIB }> = "\"1KiB\"";
        /// The media types that are compressed: `"text/html"`, or `"text/*"`. Without it, text, JSON, XML, JavaScript,
        /// WebAssembly and types that end in `+json` or `+xml`.
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

impl Kind for CompressionSection {
    type Value = Compression;

    fn check(&self, _: &MiddlewareName, resolver: &mut Resolver<'_>) -> Option<Self::Value> {
        if let Some(encodings) = self.encodings.as_ref().filter(|encodings| encodings.get_ref().is_empty()) {
            let fix = "list at least one, or remove the middleware";
            resolver.context.report(encodings.span(), "compression without encodings does nothing", fix);
        }
        let encodings: Vec<Encoding> = self.encodings().into_iter().map(Spanned::into_inner).collect();
        let types = self.types.as_ref().map(|types| {
            if types.get_ref().is_empty() {
                let fix = "list at least one, or leave the key out";
                resolver.context.report(types.span(), "compression without types does nothing", fix);
            }
            types.get_ref().iter().map(|media| media.get_ref().clone()).collect()
        });
        Some(Compression { encodings, minimum_size: self.minimum_size().get(), types, loops: self.loops() })
    }
}

/// A media type without parameters, `text/html`, or all of a kind, `text/*`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// `text`.
    kind: String,
    /// `html`; `None` for all.
    subtype: Option<String>,
}

impl MediaType {
    /// Whether a `content-type` such as `text/html; charset=utf-8` is of this type.
    pub fn matches(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let Some((kind, subtype)) = essence.split_once('/') else { return false };
        kind.eq_ignore_ascii_case(&self.kind)
            && self.subtype.as_ref().is_none_or(|wanted| subtype.eq_ignore_ascii_case(wanted))
    }
}

impl Text for MediaType {
    const KIND: &'static str = "a media type, such as \"text/html\" or \"text/*\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        // RFC 9110, 8.3.1 and 5.6.2.
        let is_token = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if is_token(kind) && (subtype == "*" || is_token(subtype)) => Ok(Self {
                kind: kind.to_ascii_lowercase(),
                subtype: (subtype != "*").then(|| subtype.to_ascii_lowercase()),
            }),
            _ => Err(Fault::new(
                format!("is \"{text}\", not a media type"),
                "write \"text/html\" or \"text/*\", without parameters",
            )),
        }
    }
}
