//! `grpc.reflection.v1.ServerReflection`, and its alpha version, which older clients ask: the descriptors of the
//! services that a caller reaches, as their components ship them.

use roadrunner_account::{Failure, Outcome};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_reflection::server::{Builder, Error};

use super::MAX_MESSAGE;
use crate::serving::Serving;

/// The server for callers of this authority.
pub(super) fn server(
    serving: &Serving,
    authority: &str,
) -> Result<
    v1::server_reflection_server::ServerReflectionServer<impl v1::server_reflection_server::ServerReflection>,
    Failure,
> {
    let server = builder(serving, authority).build_v1().map_err(failure)?;
    Ok(server.max_decoding_message_size(MAX_MESSAGE))
}

/// The same in the alpha version.
pub(super) fn alpha_server(
    serving: &Serving,
    authority: &str,
) -> Result<
    v1alpha::server_reflection_server::ServerReflectionServer<impl v1alpha::server_reflection_server::ServerReflection>,
    Failure,
> {
    let server = builder(serving, authority).build_v1alpha().map_err(failure)?;
    Ok(server.max_decoding_message_size(MAX_MESSAGE))
}

/// The descriptors of all services that are reached. The host's own are among them.
fn builder<'s>(serving: &'s Serving, authority: &str) -> Builder<'s> {
    let mut builder = Builder::configure().include_reflection_service(false);
    for routed in serving.reached(authority) {
        builder = builder.register_encoded_file_descriptor_set(&routed.descriptors);
        builder = routed.names.iter().fold(builder, |builder, name| builder.with_service_name(name));
    }
    builder
}

/// A component's descriptors are not valid.
fn failure(error: Error) -> Failure {
    Failure::new(Outcome::InvalidResponse, error)
}
