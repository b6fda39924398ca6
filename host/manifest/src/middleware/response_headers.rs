//! Fixed response headers.

use http::{HeaderName, HeaderValue};
use toml::Spanned;

use crate::decode::section;
use crate::middleware::MiddlewareType;
use crate::resolve::{Resolver, entries};
use crate::scalar::{HeaderField, HeaderText, MiddlewareName, Table};

/// Sets and removes response headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// Headers that replace those of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers for responses that have none of that name.
    pub default: Vec<(HeaderName, HeaderValue)>,
    /// Headers taken away before others are set.
    pub remove: Vec<HeaderName>,
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

impl Resolver<'_> {
    pub(crate) fn response_headers(
        &mut self,
        name: &MiddlewareName,
        section: &ResponseHeadersSection,
    ) -> ResponseHeaders {
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
