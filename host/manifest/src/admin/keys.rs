//! The keys of the admin listener: tokens, and names in certificates of clients.

use std::fmt;
use std::path::PathBuf;

use toml::Spanned;

use crate::decode::Field;
use crate::resolver::{Resolver, list};
use crate::scalar::{Fault, Text};

/// The ways to prove to the admin listener that one speaks for the host or for a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminKeys {
    /// The file of a token.
    pub token: Option<PathBuf>,
    /// Certificates of clients.
    pub subjects: Vec<Subject>,
}

impl AdminKeys {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.token.is_none() && self.subjects.is_empty()
    }
}

/// A name in a client certificate: the subject as guests see it (`CN=alice,O=Example`, RFC 4514, the most specific part
/// first), or an alternative name of the kinds DNS, email, IP and URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject(String);

impl Subject {
    /// Checks a text. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|fault| format!("the subject {text:?} {}: {}", fault.what, fault.fix))
    }

    /// Whether a certificate with this subject and these alternative names has this name. A distinguished name is
    /// compared with the subject alone, so that no alternative name can pass for one.
    pub fn is_said(&self, subject: &str, names: &[String]) -> bool {
        if is_distinguished(&self.0) { self.0 == subject } else { names.contains(&self.0) }
    }
}

/// Whether a text begins with the type of an attribute, as distinguished names do and alternative names do not.
fn is_distinguished(text: &str) -> bool {
    let kind = text.split_once('=').map(|(kind, _)| kind);
    kind.is_some_and(|kind| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'))
}

impl Text for Subject {
    const KIND: &'static str = "the subject of a certificate, `\"CN=alice,O=Example\"`, or an alternative name";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() || text.contains(char::is_control) || text.trim() != text {
            let fix = "write what the certificate says, such as \"CN=alice,O=Example\" or \"alice.example\"";
            return Err(Fault::new("is not what a certificate says", fix));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Resolver<'_> {
    /// The subjects of a list. An empty list would match no certificate, and is reported as a mistake.
    pub(crate) fn subjects(&mut self, field: &Field<Vec<Spanned<Subject>>>) -> Vec<Subject> {
        if let Some(field) = field.as_ref().filter(|field| field.get_ref().is_empty()) {
            self.context.report(field.span(), "the list is empty", "name a certificate, or remove the key");
        }
        list(field).iter().map(|subject| subject.get_ref().clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_pass_for_a_subject() {
        let says = |text: &str, subject: &str, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Subject::parse(text).expect("a subject").is_said(subject, &names)
        };
        assert!(says("CN=a,O=b", "CN=a,O=b", &[]));
        assert!(!says("CN=a,O=b", "CN=a", &[]) && !says("CN=a", "CN=a,O=b", &[]));
        assert!(!says("CN=a", "CN=b", &["CN=a"]), "an alternative name is no subject");
        assert!(says("a.test", "CN=b", &["b.test", "a.test"]));
        assert!(!says("a.test", "a.test", &["A.test", "a.test."]));
        assert!(says("spiffe://test/a?b=c", "", &["spiffe://test/a?b=c"]));
        for wrong in ["", " a", "a\n"] {
            assert!(Subject::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
