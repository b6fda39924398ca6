//! Components, and what they are given.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;

use crate::decode::section;
use crate::limits::{Caps, Limits, LimitsSection};
use crate::manifest::ManifestSection;
use crate::origin::{ComponentFile, Origin};
use crate::outbound::{Outbound, OutboundOrigin, outbound};
use crate::resolve::{Resolver, entries, value};
use crate::reuse::{Reuse, ReuseSection, reuse};
use crate::scalar::units::{DAY, HOUR};
use crate::scalar::{
    ComponentName, ConfigKey, Count, DirectoryName, FilePath, PlainText, SecretName, StoreName, Table, TenantName, Time,
};
use crate::wasi::{EnvironmentName, EnvironmentText, Preopen, PreopenSection};

/// One of `[component]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Where it is.
    pub origin: Origin,
    /// The files of the keys of which one must have signed it; none where it need not be signed.
    pub keys: Vec<PathBuf>,
    /// Whom it belongs to; none for the host itself.
    pub tenant: Option<TenantName>,
    /// The directories that its sendfile responses may name.
    pub directories: Vec<DirectoryName>,
    /// The directories that it has open from its start.
    pub preopens: Vec<Preopen>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// The variables of its environment that are secrets.
    pub secret_environment: BTreeMap<String, SecretName>,
    /// The secrets that it can read.
    pub secrets: Vec<SecretName>,
    /// The stores that it can open.
    pub stores: Vec<StoreName>,
    /// How many instances of it there may be at once.
    pub caps: Caps,
    /// Its limits where no group or route changes them.
    pub limits: Limits,
    /// How long its instances are kept; none for a fresh one for every request.
    pub reuse: Option<Reuse>,
    /// Whether instances may be put back to their first state after an answer.
    pub restore: bool,
    /// Where its outgoing requests may go; none where they are refused.
    pub outbound: Option<Outbound>,
}

section! {
    /// A component: a .wasm file, what it is given and what it may use.
    pub(crate) struct ComponentSection {
        /// The .wasm file; or, in a registry, `oci://REGISTRY/REPOSITORY:TAG`, to which `@sha256:DIGEST` adds the SHA-256
        /// of its manifest. A tag is looked up when the host starts and when the manifest is loaded again; what a digest
        /// names is pulled once.
        file: ComponentFile [required];
        /// PEM files of public keys, of which one must have signed it, instead of those of its tenant or of [signatures].
        /// The signature of a file stands beside it, in `FILE.sig`.
        signed_by: Vec<Spanned<FilePath>>;
        /// The tenant that it belongs to, with the routes that it answers. Without it, it belongs to the host itself.
        tenant: TenantName;
        /// The directories that its sendfile responses may name.
        directories: Vec<Spanned<DirectoryName>> = "[]";
        /// The directories that it can open files in through `wasi:filesystem`, with the file functions of its language.
        preopens: Vec<Spanned<PreopenSection>>;
        /// The environment that it sees through WASI. Nothing of the host's own environment is in it.
        environment: Table<EnvironmentName, EnvironmentText>;
        /// The same with secrets as values, by name. They are texts.
        secret_environment: Table<EnvironmentName, SecretName>;
        /// The secrets that it can read.
        secrets: Vec<Spanned<SecretName>> = "[]";
        /// The stores that it can open.
        stores: Vec<Spanned<StoreName>> = "[]";
        /// Values that the guest reads through the `config` interface. Groups and routes can add to them and
        /// replace them.
        config: Table<ConfigKey, PlainText>;
        /// What one request may use.
        limits: LimitsSection;
        /// Lets an instance answer more than one request. Without it every request gets a fresh instance. What one
        /// request leaves in the guest's memory, the next one on the same route can see.
        reuse: ReuseSection;
        /// Whether an instance that has answered may be put back to its first state for another request of the route,
        /// where its component allows that. If not, each request gets an instance that is made for it.
        restore: bool = "true";
        /// The origins that its outgoing HTTP requests (`wasi:http/outgoing-handler`) may go to: scheme, host and port.
        /// `"https://*.example.org"` is every host below `example.org`. Without any, all are refused.
        outbound: Vec<Spanned<OutboundOrigin>> = "[]";
        /// Whether the names in `outbound` may resolve to addresses that are not public: loopback, private, link-local.
        /// An address that `outbound` names itself is granted either way.
        outbound_private: bool = "false";
        /// Outgoing connections open at once.
        outbound_connections: Count<1, 10_000> = "64";
        /// How long an outgoing request may take to resolve the name, connect and shake hands.
        outbound_connect_timeout: Time<1, { HOUR }> = "\"5s\"";
        /// How long it then waits for the head of the answer, and between two pieces of it.
        outbound_read_timeout: Time<1, { HOUR }> = "\"30s\"";
        /// How long it may take in all, to the end of the answer.
        outbound_timeout: Time<1, { DAY }> = "\"5m\"";
    }
}

/// A component, with what routes need of it.
pub(crate) struct Known {
    pub(crate) component: Component,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) section: ComponentSection,
}

impl Resolver<'_> {
    pub(crate) fn components(&mut self, section: &ManifestSection, host: &Limits) -> BTreeMap<ComponentName, Known> {
        let mut components = BTreeMap::new();
        let (of_all, of_tenants) = (self.signature_keys(section), self.tenant_keys(section));
        for (name, component) in entries(&section.component) {
            let mut limits = host.clone();
            let mut caps = Caps::default();
            if let Some(own) = value(&component.limits) {
                own.apply(&mut limits);
                caps = own.caps();
                self.check_body(&mut limits, own.body_place());
            }
            let tenant = self.known_tenant(section, &component.tenant);
            let directories = self.granted(component, tenant.as_ref());
            let preopens = self.preopens(component, tenant.as_ref());
            let (environment, secret_environment) = self.environment(component);
            let secrets = self.granted_secrets(component);
            let stores = self.granted_stores(component);
            let of_tenant = tenant.as_ref().and_then(|tenant| of_tenants.get(tenant));
            let keys = self.own_keys(component).or_else(|| of_tenant.or(of_all.as_ref()).cloned());
            let known = Known {
                component: Component {
                    origin: self.origin(component),
                    keys: keys.unwrap_or_default(),
                    tenant,
                    directories,
                    preopens,
                    environment,
                    secret_environment,
                    secrets,
                    stores,
                    caps,
                    limits,
                    reuse: reuse(component),
                    restore: component.restore(),
                    outbound: outbound(component),
                },
                config: config(&component.config),
                section: component.clone(),
            };
            components.insert(name.get_ref().clone(), known);
        }
        components
    }
}

/// The configuration values of a section.
pub(crate) fn config(field: &Option<Spanned<Table<ConfigKey, PlainText>>>) -> BTreeMap<String, String> {
    entries(field).map(|(key, value)| (key.get_ref().0.clone(), value.0.clone())).collect()
}
