//! The routes of the gRPC services that the host answers.

use crate::decode::Field;
use crate::grpc::{GrpcSection, GrpcService, services};
use crate::pattern::RoutePattern;
use crate::route::routes::Placed;
use crate::route::{BodyMode, Route, Target};

/// The routes of the services that a manifest asks for, beside its own. Hosts that have routes of their own have one of
/// these, too, since a request is routed within its host first.
pub(super) fn service_routes(section: &Field<GrpcSection>, placed: &[Placed]) -> Vec<Placed> {
    let mut hosts = Vec::new();
    for host in placed.iter().flat_map(|placed| &placed.route.hosts) {
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    let mut made = Vec::new();
    for (service, path) in services(section) {
        if !hosts.is_empty() {
            let route = Route { hosts: hosts.clone(), ..route(service) };
            made.push(Placed { route, path: path.clone(), name: None });
        }
        made.push(Placed { route: route(service), path, name: None });
    }
    made
}

fn route(service: GrpcService) -> Route {
    let pattern = RoutePattern::new(&format!("/{}/:method", service.name())).expect("a name is a literal segment");
    Route { grpc: true, body: BodyMode::Manual, ..Route::new(pattern, Target::Grpc(service)) }
}
