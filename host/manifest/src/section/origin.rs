//! Sections about where components come from, and by whom they must be signed.

use toml::Spanned;

use crate::decode::section;
use crate::scalar::units::HOUR;
use crate::scalar::{FilePath, PlainText, SecretName, Time};

section! {
    /// A registry that components are pulled from (`file = "oci://..."`). TLS trusts the authorities that
    /// Mozilla does.
    pub(crate) struct RegistrySection {
        /// The user that the host is to the registry. Goes with `password`.
        user: PlainText;
        /// The secret that is its password, or its token.
        password: SecretName;
        /// A PEM file with the authorities that its certificate may come from, instead of those that Mozilla
        /// trusts.
        ca_file: FilePath;
        /// Whether it is spoken to without TLS. Whoever is on the way then chooses what a tag is. Not together with a
        /// password, unless the registry is on a loopback address.
        plaintext: bool = "false";
        /// How long one request to it may take, with the whole answer. A component takes two, or four with signatures.
        timeout: Time<1, { HOUR }> = "\"1m\"";
    }
}

section! {
    /// By whom components must be signed. With it, one that none of the keys has signed is refused before it is
    /// compiled, wherever it comes from.
    pub(crate) struct SignaturesSection {
        /// PEM files of public keys, ECDSA on P-256 or Ed25519. `signed-by` of a tenant or a component takes the place of
        /// this list.
        keys: Vec<Spanned<FilePath>> [required];
    }
}
