//! The origins of pages that may open a session.

use http::{HeaderMap, header};
use roadrunner_manifest::AnyOr;

/// The origins of pages that may open sessions of a route, in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Origins(AnyOr<String>);

impl Origins {
    pub(crate) fn new(origins: &AnyOr<String>) -> Self {
        Self(origins.clone())
    }

    /// Whether a handshake has one of these origins, or none at all. Browsers always name a page's origin (RFC 6455,
    /// 10.2); a handshake without an origin comes from no page, and its sender could claim any origin.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let AnyOr::List(origins) = &self.0 else { return true };
        let mut named = headers.get_all(header::ORIGIN).iter();
        match (named.next(), named.next()) {
            (None, _) => true,
            (Some(origin), None) => {
                origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
            }
            (Some(_), Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn origins(named: &[&'static str]) -> HeaderMap {
        named.iter().map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))).collect()
    }

    #[test]
    fn a_list_of_origins_refuses_others() {
        let listed = Origins(AnyOr::List(vec!["https://example.com".to_owned()]));
        assert!(listed.admit(&origins(&[])));
        assert!(listed.admit(&origins(&["https://EXAMPLE.com"])));
        for other in ["https://example.com.evil.test", "http://example.com", "https://example.com:8443", "null", ""] {
            assert!(!listed.admit(&origins(&[other])), "{other}");
        }
        assert!(!listed.admit(&origins(&["https://example.com", "https://evil.test"])));
        assert!(Origins(AnyOr::Any).admit(&origins(&["null"])));
    }
}
