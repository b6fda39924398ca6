//! The admin listener: where it is, and how those who ask show who they are.

use std::path::PathBuf;

use crate::manifest::{ClientCertificates, Tls};
use crate::scalar::{Address, Subject};

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: Address,
    /// Its certificate, and whether clients show one; none for plaintext.
    pub tls: Option<Tls>,
    /// Who speaks for the host. Without subjects, every certificate that is verified does.
    pub keys: AdminKeys,
}

/// How somebody shows the admin listener for whom they speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminKeys {
    /// The file of a token.
    pub token: Option<PathBuf>,
    /// Certificates of clients.
    pub subjects: Vec<Subject>,
}

impl AdminKeys {
    /// Whether nobody can show any of them.
    pub fn is_empty(&self) -> bool {
        self.token.is_none() && self.subjects.is_empty()
    }
}

impl Admin {
    /// The listener of `roadrunner serve app.wasm --admin ADDRESS`: plaintext, and open to whoever reaches it.
    pub fn plain(address: Address) -> Self {
        Self { address, tls: None, keys: AdminKeys::default() }
    }

    /// Whether clients are asked for certificates, and whether they must show one.
    pub fn clients(&self) -> Option<&ClientCertificates> {
        match &self.tls {
            Some(Tls::Files { clients, .. }) => clients.as_ref(),
            _ => None,
        }
    }

    /// Whether another one is in the same place: with the same address, and encrypted or not as this one is.
    pub fn is_where(&self, other: &Self) -> bool {
        self.address == other.address && self.tls.is_some() == other.tls.is_some()
    }

    /// Why the address is no place for this listener, and what to do about it; none if it is one. On an address that
    /// other machines reach, everything is encrypted, and everybody shows who they are.
    pub fn exposed(&self) -> Option<(String, String)> {
        // Whoever wrote a socket unit of systemd has decided who reaches it.
        let Address::Tcp(address) = &self.address else { return None };
        if address.ip().is_loopback() {
            return None;
        }
        let local = format!("or use a loopback address such as 127.0.0.1:{}, or unix:PATH", address.port());
        if self.tls.is_none() {
            let message = format!("the admin listener is not encrypted, so {address} would let anyone listen");
            return Some((message, format!("give it `tls`, {local}")));
        }
        let is_asked = self.keys.token.is_some() || self.clients().is_some_and(|clients| clients.required);
        (!is_asked).then(|| {
            let message = format!("the admin listener asks nobody who they are, so {address} would let anyone in");
            (message, format!("add `token-file`, or `client-auth = \"required\"` to its `tls`, {local}"))
        })
    }
}
