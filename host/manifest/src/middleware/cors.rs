//! Cross-origin resource sharing.

use std::time::Duration;

use http::{HeaderName, Method};
use toml::Spanned;

use crate::decode::section;
use crate::middleware::MiddlewareType;
use crate::resolve::{Resolver, list};
use crate::scalar::units::DAY;
use crate::scalar::{AnyOr, Fault, HeaderField, MethodName, Origin, Text, Time};

/// Lets pages of other origins in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins let in, in lower case. Never `Any` together with `credentials`.
    pub origins: AnyOr<String>,
    /// The methods that they may use.
    pub methods: Vec<Method>,
    /// The request headers that they may set. Never `Any` together with `credentials`.
    pub headers: AnyOr<HeaderName>,
    /// The response headers that their scripts may read.
    pub expose: Vec<HeaderName>,
    /// Whether credentials are sent along.
    pub credentials: bool,
    /// How long a preflight's answer may be remembered.
    pub max_age: Duration,
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

impl Resolver<'_> {
    pub(crate) fn cors(&mut self, section: &CorsSection) -> Cors {
        let origins = list(&section.origins);
        if let Some(field) = section.origins.as_ref().filter(|origins| origins.get_ref().is_empty()) {
            self.context.report(
                field.span(),
                "cors without origins lets nobody in",
                "list origins, or remove the middleware",
            );
        }
        let any_origin = origins.iter().find(|origin| origin.get_ref().0 == "*");
        let headers = section.headers();
        let any_header = headers.iter().find(|header| header.get_ref().0.is_none());
        for (wildcard, key) in [(any_origin.map(Spanned::span), "origins"), (any_header.map(Spanned::span), "headers")]
        {
            if let Some(span) = wildcard.filter(|_| section.credentials()) {
                self.context.report(
                    span,
                    format!("`{key}` is \"*\" together with `credentials = true`"),
                    "name each one: browsers refuse the wildcard, and it would let every page act as the user",
                );
            }
        }
        Cors {
            origins: match any_origin {
                Some(_) => AnyOr::Any,
                None => AnyOr::List(origins.iter().map(|origin| origin.get_ref().0.clone()).collect()),
            },
            methods: section.methods().into_iter().map(|method| method.into_inner().0).collect::<Vec<Method>>(),
            headers: match any_header {
                Some(_) => AnyOr::Any,
                None => AnyOr::List(headers.into_iter().filter_map(|header| header.into_inner().0).collect()),
            },
            expose: section.expose().into_iter().map(|field| field.into_inner().0).collect(),
            credentials: section.credentials(),
            max_age: section.max_age().get(),
        }
    }
}

/// The name of a header field, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderOrAny(pub(crate) Option<HeaderName>);

impl Text for HeaderOrAny {
    const KIND: &'static str = "the name of a header field, or `\"*\"`";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "*" { Ok(Self(None)) } else { HeaderField::parse(text).map(|field| Self(Some(field.0))) }
    }
}
