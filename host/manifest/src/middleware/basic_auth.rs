//! Names and passwords in front of a route.

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::resolver::Resolver;
use crate::scalar::{Fault, Text};
use crate::secret::SecretName;
use crate::section::section;

/// Asks for a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The realm, which browsers show.
    pub realm: String,
    /// The secret with the users.
    pub users: SecretName,
}

section! {
    /// Lets only users with a name and a password pass (`Basic`, RFC 7617); others are answered with 401. Guests see the
    /// client's `authorization` as it came. Use it over TLS: a password on a plain connection can be read on the way.
    pub(crate) struct BasicAuthSection {
        /// What it does.
        kind as "type": Chosen [required];
        /// What browsers show when they ask.
        realm: Realm = "\"restricted\"";
        /// The secret with the users: a line for each, its name, a colon, and its password hashed by Argon2
        /// (`$argon2id$...`), as `argon2` of the Debian package of this name prints it with `-e`.
        users: SecretName [required];
    }
}

impl Kind for BasicAuthSection {
    type Value = BasicAuth;

    fn check(&self, _: &MiddlewareName, resolver: &mut Resolver<'_>) -> Option<Self::Value> {
        let users = self.users.as_ref().filter(|users| resolver.is_declared(users))?.get_ref().clone();
        Some(BasicAuth { realm: self.realm().0, users })
    }
}

/// The longest realm, in bytes.
const LONGEST: usize = 128;

/// The name of a realm: text that can stand between quotes in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Realm(String);

impl Text for Realm {
    const KIND: &'static str = "a name of a realm";

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_plain = |c: char| (' '..='~').contains(&c) && c != '"' && c != '\\';
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(is_plain) {
            return Err(Fault::new(
                "this is not the name of a realm",
                "write 1 to 128 printable ASCII characters without quotes and backslashes",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}
