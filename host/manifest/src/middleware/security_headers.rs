//! Headers that make browsers careful.

use http::{HeaderName, HeaderValue};

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::resolver::{Resolver, value};
use crate::scalar::units::DAY;
use crate::scalar::{HeaderText, OrNone, Time};
use crate::section::section;

/// Headers that make browsers careful. A response with one of them keeps its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityHeaders {
    /// The headers, and their values.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// `strict-transport-security`, for responses over TLS.
    pub transport: Option<HeaderValue>,
}

section! {
    /// Headers that make browsers careful. A response with one of them keeps its own.
    pub(crate) struct SecurityHeadersSection {
        /// The type.
        kind as "type": Chosen [required];
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
        /// How long browsers must use TLS for this host (`strict-transport-security`, RFC 6797), sent over TLS only. It
        /// cannot be revoked before it runs out.
        transport_security: OrNone<Time<0, { 1000 * DAY }>> = "\"none\"";
        /// Whether `transport-security` also holds for all names below the host's.
        transport_subdomains: bool = "false";
    }
}

impl Kind for SecurityHeadersSection {
    type Value = SecurityHeaders;

    fn check(&self, _: &MiddlewareName, _: &mut Resolver<'_>) -> Option<Self::Value> {
        let texts = [
            ("x-content-type-options", self.no_sniff().then(|| HeaderValue::from_static("nosniff"))),
            ("x-frame-options", Some(self.frame_options().0)),
            ("referrer-policy", Some(self.referrer_policy().0)),
            ("cross-origin-opener-policy", Some(self.opener_policy().0)),
            ("content-security-policy", value(&self.content_security_policy).map(|text| text.0.clone())),
            ("permissions-policy", value(&self.permissions_policy).map(|text| text.0.clone())),
        ];
        // An empty text turns a header off.
        let fields = texts.into_iter().filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)));
        let subdomains = if self.transport_subdomains() { "; includeSubDomains" } else { "" };
        let transport = self.transport_security().get().map(|age| format!("max-age={}{subdomains}", age.as_secs()));
        Some(SecurityHeaders {
            fields: fields.map(|(name, text)| (HeaderName::from_static(name), text)).collect(),
            transport: transport.and_then(|text| HeaderValue::try_from(text).ok()),
        })
    }
}
