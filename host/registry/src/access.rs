//! Access to a registry.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The settings of access to a registry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Access {
    /// The host's user. Default: anonymous.
    pub user: Option<User>,
    /// The authorities for its certificate, in PEM. Default: Mozilla's.
    pub authorities: Option<String>,
    /// Whether to connect without TLS. Default: no.
    ///
    /// Dangerous: anybody on the path can then read the password and replace a tag's content.
    pub plaintext: bool,
    /// The timeout of one request in total. Default 1 min.
    pub timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self { user: None, authorities: None, plaintext: false, timeout: Duration::from_secs(60) }
    }
}

/// The host's user at a registry.
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
