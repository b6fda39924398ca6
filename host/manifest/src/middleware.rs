//! Middlewares: `[middleware.NAME]` with a `type` that decides its keys.
//!
//! Each type has a file, with its section, its checks and its value, and a line in the list below.

pub(crate) mod basic_auth;
pub(crate) mod compression;
pub(crate) mod cors;
pub(crate) mod etag;
pub(crate) mod kind;
pub(crate) mod rate_limit;
pub(crate) mod request_id;
pub(crate) mod response_headers;
pub(crate) mod security_headers;

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Field, Place};
use crate::keys;
pub(crate) use crate::middleware::kind::Kind;
pub use crate::middleware::kind::MiddlewareName;
use crate::resolver::{Resolver, entries};
use crate::scalar::{Table, Text, choice};
use crate::section::{Section, section_schema};

/// Declares the types of middlewares: the name, the word in the manifest, the section and the value.
macro_rules! middlewares {
    ($($(#[doc = $doc:literal])* $kind:ident = $word:literal, $section:path => $value:path;)*) => {
        /// One of `[middleware]`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Middleware {
            $($(#[doc = $doc])* $kind($value),)*
        }

        impl Middleware {
            /// The manifest's word for its type.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => $word,)* }
            }
        }

        choice! {
            /// The type of a middleware.
            pub(crate) enum MiddlewareType {
                $($(#[doc = $doc])* $kind = $word,)*
            }
        }

        /// The section of a middleware.
        #[derive(Clone, Debug)]
        pub(crate) enum MiddlewareSection {
            $($kind(Box<$section>),)*
        }

        impl MiddlewareSection {
            fn check(&self, name: &MiddlewareName, resolver: &mut Resolver<'_>) -> Option<Middleware> {
                Some(match self { $(Self::$kind(section) => Middleware::$kind(section.check(name, resolver)?),)* })
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
                    $(MiddlewareType::$kind => {
                        Self::$kind(Box::new(<$section as Decode>::decode(value, place, context)?))
                    })*
                })
            }

            fn schema(generator: &mut SchemaGenerator) -> Schema {
                json_schema!({ "oneOf": [$(variant_schema::<$section>(generator, $word)),*] })
            }

            fn kind() -> String {
                "a section".to_owned()
            }

            fn tables(tables: &mut Vec<keys::Table>) {
                $(add_middleware::<$section>(tables, $word);)*
            }
        }
    };
}

middlewares! {
    /// Names and passwords.
    BasicAuth = "basic-auth", basic_auth::BasicAuthSection => basic_auth::BasicAuth;
    /// Response compression.
    Compression = "compression", compression::CompressionSection => compression::Compression;
    /// Cross-origin resource sharing.
    Cors = "cors", cors::CorsSection => cors::Cors;
    /// Validators and conditional requests.
    Etag = "etag", etag::EtagSection => etag::Etag;
    /// A limit on the requests of one peer.
    RateLimit = "rate-limit", rate_limit::RateLimitMiddlewareSection => crate::rate_limit::RateLimit;
    /// Request ids in headers.
    RequestId = "request-id", request_id::RequestIdSection => request_id::RequestId;
    /// Fixed response headers.
    ResponseHeaders = "response-headers", response_headers::ResponseHeadersSection => response_headers::ResponseHeaders;
    /// Headers that make browsers careful.
    SecurityHeaders = "security-headers", security_headers::SecurityHeadersSection => security_headers::SecurityHeaders;
}

fn variant_schema<S: Section>(generator: &mut SchemaGenerator, word: &str) -> Schema {
    let mut schema = section_schema::<S>(generator);
    if let Some(slot) = schema.pointer_mut("/properties/type") {
        *slot = json_schema!({ "const": word }).to_value();
    }
    schema
}

/// Adds the section of one type of middleware to the reference.
fn add_middleware<S: Section>(tables: &mut Vec<keys::Table>, kind: &str) {
    let mut keys = S::keys();
    for key in keys.iter_mut().filter(|key| key.name == "type") {
        key.kind = format!("`\"{kind}\"`");
    }
    let title = format!("`[middleware.NAME]` with `type = \"{kind}\"`");
    keys::add_table(tables, keys::Table { title, doc: S::doc(), keys });
}

impl Resolver<'_> {
    pub(crate) fn middlewares(
        &mut self,
        section: &Field<Table<MiddlewareName, MiddlewareSection>>,
    ) -> BTreeMap<MiddlewareName, Middleware> {
        let mut middlewares = BTreeMap::new();
        for (name, middleware) in entries(section) {
            let checked = middleware.check(name.get_ref(), self);
            middlewares.extend(checked.map(|checked| (name.get_ref().clone(), checked)));
        }
        middlewares
    }
}
