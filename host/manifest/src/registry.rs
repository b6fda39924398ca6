//! Registries that components are pulled from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use crate::decode::Field;
use crate::resolver::{FileKind, Resolver, entries, value};
use crate::scalar::units::HOUR;
use crate::scalar::{Fault, FilePath, PlainText, Table, Text, Time};
use crate::secret::SecretName;
use crate::section::section;

/// One of `[registry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The user name of the host, and the secret with the password; `None` for no user.
    pub user: Option<(String, SecretName)>,
    /// The authorities of its certificate; `None` for those that Mozilla trusts.
    pub authorities: Option<PathBuf>,
    /// Whether the connection is without TLS.
    pub plaintext: bool,
    /// The deadline of one request.
    pub timeout: Duration,
}

section! {
    /// A registry that components are pulled from (`file = "oci://..."`). By default, TLS trusts the authorities that
    /// Mozilla trusts.
    #[title = "`[registry.NAME]`"]
    pub(crate) struct RegistrySection {
        /// The user name of the host at the registry. It goes together with `password`.
        user: PlainText;
        /// The secret with the user's password, or with a token.
        password: SecretName;
        /// The PEM file of the authorities that sign the registry's certificate. Without it, the authorities that
        /// Mozilla trusts.
        ca_file: FilePath;
        /// Whether the connection is without TLS. An attacker on the network can then choose the component of a tag.
        /// Not together with a password, unless the registry is on a loopback address.
        plaintext: bool = "false";
        /// The deadline of one request to the registry, including the whole answer. A component takes two requests, or
        /// four with signatures.
        timeout: Time<1, { HOUR }> = "\"1m\"";
    }
}

impl Resolver<'_> {
    pub(crate) fn registries(
        &mut self,
        section: &Field<Table<RegistryName, RegistrySection>>,
    ) -> BTreeMap<RegistryName, Registry> {
        let mut registries = BTreeMap::new();
        for (name, registry) in entries(section) {
            let user = self.registry_user(name, registry);
            let plaintext = registry.plaintext();
            let authorities = self.path(&registry.ca_file, FileKind::File);
            if let Some(file) = registry.ca_file.as_ref().filter(|_| plaintext) {
                let fix = "remove it, or `plaintext`";
                self.context.report(file.span(), "without TLS there is no certificate to check", fix);
            }
            if let Some(plaintext) = registry.plaintext.as_ref().filter(|_| plaintext && user.is_some())
                && !name.get_ref().is_loopback()
            {
                let message = format!("the password for {} would be sent unencrypted", name.get_ref());
                self.context.report(plaintext.span(), message, "remove `plaintext`, or `user` and `password`");
            }
            let timeout = registry.timeout().get();
            registries.insert(name.get_ref().clone(), Registry { user, authorities, plaintext, timeout });
        }
        registries
    }

    fn registry_user(
        &mut self,
        name: &Spanned<RegistryName>,
        registry: &RegistrySection,
    ) -> Option<(String, SecretName)> {
        if let Some(password) = &registry.password {
            self.is_declared(password);
        }
        match (value(&registry.user), value(&registry.password)) {
            (Some(user), Some(password)) => Some((user.0.clone(), password.clone())),
            (None, None) => None,
            _ => {
                // A key that did not decode has been reported.
                if !registry.failed.iter().any(|key| matches!(key.as_str(), "user" | "password")) {
                    let message = format!("these keys are no complete credentials for {}", name.get_ref());
                    self.context.report(name.span(), message, "write both `user` and `password`, or neither");
                }
                None
            }
        }
    }
}

/// The longest name of a registry or of a repository, in bytes.
pub(crate) const MAX_NAME: usize = 255;

/// A registry: a name or an IPv4 address, with a port if it is not the usual one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryName(String);

impl RegistryName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name means this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.split(':').next().unwrap_or_default();
        host == "localhost" || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for RegistryName {
    const KIND: &'static str = "a registry, such as \"ghcr.io\" or \"127.0.0.1:5000\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            let fix = "write a name in lower case or an IPv4 address, with a port if it needs one: \"ghcr.io\"";
            Fault::new(format!("is \"{text}\", not a registry"), fix)
        };
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let is_of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && label.bytes().all(is_of_label);
        let is_port = |port: &str| port.parse().is_ok_and(|port: u16| port != 0);
        if text.len() > MAX_NAME || !host.split('.').all(is_label) || !port.is_none_or(is_port) {
            return Err(fault());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_this_machine() {
        for (name, expected) in
            [("localhost", true), ("localhost:5000", true), ("127.0.0.9:1", true), ("10.0.0.1", false), ("r.io", false)]
        {
            assert_eq!(RegistryName::parse(name).expect(name).is_loopback(), expected, "{name}");
        }
    }
}
