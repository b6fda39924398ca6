//! The services of gRPC that the host answers itself, where the manifest asks for them.

mod health;
mod reflection;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use roadrunner_manifest::{GrpcService, Lookup};
use roadrunner_wire::{Abort, RequestBody, ResponseBody};
use tonic::codegen::Service;

use super::routed::Routed;
use crate::context::Context;
use crate::record::{Record, Recorded};
use crate::serving::Serving;

/// The longest message of a caller, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

impl Serving {
    /// The services that a caller of this authority reaches.
    fn reached<'s>(&'s self, authority: &str) -> impl Iterator<Item = &'s Routed> + use<'s> {
        let host = (!authority.is_empty()).then(|| authority.to_owned());
        self.routes.iter().enumerate().filter_map(move |(index, route)| {
            let routed = route.grpc.as_ref()?;
            let found = self.table.lookup(host.as_deref(), &Method::POST, &routed.path);
            matches!(found, Lookup::Found { index: found, .. } if found == index).then_some(routed)
        })
    }
}

/// The descriptors of a service of the host.
pub(crate) fn descriptors(service: GrpcService) -> Bytes {
    Bytes::from_static(match service {
        GrpcService::Health => tonic_health::pb::FILE_DESCRIPTOR_SET,
        GrpcService::Reflection => tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        GrpcService::ReflectionAlpha => tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    })
}

/// Answers a call of a service of the host.
pub(crate) async fn serve(
    serving: &Arc<Serving>,
    service: GrpcService,
    context: &Context,
    request: Request<RequestBody>,
    record: Record,
) -> Response<ResponseBody> {
    let answered = match service {
        GrpcService::Health => call(health::server(serving, &context.authority), request).await,
        GrpcService::Reflection => match reflection::server(serving, &context.authority) {
            Ok(server) => call(server, request).await,
            Err(failure) => return record.failed(failure),
        },
        GrpcService::ReflectionAlpha => match reflection::alpha_server(serving, &context.authority) {
            Ok(server) => call(server, request).await,
            Err(failure) => return record.failed(failure),
        },
    };
    send(answered, record)
}

async fn call<S>(mut service: S, request: Request<RequestBody>) -> Response<tonic::body::Body>
where
    S: Service<Request<RequestBody>, Response = Response<tonic::body::Body>, Error = Infallible>,
{
    match service.call(request).await {
        Ok(response) => response,
        Err(infallible) => match infallible {},
    }
}

fn send(response: Response<tonic::body::Body>, mut record: Record) -> Response<ResponseBody> {
    record.head(response.status(), response.headers());
    response.map(|body| ResponseBody::new(Recorded::new(body.map_err(|_| Abort), record)))
}
