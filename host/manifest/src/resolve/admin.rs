//! The admin listener: whether its address is a place for it, and that everybody who may ask it can be told apart.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::{FileKind, Resolver, entries, list, value};
use crate::admin::{Admin, AdminKeys};
use crate::decode::Field;
use crate::manifest::Listener;
use crate::scalar::{Address, Subject};
use crate::section::{AdminSection, ManifestSection, TenantSection};

/// Whom a subject speaks for, and where that stands.
type Named = BTreeMap<Subject, (String, Range<usize>)>;

impl Resolver<'_> {
    pub(super) fn admin(&mut self, section: &ManifestSection, listeners: &[Listener]) -> Option<Admin> {
        let mut named = Named::new();
        let admin = self.admin_listener(section, listeners, &mut named);
        for (name, tenant) in entries(&section.tenant) {
            for subject in list(&tenant.admin_subjects) {
                self.names_once(subject, format!("the tenant `{}`", name.get_ref()), &mut named);
            }
            // What did not decode has been reported.
            if admin.is_some() || section.admin.is_none() {
                let names_host = value(&section.admin).is_some_and(AdminSection::names_certificates);
                self.can_ask(name.get_ref().as_str(), tenant, admin.as_ref(), names_host);
            }
        }
        admin
    }

    fn admin_listener(
        &mut self,
        section: &ManifestSection,
        listeners: &[Listener],
        named: &mut Named,
    ) -> Option<Admin> {
        let section = value(&section.admin)?;
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
            let message = "the admin listener is a unix socket, which the mode of its file protects";
            self.context.report(tls.span(), message, "remove `tls`, or give the listener an IP address");
        }
        let admin = Admin { address, tls, keys: AdminKeys { token, subjects } };
        if let (Some(subjects), None) = (&section.subjects, admin.clients()) {
            let fix = "add `client-auth = \"required\"` and `client-ca` to `tls` in [admin], or remove the key";
            self.context.report(subjects.span(), "`subjects` is set, and clients are not asked for certificates", fix);
        }
        if let Some((message, fix)) = admin.exposed() {
            self.context.report(field.span(), message, fix);
        }
        Some(admin)
    }

    /// Certificates that speak for somebody; an empty list would be nobody's, and is a slip.
    pub(super) fn subjects(&mut self, field: &Field<Vec<Spanned<Subject>>>) -> Vec<Subject> {
        if let Some(field) = field.as_ref().filter(|field| field.get_ref().is_empty()) {
            self.context.report(field.span(), "the list is empty", "name a certificate, or remove the key");
        }
        list(field).iter().map(|subject| subject.get_ref().clone()).collect()
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

    /// A tenant that can ask needs a listener which tells it from the host.
    fn can_ask(&mut self, name: &str, tenant: &TenantSection, admin: Option<&Admin>, names_host: bool) {
        let token = tenant.admin_token_file.as_ref().map(Spanned::span);
        let subjects = tenant.admin_subjects.as_ref().filter(|subjects| !subjects.get_ref().is_empty());
        let subjects = subjects.map(Spanned::span);
        let Some(place) = token.or(subjects.clone()) else { return };
        let Some(admin) = admin else {
            let message = format!("[tenant.{name}] may ask the admin listener, and there is none");
            self.context.report(place, message, "add [admin], or remove the key");
            return;
        };
        if let Some(place) = subjects.filter(|_| !names_host) {
            let message = format!("certificates speak for the tenant `{name}`, and [admin] names none of the host");
            let fix = "add `subjects` to [admin]: without it every certificate speaks for the host";
            self.context.report(place, message, fix);
        } else if admin.keys.token.is_none() && admin.clients().is_none() {
            let message = format!("the tenant `{name}` shows who it is, and the host could not");
            self.context.report(place, message, "add `token-file` to [admin]");
        }
    }
}

impl AdminSection {
    /// Whether `subjects` is there, right or wrong.
    fn names_certificates(&self) -> bool {
        self.subjects.is_some() || self.failed.iter().any(|key| key == "subjects")
    }
}
