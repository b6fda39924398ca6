//! Routes and groups -> a route table.

use http::Method;
use roadrunner_values::{Caps, Limits, WebSocket, WebTransport};
use toml::Spanned;

use crate::component::{ComponentName, Known, config};
use crate::decode::Field;
use crate::grpc::GrpcSection;
use crate::pattern::RoutePattern;
use crate::resolver::{Resolver, list, value};
use crate::route::group::{GroupSection, Inherited};
use crate::route::grpc::service_routes;
use crate::route::routes::{Components, HostWide, Middlewares, Placed, Routes};
use crate::route::section::RouteSection;
use crate::route::{BodyMode, Methods, Route, Target};
use crate::router::{Conflict, RouteTable};
use crate::section::Holds;

impl Resolver<'_> {
    pub(crate) fn routes(
        &mut self,
        routes: &Field<Vec<Spanned<RouteSection>>>,
        groups: &Field<Vec<Spanned<GroupSection>>>,
        grpc: &Field<GrpcSection>,
        host: HostWide<'_>,
        components: &Components,
        middlewares: &Middlewares,
    ) -> RouteTable {
        let mut checker = Routes { resolver: self, host, components, middlewares, placed: Vec::new() };
        let top = Inherited { section: "route".to_owned(), ..Inherited::default() };
        checker.all(list(routes), &top);
        for group in list(groups) {
            checker.group(group.get_ref(), &Inherited { section: "group".to_owned(), ..Inherited::default() });
        }
        let mut placed = checker.placed;
        placed.extend(service_routes(grpc, &placed));
        self.table(placed)
    }

    fn table(&mut self, placed: Vec<Placed>) -> RouteTable {
        let mut places = Vec::with_capacity(placed.len());
        let mut routes = Vec::with_capacity(placed.len());
        for Placed { route, path, name } in placed {
            places.push((path, name));
            routes.push(route);
        }
        let conflicts = match RouteTable::new(routes) {
            Ok(table) => return table,
            Err(conflicts) => conflicts,
        };
        for conflict in conflicts {
            let message = conflict.to_string();
            let (span, first, fix, note) = match conflict {
                Conflict::Name { first, second, .. } => (
                    places[second].1.clone().unwrap_or_default(),
                    places[first].1.clone().unwrap_or_default(),
                    "give each route its own name",
                    "the first route of this name",
                ),
                Conflict::Pattern { first, second, .. } => (
                    places[second].0.clone(),
                    places[first].0.clone(),
                    "give them different methods (GET brings HEAD along) or hosts, or remove one",
                    "the first route of this pattern",
                ),
            };
            self.context.report(span, message, fix);
            if let Some(problem) = self.context.problems.last_mut() {
                problem.related = Some((first, note.to_owned()));
            }
        }
        RouteTable::default()
    }
}

impl<'s> Routes<'_, '_, 's> {
    /// Resolves a group: its routes, and the groups inside it.
    fn group(&mut self, group: &'s GroupSection, outer: &Inherited<'s>) {
        let mut inherited = self.inherit(group, outer);
        inherited.section = format!("{}.route", outer.section);
        if group.route.is_none() && group.group.is_none() {
            let fix = format!("add [[{}]], or remove the group", inherited.section);
            self.report(group.span.clone(), format!("[[{}]] has no routes", outer.section), fix);
        }
        self.all(list(&group.route), &inherited);
        inherited.section = format!("{}.group", outer.section);
        for inner in list(&group.group) {
            self.group(inner.get_ref(), &inherited);
        }
    }

    fn all(&mut self, routes: &'s [Spanned<RouteSection>], inherited: &Inherited<'s>) {
        for route in routes {
            let placed = self.route(route.get_ref(), inherited);
            self.placed.extend(placed);
        }
    }

    /// Resolves a route. `None` if it is wrong, which has been reported.
    fn route(&mut self, route: &RouteSection, inherited: &Inherited<'s>) -> Option<Placed> {
        let section = &inherited.section;
        let pattern = self.pattern(route, inherited);
        let target = self.target(route, pattern.as_ref(), section);
        let methods = self.methods(route, target.as_ref(), section);
        let tenant = self.tenant(route, section);
        let hosts = match &route.hosts {
            Some(_) => self.hosts(&route.hosts, &format!("[[{section}]]")),
            None => inherited.hosts.clone(),
        };
        let hosts = self.tenant_hosts(route, tenant.as_ref(), hosts);
        let mut middlewares = inherited.middlewares.clone();
        middlewares.extend(self.named(&route.middlewares));
        let known = value(&route.component).and_then(|name| self.components.get(name));
        let (limits, caps) = self.limits(route, inherited, known);
        let mut values = known.map(|known| known.config.clone()).unwrap_or_default();
        values.extend(inherited.config.clone());
        values.extend(config(&route.config));
        // Without one of these parts, the route would seem to answer for everything, and conflict with all.
        if inherited.incomplete || route.failed.iter().any(|key| key == "hosts" || key == "methods") {
            return None;
        }
        let path = route.path.as_ref()?.span();
        let name = route.name.as_ref().map(Spanned::span);
        let route = Route {
            tenant,
            hosts,
            methods: methods?,
            name: value(&route.name).cloned(),
            body: if route.grpc() && route.body.is_none() { BodyMode::Manual } else { route.body() },
            grpc: route.grpc(),
            config: values,
            limits,
            caps,
            websocket: self.websocket(route, inherited),
            webtransport: self.webtransport(route, inherited),
            middlewares,
            ..Route::new(pattern?, target?)
        };
        Some(Placed { route, path, name })
    }

    /// The whole pattern of a route.
    fn pattern(&mut self, route: &RouteSection, inherited: &Inherited<'s>) -> Option<RoutePattern> {
        let path = route.path.as_ref()?;
        let whole = format!("{}{}", inherited.prefix, path.get_ref().0);
        let checked = RoutePattern::checked(&whole);
        checked
            .map_err(|fault| {
                let message = match inherited.prefix.as_str() {
                    "" => format!("`path` in [[{}]] {}", inherited.section, fault.what),
                    prefix => {
                        format!("`path` in [[{}]], after the prefix `{prefix}`, {}", inherited.section, fault.what)
                    }
                };
                self.report(path.span(), message, fault.fix);
            })
            .ok()
    }

    fn target(&mut self, route: &RouteSection, pattern: Option<&RoutePattern>, section: &str) -> Option<Target> {
        match (&route.component, &route.files) {
            (Some(component), Some(files)) => {
                let message = format!("[[{section}]] has both `component` and `static`");
                self.report(files.span(), message, "remove one: a route has one target");
                self.component(component)
            }
            (Some(component), None) => self.component(component),
            (None, Some(files)) => self.files(route, files, pattern),
            // A key that did not decode is present, and has been reported.
            (None, None) => {
                if !route.failed.iter().any(|key| key == "component" || key == "static") {
                    let fix = "add `component = ...`, or `static = { directory = ... }`";
                    self.report(route.span.clone(), format!("[[{section}]] has nothing that answers"), fix);
                }
                None
            }
        }
    }

    fn component(&mut self, name: &Spanned<ComponentName>) -> Option<Target> {
        // A component with a wrong section is not among the checked ones, but its name is declared.
        self.resolver.is_declared(name).then(|| Target::Component(name.get_ref().clone()))
    }

    fn methods(&mut self, route: &RouteSection, target: Option<&Target>, section: &str) -> Option<Methods> {
        let is_static = target.map_or(route.files.is_some(), |target| matches!(target, Target::Static(_)));
        let Some(methods) = &route.methods else {
            return Some(if is_static { Methods::listed([Method::GET], route.head()) } else { Methods::Any });
        };
        if methods.get_ref().is_empty() {
            let fix = "list some, or leave the key out to answer every method";
            self.report(methods.span(), format!("`methods` in [[{section}]] is empty"), fix);
            return None;
        }
        let mut names = Vec::new();
        for method in methods.get_ref() {
            let name = method.get_ref().0.clone();
            if is_static && ![Method::GET, Method::HEAD].contains(&name) {
                self.report(method.span(), format!("a static route cannot answer {name}"), "it answers GET and HEAD");
            }
            names.push(name);
        }
        if !route.head() && names.contains(&Method::HEAD) {
            let fix = "remove one of the two";
            self.report(methods.span(), format!("`methods` in [[{section}]] lists HEAD, and `head` refuses it"), fix);
        }
        Some(Methods::listed(names, route.head()))
    }

    fn limits(&mut self, route: &RouteSection, inherited: &Inherited<'s>, known: Option<&Known>) -> (Limits, Caps) {
        let mut limits = self.host.limits.clone();
        if let Some(component) = known.and_then(|known| value(&known.section.limits)) {
            component.apply(&mut limits);
        }
        for group in &inherited.limits {
            group.apply(&mut limits);
        }
        let own = value(&route.limits);
        if let Some(own) = own {
            own.apply(&mut limits);
        }
        let own_place = own.and_then(|own| own.body.as_ref()).map(Spanned::span);
        let of_group = || inherited.limits.last().and_then(|group| group.body.as_ref()).map(Spanned::span);
        let place = own_place.or_else(of_group);
        self.resolver.check_body(&mut limits, place);
        (limits, own.map(Holds::values).unwrap_or_default())
    }

    fn websocket(&self, route: &RouteSection, inherited: &Inherited<'s>) -> WebSocket {
        let mut settings = self.host.websocket.clone();
        for section in inherited.websocket.iter().copied().chain(value(&route.websocket)) {
            section.apply(&mut settings);
        }
        settings
    }

    fn webtransport(&self, route: &RouteSection, inherited: &Inherited<'s>) -> WebTransport {
        let mut settings = self.host.webtransport.clone();
        for section in inherited.webtransport.iter().copied().chain(value(&route.webtransport)) {
            section.apply(&mut settings);
        }
        settings
    }
}
