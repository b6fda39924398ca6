//! Where components come from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::scalar::{OciReference, SecretName};

/// Where a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File(PathBuf),
    /// In a registry.
    Registry(OciReference),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

/// One of `[registry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Who the host is to it, and the secret that is its password; none for nobody in particular.
    pub user: Option<(String, SecretName)>,
    /// The authorities of its certificate; none for those that Mozilla trusts.
    pub authorities: Option<PathBuf>,
    /// Whether it is spoken to without TLS.
    pub plaintext: bool,
    /// How long one request may take.
    pub timeout: Duration,
}
