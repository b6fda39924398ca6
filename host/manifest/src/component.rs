//! Components, and the grants of each.

use std::collections::BTreeMap;
use std::path::PathBuf;

use roadrunner_values::{Caps, Limits};
use toml::Spanned;

use crate::decode::Field;
use crate::directory::{Directories, DirectoryName};
use crate::limits::LimitsSection;
use crate::origin::{ComponentFile, Origin};
use crate::outbound::{Outbound, OutboundOrigin};
use crate::resolver::{Resolver, entries, list, value};
use crate::reuse::{Reuse, ReuseSection, reuse};
use crate::scalar::units::{DAY, HOUR};
use crate::scalar::{ConfigKey, Count, FilePath, PlainText, Table, Time, name};
use crate::secret::SecretName;
use crate::section::{Holds, section};
use crate::sql::{Sql, SqlName};
use crate::store::StoreName;
use crate::tenant::TenantName;
use crate::wasi::{EnvironmentName, EnvironmentText, Preopen, PreopenSection};

/// One of `[component]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The origin of its bytes.
    pub origin: Origin,
    /// The files of the keys, one of which must have signed it; empty if it need not be signed.
    pub keys: Vec<PathBuf>,
    /// The tenant that owns it; `None` for the host itself.
    pub tenant: Option<TenantName>,
    /// The directories that its sendfile responses may name.
    pub directories: Vec<DirectoryName>,
    /// The directories that are open from its start.
    pub preopens: Vec<Preopen>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// The variables of its environment that are secrets.
    pub secret_environment: BTreeMap<String, SecretName>,
    /// The secrets that it can read.
    pub secrets: Vec<SecretName>,
    /// The stores that it can open.
    pub stores: Vec<StoreName>,
    /// The databases that it can open.
    pub sql: Vec<SqlName>,
    /// The caps on its instances.
    pub caps: Caps,
    /// Its limits, before any group or route changes them.
    pub limits: Limits,
    /// The reuse of its instances; `None` for a fresh instance for every request.
    pub reuse: Option<Reuse>,
    /// Whether an instance may be restored to its first state after an answer.
    pub restore: bool,
    /// The destinations of its outgoing requests; `None` if all are refused.
    pub outbound: Option<Outbound>,
}

impl Component {
    /// A component of the host itself, without grants.
    pub(crate) fn new(origin: Origin, limits: Limits) -> Self {
        Self {
            origin,
            keys: Vec::new(),
            tenant: None,
            directories: Vec::new(),
            preopens: Vec::new(),
            environment: BTreeMap::new(),
            secret_environment: BTreeMap::new(),
            secrets: Vec::new(),
            stores: Vec::new(),
            sql: Vec::new(),
            caps: Caps::default(),
            limits,
            reuse: None,
            restore: true,
            outbound: None,
        }
    }
}

name! {
    /// The name of a component: `demo` in `[component.demo]`.
    pub struct ComponentName = "component";
}

section! {
    /// A component: a .wasm file, its grants and its limits.
    #[title = "`[component.NAME]`"]
    pub(crate) struct ComponentSection {
        /// The .wasm file; or, in a registry, `oci://REGISTRY/REPOSITORY:TAG`, with an optional `@sha256:DIGEST`, the
        /// SHA-256 of its manifest. A tag is looked up when the host starts and when the manifest is reloaded; a digest
        /// is pulled once.
        file: ComponentFile [required];
        /// PEM files of public keys, one of which must have signed the component. It replaces the keys of the tenant
        /// and of `[signatures]`. The signature of a file is the file `FILE.sig` next to it.
        signed_by: Vec<Spanned<FilePath>>;
        /// The tenant that owns the component and the routes that it answers. Without it, the host itself.
        tenant: TenantName;
        /// The directories that its sendfile responses may name.
        directories: Vec<Spanned<DirectoryName>> = "[]";
        /// The directories that it can open through `wasi:filesystem`, with the file functions of its language.
        preopens: Vec<Spanned<PreopenSection>>;
        /// The environment variables that it sees through WASI. Nothing of the host's own environment is among them.
        environment: Table<EnvironmentName, EnvironmentText>;
        /// Environment variables whose values are secrets, by name. Such a secret must be text.
        secret_environment: Table<EnvironmentName, SecretName>;
        /// The secrets that it can read.
        secrets: Vec<Spanned<SecretName>> = "[]";
        /// The stores that it can open.
        stores: Vec<Spanned<StoreName>> = "[]";
        /// The databases of `[sql]` that it can open.
        sql: Vec<Spanned<SqlName>> = "[]";
        /// Values that the guest reads through the `config` interface. Groups and routes can add to them and replace
        /// them.
        config: Table<ConfigKey, PlainText>;
        /// The limits of one request.
        limits: LimitsSection;
        /// The reuse of an instance for more than one request. Without it, every request gets a fresh instance. With
        /// it, a request can see what an earlier request on the same route left in the guest's memory.
        reuse: ReuseSection;
        /// Whether an instance may be restored to its first state after an answer, for another request on the same
        /// route, if its component allows that. Otherwise each request gets a new instance.
        restore: bool = "true";
        /// The origins that its outgoing HTTP requests (`wasi:http/outgoing-handler`) may go to: scheme, host and port.
        /// `"https://*.example.org"` stands for every host below `example.org`. Without any, all requests are refused.
        outbound: Vec<Spanned<OutboundOrigin>> = "[]";
        /// Whether the names in `outbound` may resolve to addresses that are not public: loopback, private, link-local.
        /// An address that stands in `outbound` itself is always granted.
        outbound_private: bool = "false";
        /// Outgoing connections open at once.
        outbound_connections: Count<1, 10_000> = "64";
        /// The deadline of an outgoing request to resolve the name, connect and shake hands.
        outbound_connect_timeout: Time<1, { HOUR }> = "\"5s\"";
        /// The longest wait for the head of the answer after that, and between two pieces of the answer.
        outbound_read_timeout: Time<1, { HOUR }> = "\"30s\"";
        /// The deadline of an outgoing request as a whole, to the end of the answer.
        outbound_timeout: Time<1, { DAY }> = "\"5m\"";
    }
}

/// A component, with the parts of its section that routes need.
pub(crate) struct Known {
    pub(crate) component: Component,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) section: ComponentSection,
}

/// The keys that sign components without keys of their own.
pub(crate) struct Signers {
    /// The keys of `[signatures]`.
    pub(crate) host: Option<Vec<PathBuf>>,
    /// The keys of each tenant that has its own.
    pub(crate) tenants: BTreeMap<TenantName, Vec<PathBuf>>,
}

impl Signers {
    fn of(&self, tenant: Option<&TenantName>) -> Option<&Vec<PathBuf>> {
        tenant.and_then(|tenant| self.tenants.get(tenant)).or(self.host.as_ref())
    }
}

impl Resolver<'_> {
    /// The components. `host` has the limits that they start from, and `signers` the keys of those without their own.
    pub(crate) fn components(
        &mut self,
        sections: &Field<Table<ComponentName, ComponentSection>>,
        host: &Limits,
        directories: &Directories,
        signers: &Signers,
    ) -> BTreeMap<ComponentName, Known> {
        let mut components = BTreeMap::new();
        for (name, component) in entries(sections) {
            let mut limits = host.clone();
            let mut caps = Caps::default();
            if let Some(own) = value(&component.limits) {
                own.apply(&mut limits);
                caps = own.values();
                self.check_body(&mut limits, own.body.as_ref().map(Spanned::span));
            }
            let tenant = self.known_tenant(&component.tenant);
            let granted = self.granted(&component.directories, |resolver, name| {
                resolver.known_directory(name, directories, tenant.as_ref())
            });
            let preopens = self.preopens(&component.preopens, directories, tenant.as_ref());
            let (environment, secret_environment) =
                self.environment(&component.environment, &component.secret_environment);
            let secrets = self.granted(&component.secrets, Self::is_declared);
            let stores = self.granted(&component.stores, Self::is_declared);
            let sql = self.granted(&component.sql, Self::is_declared);
            let keys = self.own_keys(&component.signed_by).or_else(|| signers.of(tenant.as_ref()).cloned());
            let known = Known {
                component: Component {
                    origin: self.origin(&component.file),
                    keys: keys.unwrap_or_default(),
                    tenant,
                    directories: granted,
                    preopens,
                    environment,
                    secret_environment,
                    secrets,
                    stores,
                    sql,
                    caps,
                    limits,
                    reuse: reuse(&component.reuse),
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

    /// Checks that a database that is not shared is granted to components of one tenant alone, or of none.
    pub(crate) fn keep_databases_apart(
        &mut self,
        sections: &Field<Table<ComponentName, ComponentSection>>,
        databases: &BTreeMap<SqlName, Sql>,
    ) {
        let mut owners: BTreeMap<&SqlName, Option<&TenantName>> = BTreeMap::new();
        for (_, component) in entries(sections) {
            let tenant = value(&component.tenant);
            for name in list(&component.sql) {
                let is_apart = databases.get(name.get_ref()).is_some_and(|database| !database.shared);
                if is_apart && *owners.entry(name.get_ref()).or_insert(tenant) != tenant {
                    let message =
                        format!("sql `{}` is granted to components of another tenant already", name.get_ref());
                    let fix = "give each tenant a role and a section of its own, or write `shared = true` there";
                    self.context.report(name.span(), message, fix);
                }
            }
        }
    }
}

/// The destinations of a component's requests; `None` if all are refused.
fn outbound(component: &ComponentSection) -> Option<Outbound> {
    let origins: Vec<_> = list(&component.outbound).iter().map(|origin| origin.get_ref().clone()).collect();
    (!origins.is_empty()).then(|| Outbound {
        origins,
        private: component.outbound_private(),
        connections: component.outbound_connections().get(),
        connect_timeout: component.outbound_connect_timeout().get(),
        read_timeout: component.outbound_read_timeout().get(),
        timeout: component.outbound_timeout().get(),
    })
}

/// The configuration values of a section.
pub(crate) fn config(field: &Option<Spanned<Table<ConfigKey, PlainText>>>) -> BTreeMap<String, String> {
    entries(field).map(|(key, value)| (key.get_ref().0.clone(), value.0.clone())).collect()
}
