//! The admin listener: its address, which only operators may reach, and the tokens and certificates that tell its
//! clients apart.

pub(crate) mod keys;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use crate::admin::keys::{AdminKeys, Subject};
use crate::decode::Field;
use crate::listener::Listener;
use crate::resolver::{FileKind, Resolver, entries, list, value};
use crate::scalar::{Address, FilePath, Table};
use crate::section::section;
use crate::tenant::{TenantName, TenantSection};
use crate::tls::{ClientCertificates, Tls, TlsChoice};

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address.
    pub address: Address,
    /// The certificate, and whether clients show one; `None` for plaintext.
    pub tls: Option<Tls>,
    /// The keys of the host. Without subjects, every verified certificate speaks for the host.
    pub keys: AdminKeys,
}

impl Admin {
    /// The listener of `roadrunner serve app.wasm --admin ADDRESS`: plaintext, and open to every client that reaches
    /// it.
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

    /// Whether another listener is in the same place: the same address, and encrypted like this one.
    pub fn is_where(&self, other: &Self) -> bool {
        self.address == other.address && self.tls.is_some() == other.tls.is_some()
    }

    /// The reason why this address is not allowed, and the fix; `None` if it is allowed. On an address that other
    /// machines reach, everything must be encrypted, and every client must prove who it is.
    pub fn exposed(&self) -> Option<(String, String)> {
        // The author of a socket unit has decided who reaches the socket.
        let Address::Tcp(address) = &self.address else { return None };
        if address.ip().is_loopback() {
            return None;
        }
        let local = format!("or use a loopback address such as 127.0.0.1:{}, or unix:PATH", address.port());
        if self.tls.is_none() {
            let message = format!("the admin listener is not encrypted, so anyone could read the traffic to {address}");
            return Some((message, format!("give it `tls`, {local}")));
        }
        let is_asked = self.keys.token.is_some() || self.clients().is_some_and(|clients| clients.required);
        (!is_asked).then(|| {
            let message = format!("the admin listener asks for no credentials, so {address} would let anyone in");
            (message, format!("add `token-file`, or `client-auth = \"required\"` to its `tls`, {local}"))
        })
    }
}

section! {
    /// The admin listener: metrics, health, live instances, deploying. Its address is a unix socket, which only the
    /// host's user can open, or a loopback address. With `tls` and either `token-file` or `client-auth = "required"`,
    /// any address is allowed.
    #[title = "`[admin]`"]
    pub(crate) struct AdminSection {
        /// The address to listen on.
        address: Address [required];
        /// A file with the token that the operator shows (`authorization: Bearer TOKEN`): one line, readable by its
        /// owner only. With it, a client without a token gets answers to `/live` and `/ready` only. Deploying over TCP
        /// needs the token, or a certificate.
        token_file: FilePath;
        /// As `tls` of a listener. A client with a certificate (`client-auth`) needs no token. Not for unix sockets.
        tls: TlsChoice;
        /// The client certificates that speak for the host, each named by its subject or by one of its alternative
        /// names. Without it, every certificate signed by `client-ca` speaks for the host, and no tenant can have
        /// `admin-subjects`.
        subjects: Vec<Spanned<Subject>>;
    }
}

impl AdminSection {
    /// Whether `subjects` is present, right or wrong.
    fn names_certificates(&self) -> bool {
        self.subjects.is_some() || self.failed.iter().any(|key| key == "subjects")
    }
}

/// The owner that each subject speaks for, and the place of the subject.
type Named = BTreeMap<Subject, (String, Range<usize>)>;

impl Resolver<'_> {
    pub(crate) fn admin(
        &mut self,
        section: &Field<AdminSection>,
        tenants: &Field<Table<TenantName, TenantSection>>,
        listeners: &[Listener],
    ) -> Option<Admin> {
        let mut named = Named::new();
        let admin = self.admin_listener(section, listeners, &mut named);
        for (name, tenant) in entries(tenants) {
            for subject in list(&tenant.admin_subjects) {
                self.names_once(subject, format!("the tenant `{}`", name.get_ref()), &mut named);
            }
            // A section that did not decode has been reported.
            if admin.is_some() || section.is_none() {
                let names_host = value(section).is_some_and(AdminSection::names_certificates);
                self.can_ask(name.get_ref().as_str(), tenant, admin.as_ref(), names_host);
            }
        }
        admin
    }

    fn admin_listener(
        &mut self,
        section: &Field<AdminSection>,
        listeners: &[Listener],
        named: &mut Named,
    ) -> Option<Admin> {
        let section = value(section)?;
        let tls = value(&section.tls).map(|choice| self.tls_choice(choice));
        let token = self.path(&section.token_file, FileKind::File);
        let subjects = self.subjects(&section.subjects);
        for subject in list(&section.subjects) {
            self.names_once(subject, "the host".to_owned(), named);
        }
        let field = section.address.as_ref()?;
        let address = field.get_ref().clone().resolve(&self.folder);
        if listeners.iter().any(|listener| listener.has_address(&address)) {
            self.context.report(
                field.span(),
                format!("the admin listener has the address {address} of a listener"),
                "give it an address of its own, which only operators reach",
            );
        }
        if let (Some(tls), Address::Unix(_)) = (&section.tls, &address) {
            let message = "the admin listener is a unix socket, which its file mode protects";
            self.context.report(tls.span(), message, "remove `tls`, or give the listener an IP address");
        }
        let admin = Admin { address, tls, keys: AdminKeys { token, subjects } };
        if let (Some(subjects), None) = (&section.subjects, admin.clients()) {
            let fix = "add `client-auth = \"required\"` and `client-ca` to `tls` in [admin], or remove the key";
            self.context.report(subjects.span(), "`subjects` is set, but clients are not asked for certificates", fix);
        }
        if let Some((message, fix)) = admin.exposed() {
            self.context.report(field.span(), message, fix);
        }
        Some(admin)
    }

    fn names_once(&mut self, subject: &Spanned<Subject>, whom: String, named: &mut Named) {
        match named.get(subject.get_ref()) {
            None => {
                named.insert(subject.get_ref().clone(), (whom, subject.span()));
            }
            Some((other, place)) => {
                let message = format!("the certificate `{}` speaks for {whom} and for {other}", subject.get_ref());
                let related = Some((place.clone(), "named here first".to_owned()));
                self.context.report(subject.span(), message, "name it once");
                if let Some(problem) = self.context.problems.last_mut() {
                    problem.related = related;
                }
            }
        }
    }

    /// Checks that the admin listener can tell a tenant with keys from the host.
    fn can_ask(&mut self, name: &str, tenant: &TenantSection, admin: Option<&Admin>, names_host: bool) {
        let token = tenant.admin_token_file.as_ref().map(Spanned::span);
        let subjects = tenant.admin_subjects.as_ref().filter(|subjects| !subjects.get_ref().is_empty());
        let subjects = subjects.map(Spanned::span);
        let Some(place) = token.or(subjects.clone()) else { return };
        let Some(admin) = admin else {
            let message = format!("[tenant.{name}] has keys for the admin listener, but there is no [admin]");
            self.context.report(place, message, "add [admin], or remove the key");
            return;
        };
        if let Some(place) = subjects.filter(|_| !names_host) {
            let message = format!("certificates speak for the tenant `{name}`, but [admin] names none for the host");
            let fix = "add `subjects` to [admin]: without it every certificate speaks for the host";
            self.context.report(place, message, fix);
        } else if admin.keys.token.is_none() && admin.clients().is_none() {
            let message = format!("the tenant `{name}` has keys for the admin listener, but the host has none");
            self.context.report(place, message, "add `token-file` to [admin]");
        }
    }
}
