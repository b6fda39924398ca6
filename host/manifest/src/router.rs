//! Host, method and path of a request -> the route that answers it.
//!
//! Three questions, in this order, and each is answered for good before the next is asked:
//!
//! 1. **Host.** Routes that name the request's host are looked at first, then those that name a wildcard over it (the
//!    longest first), then those for every host. Hosts are compared without port, case and trailing dot.
//! 2. **Path.** Within the routes of one host the most specific pattern that matches owns the path: from the left, a
//!    literal segment goes before `:param`, and that before `*rest`. If the preferred branch comes to a dead end, the
//!    next one is tried. The order of the manifest does not matter.
//! 3. **Method.** The routes with that pattern and that host split the methods between them. A method that none of them
//!    has is answered with 405 and the union of theirs in `Allow`; no less specific route is tried.
//!
//! **What a path is.** The text between slashes, percent-decoded segment by segment and compared byte by byte, case
//! included. Nothing is normalised: `.` and `..` are segments like any other and `//` has an empty segment between,
//! which only `*rest` takes. An encoded slash does not separate segments. A `*rest` capture is decoded as a whole, so
//! that `%2F` and `/` look alike in it; the raw path tells them apart. A `%` without two hexadecimal digits anywhere in
//! the path, or bytes that are not UTF-8 in a segment that is looked at, make the whole path bad: 400.
//!
//! **Cost.** A path without captures or percent signs is one hash lookup and no allocation. The search visits no tree
//! node twice, so it is bounded by the size of the table however the path is made.

mod hosts;
mod params;
mod reverse;
mod tree;

use http::{HeaderValue, Method};

use crate::route::{Methods, Route};
use crate::scalar::HostPattern;
use hosts::Hosts;
pub use params::Params;
pub use reverse::UrlError;
use tree::{Match, Tree};

/// A set of routes without conflicts, ready for lookups.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    names: Map<usize>,
    hosts: Hosts<Tree>,
}

/// A map that is made once, from the manifest, and then asked with texts from clients. Clients cannot add to it, so a
/// fast hash serves better than one that resists collisions.
type Map<V> = std::collections::HashMap<Box<str>, V, foldhash::fast::RandomState>;

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'t, 'p> {
    /// A route answers.
    Found {
        /// Its index in [`RouteTable::routes`].
        index: usize,
        /// The route.
        route: &'t Route,
        /// The captures of its pattern.
        params: Params<'t, 'p>,
    },
    /// The path has routes, but none for the method: 405 with this `Allow` (RFC 9110, 15.5.6).
    MethodNotAllowed {
        /// The methods of the routes, `GET, HEAD, POST`.
        allow: &'t HeaderValue,
    },
    /// No route for this host and path: 404.
    NotFound,
    /// The path is not percent-encoded UTF-8 that starts with a slash: 400.
    BadPath,
}

/// The reason why routes cannot stand in one table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two routes have the same name.
    #[error("two routes are named `{name}`")]
    Name {
        /// The name.
        name: String,
        /// The index of the earlier route.
        first: usize,
        /// The index of the later one.
        second: usize,
    },
    /// Two routes match the same host and paths with the same method.
    #[error("two routes answer `{pattern}` for the same host and method")]
    Pattern {
        /// The pattern of the later route.
        pattern: String,
        /// The index of the earlier route.
        first: usize,
        /// The index of the later one.
        second: usize,
    },
}

impl RouteTable {
    /// Compiles routes, or reports all conflicts.
    pub fn new(routes: Vec<Route>) -> Result<Self, Vec<Conflict>> {
        let mut conflicts = Vec::new();
        let mut names = Map::default();
        let mut hosts: Hosts<Tree> = Hosts::default();
        for (index, route) in routes.iter().enumerate() {
            if let Some(name) = &route.name
                && let Some(first) = names.insert(name.as_str().into(), index)
            {
                conflicts.push(Conflict::Name { name: name.to_string(), first, second: index });
            }
            let mut overlap = None;
            let mut insert = |host: Option<&HostPattern>| {
                let result = hosts.entry(host).insert(&route.pattern, index, &route.methods, &routes);
                overlap = overlap.or(result.err());
            };
            if route.hosts.is_empty() {
                insert(None);
            } else {
                route.hosts.iter().for_each(|host| insert(Some(host)));
            }
            if let Some(first) = overlap {
                conflicts.push(Conflict::Pattern { pattern: route.pattern.to_string(), first, second: index });
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        hosts.for_each_mut(|tree| tree.finish(&routes));
        Ok(Self { routes, names, hosts })
    }

    /// The routes, in the order of the manifest.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route with this name.
    pub fn by_name(&self, name: &str) -> Option<&Route> {
        self.names.get(name).map(|&index| &self.routes[index])
    }

    /// Finds the route for a request. `host` is its authority, with or without a port; `None` if it has none. `path` is
    /// the path as sent, without the query.
    pub fn lookup<'t, 'p>(&'t self, host: Option<&str>, method: &Method, path: &'p str) -> Lookup<'t, 'p> {
        for tree in self.hosts.candidates(host) {
            match tree.find(path) {
                Match::Bad => return Lookup::BadPath,
                Match::None => {}
                Match::Leaf(leaf, captures) => {
                    let Some(index) = leaf.route_for(method, &self.routes) else {
                        return Lookup::MethodNotAllowed { allow: leaf.allow() };
                    };
                    let route = &self.routes[index];
                    return match Params::new(&route.pattern, path, &captures) {
                        Some(params) => Lookup::Found { index, route, params },
                        None => Lookup::BadPath,
                    };
                }
            }
        }
        if tree::is_path(path) { Lookup::NotFound } else { Lookup::BadPath }
    }
}

/// The `Allow` header of routes that share a pattern: each method once, in the order of the manifest.
fn allow<'m>(methods: impl Iterator<Item = &'m Methods>) -> HeaderValue {
    let mut names: Vec<&str> = Vec::new();
    for methods in methods {
        if let Methods::Listed(listed) = methods {
            for method in listed {
                if !names.contains(&method.as_str()) {
                    names.push(method.as_str());
                }
            }
        }
    }
    HeaderValue::from_str(&names.join(", ")).expect("method names are tokens, which header values may contain")
}
