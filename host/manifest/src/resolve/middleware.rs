//! Middlewares.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method};
use toml::Spanned;

use super::{Resolver, entries, list, value};
use crate::manifest::{
    AnyOr, Compression, Cors, Etag, Middleware, RateLimit, RequestId, ResponseHeaders, SecurityHeaders,
};
use crate::scalar::{HeaderField, HeaderText, MiddlewareName, Table};
use crate::section::{
    CompressionSection, CorsSection, Encoding, ManifestSection, MiddlewareSection, ResponseHeadersSection,
    SecurityHeadersSection,
};

impl Resolver<'_> {
    pub(super) fn middlewares(&mut self, section: &ManifestSection) -> BTreeMap<MiddlewareName, Middleware> {
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

    fn compression(&mut self, section: &CompressionSection) -> Compression {
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

    fn cors(&mut self, section: &CorsSection) -> Cors {
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

    fn response_headers(&mut self, name: &MiddlewareName, section: &ResponseHeadersSection) -> ResponseHeaders {
        let checked = ResponseHeaders {
            set: self.fields(&section.set),
            default: self.fields(&section.default),
            remove: section.remove().into_iter().map(|field| field.into_inner().0).collect(),
        };
        if section.set.is_none() && section.default.is_none() && section.remove.is_none() {
            let message = format!("middleware `{name}` does nothing");
            self.context.report(section.span.clone(), message, "give it `set`, `default` or `remove`");
        }
        checked
    }

    /// Field names differ in more than case.
    fn fields(&mut self, table: &Option<Spanned<Table<HeaderField, HeaderText>>>) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in entries(table) {
            if fields.iter().any(|(other, _)| *other == name.get_ref().0) {
                self.context.report(
                    name.span(),
                    format!("the header `{}` is there twice", name.get_ref().0),
                    "remove one",
                );
            }
            fields.push((name.get_ref().0.clone(), value.0.clone()));
        }
        fields
    }
}

/// The fields that are not turned off.
fn security_headers(section: &SecurityHeadersSection) -> SecurityHeaders {
    let texts = [
        ("x-content-type-options", section.no_sniff().then(|| HeaderValue::from_static("nosniff"))),
        ("x-frame-options", Some(section.frame_options().0)),
        ("referrer-policy", Some(section.referrer_policy().0)),
        ("cross-origin-opener-policy", Some(section.opener_policy().0)),
        ("content-security-policy", value(&section.content_security_policy).map(|text| text.0.clone())),
        ("permissions-policy", value(&section.permissions_policy).map(|text| text.0.clone())),
    ];
    let fields = texts.into_iter().filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)));
    let subdomains = if section.transport_subdomains() { "; includeSubDomains" } else { "" };
    let transport = section.transport_security().get().map(|age| format!("max-age={}{subdomains}", age.as_secs()));
    SecurityHeaders {
        fields: fields.map(|(name, text)| (HeaderName::from_static(name), text)).collect(),
        transport: transport.and_then(|text| HeaderValue::try_from(text).ok()),
    }
}
