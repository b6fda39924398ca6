//! Fixed response headers.

use http::{HeaderName, HeaderValue};
use toml::Spanned;

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::resolver::{Resolver, entries};
use crate::scalar::{HeaderField, HeaderText, Table};
use crate::section::section;

/// Response headers to set and to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// Headers that replace those of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers for responses that have none of that name.
    pub default: Vec<(HeaderName, HeaderValue)>,
    /// Headers to remove, before others are set.
    pub remove: Vec<HeaderName>,
}

section! {
    /// Response headers to set and to remove.
    pub(crate) struct ResponseHeadersSection {
        /// The type.
        kind as "type": Chosen [required];
        /// Headers that replace those of the same name.
        set: Table<HeaderField, HeaderText>;
        /// Headers for responses that have none of that name.
        default: Table<HeaderField, HeaderText>;
        /// Headers to remove, before others are set.
        remove: Vec<Spanned<HeaderField>> = "[]";
    }
}

impl Kind for ResponseHeadersSection {
    type Value = ResponseHeaders;

    fn check(&self, name: &MiddlewareName, resolver: &mut Resolver<'_>) -> Option<Self::Value> {
        let checked = ResponseHeaders {
            set: resolver.fields(&self.set),
            default: resolver.fields(&self.default),
            remove: self.remove().into_iter().map(|field| field.into_inner().0).collect(),
        };
        if self.set.is_none() && self.default.is_none() && self.remove.is_none() {
            let message = format!("middleware `{name}` does nothing");
            resolver.context.report(self.span.clone(), message, "give it `set`, `default` or `remove`");
        }
        Some(checked)
    }
}

impl Resolver<'_> {
    /// Checks that field names differ in more than case.
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
