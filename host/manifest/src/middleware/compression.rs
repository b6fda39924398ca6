//! Response compression.

use toml::Spanned;

use crate::decode::section;
use crate::middleware::MiddlewareType;
use crate::resolve::Resolver;
use crate::scalar::units::GIB;
use crate::scalar::{Bytes, Fault, Text, choice};

/// Compresses responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// What may be used, the preferred first; never empty.
    pub encodings: Vec<Encoding>,
    /// The smallest body that is compressed, in bytes, when its length is known.
    pub minimum_size: u64,
    /// What is compressed, in lower case; none for what usually gets smaller.
    pub types: Option<Vec<MediaType>>,
    /// Whether event loops are compressed too.
    pub loops: bool,
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

impl Resolver<'_> {
    pub(crate) fn compression(&mut self, section: &CompressionSection) -> Compression {
        if let Some(encodings) = section.encodings.as_ref().filter(|encodings| encodings.get_ref().is_empty()) {
            let fix = "list at least one, or remove the middleware";
            self.context.report(encodings.span(), "compression without encodings does nothing", fix);
        }
        let encodings: Vec<Encoding> = section.encodings().into_iter().map(Spanned::into_inner).collect();
        let types = section.types.as_ref().map(|types| {
            if types.get_ref().is_empty() {
                let fix = "list at least one, or leave the key out";
                self.context.report(types.span(), "compression without types does nothing", fix);
            }
            types.get_ref().iter().map(|media| media.get_ref().clone()).collect()
        });
        Compression { encodings, minimum_size: section.minimum_size().get(), types, loops: section.loops() }
    }
}

/// A media type without parameters, `text/html`, or all of a kind, `text/*`. Kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// `text`.
    kind: String,
    /// `html`; none for all.
    subtype: Option<String>,
}

impl MediaType {
    /// Whether this stands for a `content-type` such as `text/html; charset=utf-8`.
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
