//! Whom a client certificate is for.

use std::fmt;

use super::{Fault, Text};

/// What the certificate of a client has to say: its subject, as guests see it (`CN=alice,O=Example`, RFC 4514, the most
/// specific part first), or one of its alternative names of the kinds DNS, email, IP and URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject(String);

impl Subject {
    /// Checks a text. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|fault| format!("the subject {text:?} {}: {}", fault.what, fault.fix))
    }

    /// Whether a certificate with this subject and these alternative names says it. A distinguished name is looked for
    /// in the subject alone, so that no alternative name can pass for one.
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
