//! Cross-origin resource sharing.

use std::time::Duration;

use http::{HeaderName, Method};
use roadrunner_values::AnyOr;
use toml::Spanned;

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::resolver::{Resolver, list};
use crate::scalar::units::DAY;
use crate::scalar::{Fault, HeaderField, MethodName, Origin, Text, Time};
use crate::section::section;

/// Access for pages of other origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The permitted origins, in lower case. Never `Any` together with `credentials`.
    pub origins: AnyOr<String>,
    /// The methods that their pages may use.
    pub methods: Vec<Method>,
    /// The request headers that their pages may set. Never `Any` together with `credentials`.
    pub headers: AnyOr<HeaderName>,
    /// The response headers that their scripts may read.
    pub expose: Vec<HeaderName>,
    /// Whether browsers send credentials.
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
}

section! {
    /// Access to these routes for pages of other origins (Fetch standard, CORS protocol). Preflight requests are
    /// answered without the guest: OPTIONS with `Origin` and `Access-Control-Request-Method`. The guest gets every
    /// other OPTIONS request.
    pub(crate) struct CorsSection {
        /// The type.
        kind as "type": Chosen [required];
        /// The permitted origins, or `["*"]` for any.
        origins: Vec<Spanned<Origin>> [required];
        /// The methods that their pages may use.
        methods: Vec<Spanned<MethodName>> = "[\"GET\", \"HEAD\", \"POST\"]";
        /// The request headers that their pages may set besides the simple ones, or `["*"]` for any.
        headers: Vec<Spanned<HeaderOrAny>> = "[]";
        /// The response headers that their scripts may read.
        expose: Vec<Spanned<HeaderField>> = "[]";
        /// Whether browsers send cookies and client certificates. Not together with `"*"`.
        credentials: bool = "false";
        /// How long a browser may remember the answer to a preflight.
        max_age: Time<0, { DAY }> = "\"10m\"";
    }
}

impl Kind for CorsSection {
    type Value = Cors;

    fn check(&self, _: &MiddlewareName, resolver: &mut Resolver<'_>) -> Option<Self::Value> {
        let origins = list(&self.origins);
        if let Some(field) = self.origins.as_ref().filter(|origins| origins.get_ref().is_empty()) {
            resolver.context.report(
                field.span(),
                "cors without origins permits no page",
                "list origins, or remove the middleware",
            );
        }
        let any_origin = origins.iter().find(|origin| origin.get_ref().0 == "*");
        let headers = self.headers();
        let any_header = headers.iter().find(|header| header.get_ref().0.is_none());
        for (wildcard, key) in [(any_origin.map(Spanned::span), "origins"), (any_header.map(Spanned::span), "headers")]
        {
            if let Some(span) = wildcard.filter(|_| self.credentials()) {
                resolver.context.report(
                    span,
                    format!("`{key}` is \"*\" together with `credentials = true`"),
                    "name each one: browsers refuse the wildcard, and it would let every page act as the user",
                );
            }
        }
        Some(Cors {
            origins: match any_origin {
                Some(_) => AnyOr::Any,
                None => AnyOr::List(origins.iter().map(|origin| origin.get_ref().0.clone()).collect()),
            },
            methods: self.methods().into_iter().map(|method| method.into_inner().0).collect::<Vec<Method>>(),
            headers: match any_header {
                Some(_) => AnyOr::Any,
                None => AnyOr::List(headers.into_iter().filter_map(|header| header.into_inner().0).collect()),
            },
            expose: self.expose().into_iter().map(|field| field.into_inner().0).collect(),
            credentials: self.credentials(),
            max_age: self.max_age().get(),
        })
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
