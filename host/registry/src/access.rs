//! How a registry is spoken to.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How a registry is spoken to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Access {
    /// Who the host is. Default: nobody in particular.
    pub user: Option<User>,
    /// The authorities of its certificate, in PEM. Default: those that Mozilla trusts.
    pub authorities: Option<String>,
    /// Whether it is spoken to without TLS. Default: no.
    ///
    /// Dangerous: what is on the way can then read the password and choose what a tag is.
    pub plaintext: bool,
    /// How long one request may take in all. Default 1 min.
    pub timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self { user: None, authorities: None, plaintext: false, timeout: Duration::from_secs(60) }
    }
}

/// Who the host is to a registry.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password, or its token.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}
