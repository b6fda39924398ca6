//! Authentication on the admin listener: by a token, by a client's certificate, or not at all.
//!
//! The manifest's keys are read at the start and at each reload. As soon as anybody has a key, a request without a key
//! is refused.

use std::sync::Arc;

use anyhow::{Result, bail};
use http::HeaderMap;
use roadrunner_manifest::{Admin, AdminKeys, Manifest, Subject};
use roadrunner_wire::ClientCertificate;

use crate::token::{Shown, Token};

/// The authority with which a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Anybody who reaches the listener, where nobody has a key.
    Anyone,
    /// The operator of the host.
    Host,
    /// One tenant.
    Tenant(Arc<str>),
}

impl Caller {
    /// The tenant that the caller is restricted to.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Host => None,
            Self::Tenant(name) => Some(name),
        }
    }

    /// Whether the caller may see this tenant's resources; none stands for the host's own.
    pub(crate) fn sees(&self, tenant: Option<&str>) -> bool {
        self.tenant().is_none() || self.tenant() == tenant
    }
}

/// The keys that grant access to the admin listener.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Whether client certificates count.
    asks_clients: bool,
    host: Keys,
    tenants: Vec<(Arc<str>, Keys)>,
}

#[derive(Debug, Default)]
struct Keys {
    token: Option<Token>,
    subjects: Vec<Subject>,
}

impl Keys {
    fn read(keys: &AdminKeys) -> Result<Self> {
        Ok(Self { token: keys.token.as_deref().map(Token::load).transpose()?, subjects: keys.subjects.clone() })
    }

    fn are_said_by(&self, certificate: &ClientCertificate) -> bool {
        self.subjects.iter().any(|subject| subject.is_said(&certificate.subject, &certificate.names))
    }
}

impl Access {
    /// Reads the keys of this listener and of the manifest's tenants.
    pub(crate) fn read(admin: Option<&Admin>, manifest: &Manifest) -> Result<Self> {
        let Some(admin) = admin else { return Ok(Self::default()) };
        let tenants =
            manifest.tenants.iter().map(|(name, tenant)| Ok((name.as_str().into(), Keys::read(&tenant.keys)?)));
        let access = Self {
            asks_clients: admin.clients().is_some(),
            host: Keys::read(&admin.keys)?,
            tenants: tenants.collect::<Result<_>>()?,
        };
        let mut known: Vec<(String, &Token)> = Vec::new();
        for (name, token) in access.tokens() {
            if let Some((other, _)) = known.iter().find(|(_, other)| *other == token) {
                bail!("{name} and {other} have the same token for the admin listener; make one of them anew");
            }
            known.push((name, token));
        }
        Ok(access)
    }

    /// The caller that a request authenticates as; none if it is refused.
    pub(crate) fn caller(&self, headers: &HeaderMap, certificate: Option<&ClientCertificate>) -> Option<Caller> {
        if self.is_open() {
            return Some(Caller::Anyone);
        }
        // A certificate does not make up for a wrong token.
        match (headers.contains_key(http::header::AUTHORIZATION), certificate) {
            (true, _) => self.with_token(&Shown::of(headers)?),
            (false, Some(certificate)) if self.asks_clients => self.with_certificate(certificate),
            (false, _) => None,
        }
    }

    /// Whether nobody has a key.
    fn is_open(&self) -> bool {
        !self.asks_clients && self.tokens().next().is_none()
    }

    fn tokens(&self) -> impl Iterator<Item = (String, &Token)> {
        let host = self.host.token.as_ref().map(|token| ("the host".to_owned(), token));
        let tenants = self.tenants.iter().filter_map(|(name, keys)| {
            let token = keys.token.as_ref()?;
            Some((format!("the tenant {name}"), token))
        });
        host.into_iter().chain(tenants)
    }

    /// Compares all tokens, so that the duration does not reveal which token matched.
    fn with_token(&self, shown: &Shown) -> Option<Caller> {
        let mut caller = self.host.token.as_ref().is_some_and(|token| token.is(shown)).then_some(Caller::Host);
        for (name, keys) in &self.tenants {
            if keys.token.as_ref().is_some_and(|token| token.is(shown)) {
                caller = Some(Caller::Tenant(name.clone()));
            }
        }
        caller
    }

    /// Finds the caller that a certificate matches. A certificate that matches two callers authenticates neither.
    fn with_certificate(&self, certificate: &ClientCertificate) -> Option<Caller> {
        let names_nobody =
            self.host.subjects.is_empty() && self.tenants.iter().all(|(_, keys)| keys.subjects.is_empty());
        let host = (names_nobody || self.host.are_said_by(certificate)).then_some(Caller::Host);
        let tenants = self.tenants.iter().filter(|(_, keys)| keys.are_said_by(certificate));
        let mut callers = host.into_iter().chain(tenants.map(|(name, _)| Caller::Tenant(name.clone())));
        let first = callers.next();
        if callers.next().is_none() { first } else { None }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    const HOST: &str = "0123456789abcdef";
    const TENANT: &str = "fedcba9876543210";

    fn certificate(subject: &str, names: &[&str]) -> ClientCertificate {
        ClientCertificate {
            subject: subject.to_owned(),
            issuer: String::new(),
            serial: String::new(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            sha256: String::new(),
        }
    }

    fn subjects(texts: &[&str]) -> Vec<Subject> {
        texts.iter().map(|text| Subject::new(text).expect("a subject")).collect()
    }

    fn access() -> Access {
        let keys = |token: &str, texts: &[&str]| Keys { token: Some(Token::of(token)), subjects: subjects(texts) };
        Access {
            asks_clients: true,
            host: keys(HOST, &["CN=operator"]),
            tenants: vec![("one".into(), keys(TENANT, &["CN=one", "one.test"])), ("two".into(), Keys::default())],
        }
    }

    fn bearer(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[test]
    fn a_token_or_a_certificate_says_who_asks() {
        let (access, none) = (access(), HeaderMap::new());
        let one = Some(Caller::Tenant("one".into()));
        assert_eq!(access.caller(&bearer(HOST), None), Some(Caller::Host));
        assert_eq!(access.caller(&bearer(TENANT), None), one);
        assert_eq!(access.caller(&none, Some(&certificate("CN=operator", &[]))), Some(Caller::Host));
        for (subject, names) in [("CN=one", &[][..]), ("CN=else", &["one.test"]), ("CN=one", &["one.test"])] {
            assert_eq!(access.caller(&none, Some(&certificate(subject, names))), one, "{subject} {names:?}");
        }
        assert_eq!(access.caller(&none, None), None);
        assert_eq!(access.caller(&none, Some(&certificate("CN=else", &["CN=operator"]))), None);
        assert_eq!(access.caller(&none, Some(&certificate("CN=operator", &["one.test"]))), None, "two at once");
        let operator = certificate("CN=operator", &[]);
        assert_eq!(access.caller(&bearer("wrong"), Some(&operator)), None, "a wrong token is wrong");
        assert_eq!(access.caller(&bearer(TENANT), Some(&operator)), one, "what was shown on purpose");
        let plaintext = Access { asks_clients: false, ..access };
        assert_eq!(plaintext.caller(&none, Some(&operator)), None, "certificates do not count any more");
    }

    #[test]
    fn nobody_is_let_in_once_anybody_has_a_key() {
        let (none, any) = (HeaderMap::new(), certificate("CN=any", &[]));
        assert_eq!(Access::default().caller(&none, None), Some(Caller::Anyone));
        let keys = || Keys { token: Some(Token::of(TENANT)), subjects: Vec::new() };
        let tenant = Access { tenants: vec![("one".into(), keys())], ..Access::default() };
        assert_eq!(tenant.caller(&none, None), None);
        let asks = Access { asks_clients: true, ..Access::default() };
        assert_eq!(asks.caller(&none, None), None);
        assert_eq!(asks.caller(&none, Some(&any)), Some(Caller::Host), "the authority signs for the host alone");
        let keys = Keys { token: None, subjects: subjects(&["CN=one"]) };
        let named = Access { asks_clients: true, tenants: vec![("one".into(), keys)], ..Access::default() };
        assert_eq!(named.caller(&none, Some(&any)), None, "some certificates speak for tenants");
    }
}
