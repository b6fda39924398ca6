//! The state of the checks of routes, and the checks of lists that routes and groups have.

use std::collections::BTreeMap;
use std::ops::Range;

use roadrunner_values::{Limits, WebSocket, WebTransport};
use toml::Spanned;

use crate::component::{ComponentName, Known};
use crate::decode::Field;
use crate::directory::Directories;
use crate::middleware::{Middleware, MiddlewareName};
use crate::resolver::{Resolver, list};
use crate::route::Route;
use crate::scalar::HostPattern;
use crate::tenant::{Tenant, TenantName};

/// The state of the checks of routes.
pub(crate) struct Routes<'r, 'c, 's> {
    pub(crate) resolver: &'r mut Resolver<'c>,
    pub(crate) host: HostWide<'s>,
    pub(crate) components: &'s Components,
    pub(crate) middlewares: &'s Middlewares,
    pub(crate) placed: Vec<Placed>,
}

/// The settings that every route starts from, and the sections that it may name.
#[derive(Clone, Copy)]
pub(crate) struct HostWide<'h> {
    pub(crate) limits: &'h Limits,
    pub(crate) websocket: &'h WebSocket,
    pub(crate) webtransport: &'h WebTransport,
    pub(crate) directories: &'h Directories,
    pub(crate) tenants: &'h BTreeMap<TenantName, Tenant>,
}

/// The components that routes may name.
pub(crate) type Components = BTreeMap<ComponentName, Known>;

/// The middlewares that routes may name.
pub(crate) type Middlewares = BTreeMap<MiddlewareName, Middleware>;

/// A route with its places in the file, for reports of conflicts.
pub(crate) struct Placed {
    pub(crate) route: Route,
    pub(crate) path: Range<usize>,
    pub(crate) name: Option<Range<usize>>,
}

impl Routes<'_, '_, '_> {
    pub(crate) fn hosts(&mut self, hosts: &Field<Vec<Spanned<HostPattern>>>, place: &str) -> Vec<HostPattern> {
        if let Some(field) = hosts.as_ref().filter(|hosts| hosts.get_ref().is_empty()) {
            let fix = "list some, or leave the key out to answer for every host";
            self.report(field.span(), format!("`hosts` in {place} is empty"), fix);
        }
        let mut checked: Vec<HostPattern> = Vec::new();
        for host in list(hosts) {
            if checked.contains(host.get_ref()) {
                self.report(host.span(), format!("the host `{}` is listed twice", host.get_ref()), "remove one");
            } else {
                checked.push(host.get_ref().clone());
            }
        }
        checked
    }

    /// The middlewares of a list that are declared.
    pub(crate) fn named(&mut self, names: &Field<Vec<Spanned<MiddlewareName>>>) -> Vec<MiddlewareName> {
        let mut checked: Vec<MiddlewareName> = Vec::new();
        for name in list(names) {
            let text = name.get_ref().as_str();
            if !self.resolver.is_declared(name) {
                continue;
            }
            if checked.contains(name.get_ref()) {
                self.report(name.span(), format!("the middleware `{text}` is listed twice"), "remove one");
            } else if self.middlewares.contains_key(text) {
                checked.push(name.get_ref().clone());
            }
        }
        checked
    }

    pub(crate) fn report(&mut self, span: Range<usize>, message: String, fix: impl Into<String>) {
        self.resolver.context.report(span, message, fix);
    }
}
